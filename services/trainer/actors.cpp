#include "services/trainer/actors.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/event/record.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <deque>
#include <map>
#include <set>

namespace troupe::trainer {

namespace {

struct run_seed {
  std::shared_ptr<const run_deps> deps;
  std::shared_ptr<run_threads> threads;
  run_order order;
  run_status status;
  std::function<void(std::string)> ended;
};
using run_seed_ptr = std::shared_ptr<const run_seed>;

class run_state {
public:
  explicit run_state(run_actor::stateful_pointer<run_state> self) : self_{self} {}

  run_actor::behavior_type make_behavior(const run_seed_ptr& from) {
    from_ = from;
    seen_ = from->deps->seen;
    status_ = from->status;
    return {[this](begin_atom) { train(); },
            [this](progress_atom, const status_ptr& now) { on_progress(*now); },
            [this](net::request_atom, net::request_ptr& asked) { answer(*asked); },
            [this](leave_atom) { leave(); }};
  }

  const char* name = "run";

private:
  void train() {
    if (status_.ended())
      return from_->ended(status_.id);
    status_.state = wire::TrainState::running;
    begun_ = true;
    from_->threads->start(
        [from = from_, requested = requested_, status = status_, weak = weak_handle{run_actor{self_}}] {
          auto report = [&](const run_status& now) {
            if (auto to = weak.lock())
              caf::anon_send(to, progress_atom::value, status_ptr{std::make_shared<const run_status>(now)});
          };
          if (auto last = execute_run(*from->deps, from->order, status, *requested, report))
            report(*last);
        });
  }

  /// Stopping is not canceling: the next life of the service goes on with a run that has not ended.
  void leave() {
    auto going_on = requested_state::running;
    requested_->compare_exchange_strong(going_on, requested_state::stopped);
    self_->quit();
  }

  void on_progress(const run_status& now) {
    if (now.restarts > status_.restarts)
      seen_.restarts.add(now.restarts - status_.restarts);
    status_ = now;
    if (status_.ended())
      from_->ended(status_.id);
  }

  void answer(net::request& asked) {
    if (asked.info.kind == wire::Kind::train_cancel && !status_.ended()) {
      *requested_ = requested_state::canceled;
      if (!begun_) {
        auto end = status_;
        end.state = wire::TrainState::canceled;
        // One small synced write, rare.
        if (auto saved = from_->deps->journal->save(from_->order, end); !saved)
          return asked.respond.finish(unexpected<error>{saved.error()});
        status_ = std::move(end);
        from_->ended(status_.id);
      }
    }
    asked.respond.reply(encode(status_));
  }

  run_actor::stateful_pointer<run_state> self_;
  run_seed_ptr from_;
  service_metrics seen_;
  run_status status_;
  std::shared_ptr<std::atomic<requested_state>> requested_ =
      std::make_shared<std::atomic<requested_state>>(requested_state::running);
  bool begun_ = false;
};

class runs_state {
public:
  explicit runs_state(runs_actor::stateful_pointer<runs_state> self) : self_{self} {}

  runs_actor::behavior_type make_behavior(std::shared_ptr<const run_deps> deps,
                                          std::shared_ptr<run_threads> threads,
                                          const std::vector<run_journal::entry>& open) {
    deps_ = std::move(deps);
    seen_ = deps_->seen;
    threads_ = std::move(threads);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    for (auto& each : open)
      if (each.status.ended())
        unpublished_.insert(each.status.id);
      else
        add(each.order, each.status);
    take_turns();
    offer();
    return {[this](net::request_atom, net::request_ptr& asked) {
              if (auto done = answer(asked); !done)
                asked->respond.fail(std::move(done).error());
            },
            [this](ended_atom, const std::string& id) { ended(id); }, [this](again_atom) { offer(); },
            [this](offered_atom, const std::vector<std::string>& published) { offered(published); },
            [this](finish_atom) { self_->quit(reason_); }};
  }

  const char* name = "runs";

private:
  // What came before the message to ourselves is still answered, so that every request has its answer.
  void begin_stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = reason == caf::exit_reason::user_shutdown ? caf::error{} : std::move(reason);
    *offering_requested_ = requested_state::stopped;
    for (auto& [id, run] : runs_)
      caf::anon_send(run, leave_atom::value); // behind what was passed on to it
    runs_.clear();
    self_->send(self_, finish_atom::value);
  }

  void add(run_order order, run_status status) {
    auto id = order.id;
    auto seed =
        std::make_shared<const run_seed>(run_seed{deps_, threads_, std::move(order), std::move(status),
                                                  [weak = weak_handle{runs_actor{self_}}](std::string ended) {
                                                    if (auto to = weak.lock())
                                                      caf::anon_send(to, ended_atom::value, std::move(ended));
                                                  }});
    auto behaviour = [](run_actor::stateful_pointer<run_state> self, const run_seed_ptr& from) {
      return self->state.make_behavior(from);
    };
    runs_[id] = self_->home_system().spawn(behaviour, seed);
    waiting_.push_back(id);
  }

  void ended(const std::string& id) {
    auto run = runs_.find(id);
    if (run == runs_.end())
      return; // It was canceled just as its turn came, and said so twice.
    running_.erase(id);
    std::erase(waiting_, id);
    caf::anon_send(run->second, leave_atom::value); // behind what was passed on to it
    runs_.erase(run);
    if (auto entry = deps_->journal->find(id); entry && *entry) {
      count((*entry)->status.state);
      if ((*entry)->status.publication == publication::waiting) {
        unpublished_.insert(id);
        offer_later();
      }
    }
    take_turns();
  }

  void count(wire::TrainState end) {
    auto& counter = end == wire::TrainState::done     ? seen_.done
                    : end == wire::TrainState::failed ? seen_.failed
                                                      : seen_.canceled;
    counter.add();
  }

  void show() {
    seen_.running.set(static_cast<double>(running_.size()));
    seen_.waiting.set(static_cast<double>(waiting_.size()));
    seen_.unpublished.set(static_cast<double>(unpublished_.size()));
  }

  /// On a thread of its own, one after the other: it waits for the registry, and no turn waits for it.
  void offer() {
    offer_is_set_ = false;
    if (unpublished_.empty() || !deps_->registry || std::exchange(offering_, true))
      return;
    threads_->start([deps = deps_, requested = offering_requested_, ids = unpublished_,
                     weak = weak_handle{runs_actor{self_}}] {
      std::vector<std::string> published;
      for (auto& id : ids) {
        if (*requested != requested_state::running)
          break;
        auto entry = deps->journal->find(id);
        if (entry && *entry && publish_again(*deps, **entry, *requested))
          published.push_back(id);
      }
      if (auto to = weak.lock())
        caf::anon_send(to, offered_atom::value, std::move(published));
    });
  }

  void offered(const std::vector<std::string>& published) {
    offering_ = false;
    for (auto& id : published)
      unpublished_.erase(id);
    offer_later();
    show();
  }

  void offer_later() {
    if (!unpublished_.empty() && !std::exchange(offer_is_set_, true))
      self_->delayed_send(self_, deps_->settings->publish_again, again_atom::value);
  }

  void take_turns() {
    while (running_.size() < deps_->settings->runs_at_once && !waiting_.empty()) {
      auto id = waiting_.front();
      waiting_.pop_front();
      running_.insert(id);
      caf::anon_send(runs_.at(id), begin_atom::value);
    }
    show();
  }

  expected<void> answer(net::request_ptr& asked) {
    if (stopping_)
      return fail(ec::stopping, "the trainer is stopping; nothing was done");
    if (asked->until.passed())
      return fail(ec::too_late, "the deadline passed while the request waited; nothing was done");
    if (asked->info.kind == wire::Kind::train_start)
      return start(asked);
    TROUPE_TRY(query, net::read_as<wire::TrainQuery>(asked->payload, "TRPT", "TrainQuery"));
    return pass_on(query->run_id()->str(), asked);
  }

  expected<void> pass_on(const std::string& id, net::request_ptr& asked) {
    if (auto known = runs_.find(id); known != runs_.end()) {
      caf::anon_send(known->second, net::request_atom::value, asked);
      return {};
    }
    TROUPE_TRY(entry, deps_->journal->find(id));
    if (!entry)
      return fail(ec::not_found, "there is no run {}", id);
    asked->respond.reply(encode(entry->status));
    return {};
  }

  /// Small reads and one synced write: orders are rare, and one is acknowledged only when it is durable.
  expected<void> start(net::request_ptr& asked) {
    TROUPE_TRY(sent, net::read_as<wire::TrainStart>(asked->payload, "TRPT", "TrainStart"));
    TROUPE_TRY(order, read_order(std::string{text_of(sent->run_id())}, sent->config()->str(),
                                 std::string{text_of(sent->parent())}));
    TROUPE_CHECK(check_order(order));
    TROUPE_TRY(entry, deps_->journal->find(order.id));
    if (entry && entry->order.config != order.config)
      return fail(ec::conflict, "run {} exists with another configuration", order.id);
    auto id = order.id;
    if (!entry) {
      if (waiting_.size() >= deps_->settings->max_waiting)
        return fail(
            ec::overloaded,
            "{} runs wait for their turn already (max_waiting); run {} was not taken, order it again when "
            "one of them has begun",
            waiting_.size(), id);
      run_status status;
      status.id = id;
      TROUPE_CHECK(deps_->journal->save(order, status));
      log::info("run-ordered", "trainer takes run {} of model {} on {} ranks", id, order.model_name,
                order.run.ranks);
      add(std::move(order), std::move(status));
      take_turns();
    }
    return pass_on(id, asked);
  }

  runs_actor::stateful_pointer<runs_state> self_;
  std::shared_ptr<const run_deps> deps_;
  service_metrics seen_;
  std::shared_ptr<run_threads> threads_;
  std::map<std::string, run_actor> runs_; ///< Those that have not ended.
  std::deque<std::string> waiting_;
  std::set<std::string> running_;
  std::set<std::string> unpublished_; ///< Ended, and the registry has not all of it.
  bool stopping_ = false;
  caf::error reason_;
  bool offering_ = false;
  bool offer_is_set_ = false;
  std::shared_ptr<std::atomic<requested_state>> offering_requested_ =
      std::make_shared<std::atomic<requested_state>>(requested_state::running);
};

} // namespace

void run_threads::start(std::function<void()> work) {
  std::lock_guard lock{mutex_};
  for (auto& each : workers_)
    if (*each.done)
      each.thread.join();
  std::erase_if(workers_, [](auto& each) { return !each.thread.joinable(); });
  auto done = std::make_shared<std::atomic<bool>>(false);
  workers_.push_back({std::thread{[work = std::move(work), done] {
                        work();
                        *done = true;
                      }},
                      done});
}

void run_threads::join() {
  std::lock_guard lock{mutex_};
  for (auto& each : workers_)
    each.thread.join();
  workers_.clear();
}

std::size_t run_threads::size() const {
  std::lock_guard lock{mutex_};
  return workers_.size();
}

expected<runs_actor> spawn_runs(caf::actor_system& system, std::shared_ptr<const run_deps> deps,
                                std::shared_ptr<run_threads> threads) {
  TROUPE_TRY(all, deps->journal->all());
  auto open = std::make_shared<std::vector<run_journal::entry>>();
  for (auto& each : all)
    if (!each.status.ended() || each.status.publication == publication::waiting)
      open->push_back(std::move(each));
  auto behaviour = [](runs_actor::stateful_pointer<runs_state> self, std::shared_ptr<const run_deps> with,
                      std::shared_ptr<run_threads> on,
                      const std::shared_ptr<std::vector<run_journal::entry>>& from) {
    return self->state.make_behavior(std::move(with), std::move(on), *from);
  };
  return system.spawn(behaviour, std::move(deps), std::move(threads), open);
}

} // namespace troupe::trainer
