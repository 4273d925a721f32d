#include "services/deployer/actors.hpp"
#include "services/deployer/aliases.hpp"
#include "services/deployer/analysis.hpp"

#include "common/actor/errors.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>
#include <optional>

namespace troupe::deployer {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_waiting = 64; ///< Commands that wait for a step to be written down.
constexpr auto write_timeout = 30s;

class rollout_state {
public:
  using pointer = rollout_actor::stateful_pointer<rollout_state>;
  explicit rollout_state(pointer self) : self_{self} {}

  rollout_actor::behavior_type make_behavior(rollout_deps deps) {
    deps_ = std::move(deps);
    now_ = std::move(deps_.record);
    self_->set_exit_handler([this](caf::exit_msg& message) {
      answer_all({ec::stopping, "the deployer is stopping; nothing was done"});
      self_->quit(std::move(message.reason));
    });
    // A controller that ended by itself takes its rollout with it.
    self_->set_down_handler([this](const caf::down_msg& message) {
      answer_all({ec::stopping, "the deployer is stopping; nothing was done"});
      self_->quit(message.reason);
    });
    if (auto owner = controller())
      self_->monitor(owner.address());
    self_->send(self_, tick_atom::value);
    return {[this](tick_atom) {
              ticking_ = false;
              poll();
            },
            [this](net::request_atom, net::request_ptr& asked) { on_request(std::move(asked)); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              if (tag == alias_tag_)
                on_registry(*result);
            }};
  }

  const char* name = "rollout";

private:
  struct job {
    rollout_event what;
    std::vector<wire::DecisionT> lines; ///< Of the verdict.
    net::request_ptr asked;             ///< Who waits for it; nobody where null.
  };

  std::int64_t now() const { return micros_of(wall_now()); }

  void tick_later() {
    if (now_.is_over() || std::exchange(ticking_, true))
      return;
    self_->delayed_send(self_, deps_.settings->analysis_interval, tick_atom::value);
  }

  rollout_controller_actor controller() const {
    return caf::actor_cast<rollout_controller_actor>(deps_.controller.lock());
  }

  /// What the state asks for; runs at each tick and after each step.
  void poll() {
    tick_later();
    switch (now_.state) {
    case RolloutState::pending:
      return post({event::begin{}, {}, nullptr});
    case RolloutState::preparing:
      post({event::tick{}, {}, nullptr});
      return ask_rankers();
    case RolloutState::running:
    case RolloutState::paused:
      post({event::tick{}, {}, nullptr});
      return ask_counts();
    case RolloutState::promoting:
    case RolloutState::aborting:
      return move_aliases();
    default:
      return;
    }
  }

  void ask_rankers() {
    self_->request(deps_.reconciler, 10s, status_atom::value, now_.release)
        .then([this](const release_statuses_ptr& all) { on_release_statuses(*all); },
              [this](const caf::error& err) { deps_.report.failed(from_caf(err)); });
  }

  void on_release_statuses(const std::vector<release_status>& all) {
    if (now_.state != RolloutState::preparing)
      return;
    std::size_t ready = 0, dead = 0, told = std::min<std::size_t>(now_.replicas_told, all.size());
    for (std::size_t r = 0; r < told; ++r) {
      if (all[r].is == release_status::state::failed)
        return post({event::broken{fmt::format("ranker {} cannot hold the release: {}", r, all[r].error)},
                     {},
                     nullptr});
      ready += all[r].is == release_status::state::ready;
      dead += all[r].is == release_status::state::dead;
    }
    bool more_to_come = told < all.size();
    if (told > 0 && ready + dead == told && (ready > 0 || more_to_come))
      post({event::prepared{}, {}, nullptr});
  }

  void ask_counts() {
    auto to = controller();
    if (!to || asking_)
      return;
    asking_ = true;
    self_->request(to, 10s, seen_atom::value, now_.id)
        .then(
            [this](const window_ptr& seen) {
              asking_ = false;
              on_counts(*seen);
            },
            [this](const caf::error& err) {
              asking_ = false;
              deps_.report.failed(from_caf(err));
            });
  }

  void on_counts(const window& seen) {
    if (!now_.is_running() || writing_ || seen.rollout != now_.id || seen.step != now_.step)
      return;
    auto found = analyze_step(now_, seen, now());
    now_.reason = found.reason;
    post({event::analyzed{found.verdict, found.reason}, std::move(found.lines), nullptr});
  }

  void move_aliases() {
    if (aliases_)
      return;
    if (!deps_.registry) {
      post({event::aliases_set{}, {}, nullptr});
      return;
    }
    bool ahead = now_.state == RolloutState::promoting;
    aliases_.emplace(ahead ? now_.release : now_.from, ahead ? now_.from : now_.release);
    ask_registry();
  }

  void ask_registry() {
    auto next = aliases_->next();
    if (!next) {
      aliases_.reset();
      return post({event::aliases_set{}, {}, nullptr});
    }
    net::call_for(deps_.registry, 0, rollout_actor{self_}, ++alias_tag_, next->kind, std::move(next->payload),
                  deadline::in(deps_.settings->ask_timeout));
  }

  void on_registry(const expected<net::reply>& result) {
    if (!aliases_)
      return;
    auto done =
        result ? aliases_->on_answer(result->payload) : expected<void>{unexpected<error>{result.error()}};
    if (done)
      return ask_registry();
    aliases_.reset();
    now_.reason = "waits for the registry's aliases: " + done.error().text;
    if (disposition_of(done.error().code) == error_disposition::retry_later)
      return; // The next tick begins again.
    log::warn("aliases-left", "rollout {} leaves the registry's aliases as they are: {}", now_.id,
              render(done.error()));
    wire::DecisionT line = plain_line("aliases", Verdict3::fail);
    line.reason = render(done.error());
    post({event::aliases_set{}, {std::move(line)}, nullptr});
  }

  void on_request(net::request_ptr asked) {
    auto change = read_as<wire::RolloutChange>(asked->payload, "TRPD", "RolloutChange");
    if (!change)
      return asked->respond.fail(change.error());
    if (waiting_.size() >= most_waiting)
      return asked->respond.fail(
          {ec::overloaded, fmt::format("{} changes of this rollout wait", most_waiting)});
    event::command what{(*change)->action(), std::string{text_of((*change)->reason()).substr(0, 1'000)}};
    post({std::move(what), {}, std::move(asked)});
  }

  /// Takes an event, or lets it wait while a step is being written down. Commands wait in order; of what we
  /// see ourselves the next tick brings the newest.
  void post(job next) {
    if (!writing_)
      return apply(std::move(next));
    if (next.asked)
      waiting_.push_back(std::move(next));
  }

  void apply(job what) {
    auto at = now();
    auto made = step(now_, what.what, at);
    if (!made) {
      if (what.asked)
        what.asked->respond.fail(made.error());
      return;
    }
    auto next = std::make_shared<commit>();
    next->publishes = made->publishes;
    next->decisions = lines_of(what, *made, at);
    if (made->action.empty() && next->decisions.empty()) {
      if (what.asked)
        answer(*what.asked);
      return;
    }
    next->next = std::move(made->next);
    if (made->publishes && next->next.is_running())
      next->counts_from = at + std::chrono::microseconds{deps_.settings->settle}.count();
    auto to = controller();
    if (!to) {
      if (what.asked)
        what.asked->respond.fail({ec::stopping, "the deployer is stopping; nothing was done"});
      return;
    }
    writing_ = true;
    doing_ = std::move(what.asked);
    self_->request(to, write_timeout, commit_atom::value, commit_ptr{next})
        .then([this, next,
               action = made->action](std::uint64_t version) { on_written(*next, action, version); },
              [this](const caf::error& err) { on_not_written(from_caf(err)); });
  }

  void on_written(const commit& done, const std::string& action, std::uint64_t version) {
    writing_ = false;
    bool moved = done.next.state != now_.state || done.next.step != now_.step;
    now_ = done.next;
    for (auto& each : done.decisions)
      said_[each.metric] = each.verdict;
    if (moved) {
      said_.clear();
      aliases_.reset();
      ++alias_tag_;
    }
    if (!action.empty())
      log::info("rollout", "rollout {}: {}; it is {} at step {} of {}, routing table {}: {}", now_.id, action,
                to_string(now_.state), now_.step + 1, std::max<std::size_t>(1, now_.weights.size()), version,
                now_.reason);
    deps_.metrics->decisions.add(static_cast<double>(done.decisions.size()));
    deps_.metrics->weight.set(now_.weight());
    deps_.report.gauge("rollout_weight", now_.weight());
    if (auto asked = std::exchange(doing_, nullptr))
      answer(*asked);
    take_waiting();
    if (!writing_ && !action.empty())
      poll();
  }

  void on_not_written(const error& err) {
    writing_ = false;
    log::error("rollout-not-written", "rollout {} stays where it is: {}", now_.id, render(err));
    deps_.report.failed(err);
    if (auto asked = std::exchange(doing_, nullptr))
      asked->respond.fail(err);
    take_waiting();
  }

  void take_waiting() {
    while (!writing_ && !waiting_.empty()) {
      auto next = std::move(waiting_.front());
      waiting_.pop_front();
      apply(std::move(next));
    }
  }

  wire::DecisionT plain_line(std::string metric, Verdict3 verdict) const {
    wire::DecisionT out;
    out.at = now();
    out.step = now_.weights.empty() ? 0 : now_.step + 1;
    out.metric = std::move(metric);
    out.arm = now_.new_arm();
    out.window_us = static_cast<std::uint64_t>(std::max<std::int64_t>(0, out.at - now_.entered));
    out.verdict = verdict;
    return out;
  }

  /// What is written down: every line of a verdict that led to something, else those that changed; and what
  /// was done without a verdict.
  std::vector<wire::DecisionT> lines_of(const job& what, const transition& made, std::int64_t at) const {
    auto lines = what.lines;
    if (made.action.empty())
      std::erase_if(lines, [&](auto& each) {
        auto found = said_.find(each.metric);
        return found != said_.end() && found->second == each.verdict;
      });
    if (!made.action.empty() && lines.empty()) {
      auto verdict = made.action == "fail" || made.action == "roll back" ? Verdict3::fail : Verdict3::pass;
      auto* command = std::get_if<event::command>(&what.what);
      auto line = plain_line(command                                              ? "command"
                             : std::holds_alternative<event::prepared>(what.what) ? "rankers"
                                                                                  : "rollout",
                             verdict);
      line.at = at;
      line.reason = made.next.reason;
      if (line.metric == "rankers") {
        line.value = line.bound = now_.replicas_told;
        line.n = now_.replicas;
      }
      lines.push_back(std::move(line));
    }
    for (auto& each : lines)
      each.action = made.action;
    return lines;
  }

  void answer(net::request& asked) {
    auto value = to_wire(now_);
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::Rollout::Pack(out, &value), "TRPD");
    asked.respond.reply(bytes_of(out));
  }

  void answer_all(const error& why) {
    if (doing_)
      doing_->respond.fail(why);
    for (auto& each : waiting_)
      each.asked->respond.fail(why);
    waiting_.clear();
  }

  pointer self_;
  rollout_deps deps_;
  rollout now_;
  bool ticking_ = true, asking_ = false, writing_ = false;
  std::map<std::string, Verdict3> said_;
  std::deque<job> waiting_;
  net::request_ptr doing_;
  std::optional<alias_task> aliases_;
  std::uint64_t alias_tag_ = 0;
};

} // namespace

rollout_actor spawn_rollout(caf::actor_system& system, rollout_deps deps) {
  auto behaviour = [](rollout_state::pointer self, const std::shared_ptr<rollout_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<rollout_deps>(std::move(deps)));
}

} // namespace troupe::deployer
