#include "services/deployer/actors.hpp"
#include "services/deployer/analysis.hpp"

#include "common/actor/errors.hpp"
#include "common/log/log.hpp"

#include "schemas/registry_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <optional>
#include <random>

namespace troupe::deployer {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_starts = 16; ///< Starts that wait for the registry.

template <class Table>
chunk written(const typename Table::NativeTableType& value) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Table::Pack(out, &value), "TRPD");
  return bytes_of(out);
}

bool is_release_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

expected<void> check_id(std::string_view id) {
  if (id.empty() || id.size() > 128 || id == "current")
    return fail(ec::invalid_argument, "the id of a rollout has 1 to 128 bytes and is not 'current'");
  if (std::ranges::any_of(id, [](unsigned char c) { return c < 0x21 || c > 0x7e || c == '/'; }))
    return fail(ec::invalid_argument,
                "the id of a rollout holds printable letters only, no blank and no slash");
  return {};
}

class rollout_controller_state {
public:
  using pointer = rollout_controller_actor::stateful_pointer<rollout_controller_state>;
  explicit rollout_controller_state(pointer self) : self_{self} {}

  rollout_controller_actor::behavior_type make_behavior(rollout_controller_deps deps) {
    deps_ = std::move(deps);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    self_->set_down_handler([this](const caf::down_msg& message) {
      if (!rollout_ || message.source != rollout_->address())
        return;
      // Its record is whole: the next life of this process goes on from it.
      log::error("rollout-ended", "the actor of rollout {} ended by itself", rollout_id_);
      rollout_.reset();
      begin_stop(message.reason ? message.reason : caf::error{caf::exit_reason::unknown});
    });
    resume();
    return {
        [this](net::request_atom, net::request_ptr& asked) { on_request(std::move(asked)); },
        [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
          on_release(tag, *result);
        },
        [this](commit_atom, const commit_ptr& what) { return write(*what); },
        [this](seen_atom, const std::string&) { return std::make_shared<const window>(rollouts().seen()); },
        [this](offsets_atom) {
          return std::make_shared<const std::map<std::uint32_t, std::uint64_t>>(rollouts().offsets());
        },
        [this](records_atom, const log_part_ptr& part) { return count_records(*part); },
        [this](expire_atom, std::uint64_t id) { expire(id); },
        [this](drain_atom) { answer_waiters(); },
        [this](finish_atom) { finish(); }};
  }

  const char* name = "rollout_controller";

private:
  struct waiter {
    net::request_ptr asked;
    std::uint64_t known = 0;
  };
  struct start {
    net::request_ptr asked;
    std::string id, spec_text;
    rollout_spec spec;
  };

  rollout_store& rollouts() { return *deps_.rollouts; }

  /// The newest rollout has an actor, so that it goes on, or can be taken back.
  void resume() {
    show_table();
    auto newest = rollouts().newest();
    if (!newest)
      return;
    auto found = rollouts().find(*newest);
    if (!found) {
      log::error("rollout-damaged", "rollout {} cannot go on: {}", *newest, render(found.error()));
      deps_.report.degraded(found.error().text);
      return;
    }
    log::info("rollout-resumed", "rollout {} is {}; it goes on", found->id, to_string(found->state));
    begin(std::move(*found));
  }

  void begin(rollout from) {
    if (rollout_) {
      self_->demonitor(rollout_->address());
      self_->send_exit(*rollout_, caf::exit_reason::user_shutdown);
    }
    publish_wanted(from);
    rollout_id_ = from.id;
    rollout_ = spawn_rollout(self_->system(),
                             {std::move(from), caf::actor_cast<caf::weak_actor_ptr>(self_), deps_.reconciler,
                              deps_.registry, deps_.settings, deps_.metrics, deps_.report});
    self_->monitor(*rollout_);
  }

  void publish_wanted(const rollout& of) {
    auto lists = std::make_shared<std::vector<std::vector<std::string>>>();
    for (std::uint32_t r = 0; r < deps_.replicas; ++r)
      lists->push_back(wanted_of(of, rollouts().table().says, r));
    self_->send(deps_.reconciler, wanted_atom::value, wanted_ptr{std::move(lists)});
  }

  void show_table() {
    deps_.metrics->version.set(static_cast<double>(rollouts().table().version));
    deps_.report.gauge("routing_version", static_cast<double>(rollouts().table().version));
  }

  caf::result<std::uint64_t> write(const commit& what) {
    if (what.next.id != rollout_id_)
      return to_caf(
          error{ec::conflict, fmt::format("rollout {} has been replaced by {}: nothing of it is written",
                                          what.next.id, rollout_id_)});
    if (auto done = rollouts().write(what); !done) {
      deps_.report.failed(done.error());
      return to_caf(done.error());
    }
    publish_wanted(what.next);
    if (what.publishes) {
      show_table();
      log::info("routing-published", "rollout_controller publishes routing table {} with {} arms",
                rollouts().table().version, rollouts().table().says.arms.size());
      answer_waiters();
    }
    return rollouts().table().version;
  }

  caf::result<std::uint64_t> count_records(const log_part& part) {
    auto counted = rollouts().count_records(part.partition, part.batches, part.end);
    if (!counted) {
      deps_.report.failed(counted.error());
      return to_caf(counted.error());
    }
    deps_.metrics->counted.add(static_cast<double>(*counted));
    return part.end;
  }

  void on_request(net::request_ptr asked) {
    auto& respond = asked->respond;
    if (stopping_)
      return respond.fail({ec::stopping, "the deployer is stopping; nothing was done"});
    if (asked->until.passed())
      return respond.fail({ec::too_late, "the deadline passed while the request waited; nothing was done"});
    switch (asked->info.kind) {
    case wire::Kind::routing:
      return on_routing(std::move(asked));
    case wire::Kind::rollout_start:
      return on_start(std::move(asked));
    case wire::Kind::rollout_change:
      return on_change(std::move(asked));
    case wire::Kind::rollout_list:
      return respond.finish(list(asked->payload));
    case wire::Kind::rollout_show:
      return respond.finish(show(asked->payload));
    case wire::Kind::arm_report:
      return respond.finish(on_report(asked->payload));
    default:
      return respond.fail({ec::invalid_argument,
                           fmt::format("the deployer does not serve {}", net::to_string(asked->info.kind))});
    }
  }

  void on_routing(net::request_ptr asked) {
    auto query = read_as<wire::RoutingQuery>(asked->payload, "TRPD", "RoutingQuery");
    if (!query)
      return asked->respond.fail(query.error());
    auto& table = rollouts().table();
    auto known = (*query)->known_version();
    if (known > table.version) // It must not lose its arms to a store that was lost or is old.
      return asked->respond.fail(
          {ec::conflict,
           fmt::format("this deployer knows table {} and the caller {}: keep it", table.version, known)});
    auto wait = std::chrono::microseconds{std::min<std::uint64_t>((*query)->wait_us(), 600'000'000)};
    wait =
        std::min(wait, std::chrono::duration_cast<std::chrono::microseconds>(asked->until.left() * 9 / 10));
    if (known < table.version || wait.count() == 0)
      return asked->respond.reply(table.bytes);
    if (waiters_.size() >= deps_.settings->max_waiters)
      return asked->respond.fail(
          {ec::overloaded, fmt::format("{} callers wait for a routing table", waiters_.size())}, 1'000ms);
    auto id = next_waiter_++;
    waiters_.emplace(id, waiter{std::move(asked), known});
    deps_.metrics->waiters.set(static_cast<double>(waiters_.size()));
    self_->delayed_send(self_, wait, expire_atom::value, id);
  }

  void expire(std::uint64_t id) {
    auto found = waiters_.find(id);
    if (found == waiters_.end())
      return;
    found->second.asked->respond.reply(rollouts().table().bytes);
    waiters_.erase(found);
    deps_.metrics->waiters.set(static_cast<double>(waiters_.size()));
  }

  void answer_waiters() {
    for (auto& [id, each] : waiters_)
      each.asked->respond.reply(rollouts().table().bytes);
    waiters_.clear();
    deps_.metrics->waiters.set(0);
  }

  /// The rollout that is not over, if there is one.
  std::optional<rollout> under_way() {
    auto newest = rollouts().newest();
    if (!newest)
      return std::nullopt;
    auto found = rollouts().find(*newest);
    return found && !found->is_over() ? std::optional{std::move(*found)} : std::nullopt;
  }

  void on_start(net::request_ptr asked) {
    auto read = read_start(*asked);
    if (!read)
      return asked->respond.fail(read.error());
    if (!*read) // Known: answered.
      return;
    auto& from = **read;
    from.asked = std::move(asked);
    if (!deps_.registry) {
      if (!is_release_id(from.spec.release))
        return from.asked->respond.fail(
            {ec::invalid_argument,
             fmt::format("'{}' is no id of a release, and the catalog has no registry to find its name",
                         from.spec.release)});
      auto release = from.spec.release;
      return begin_new(std::move(from), release);
    }
    if (starts_.size() >= most_starts)
      return from.asked->respond.fail(
          {ec::overloaded, fmt::format("{} starts wait for the registry", most_starts)});
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateReleaseQueryDirect(out, from.spec.release.c_str()), "TRPR");
    auto tag = next_start_++;
    auto until = from.asked->until.within(deps_.settings->ask_timeout);
    starts_.emplace(tag, std::move(from));
    net::call_for(deps_.registry, 0, rollout_controller_actor{self_}, tag, wire::Kind::release_show,
                  bytes_of(out), until);
  }

  /// Nothing where the rollout is known and was answered.
  expected<std::optional<start>> read_start(net::request& asked) {
    TROUPE_TRY(from, read_as<wire::RolloutStart>(asked.payload, "TRPD", "RolloutStart"));
    start out;
    out.id = text_of(from->rollout_id());
    out.spec_text = text_of(from->spec());
    if (out.spec_text.size() > (64 << 10))
      return fail(ec::invalid_argument, "a specification of {} bytes is above the limit of 64 KiB",
                  out.spec_text.size());
    TROUPE_TRY(spec, rollout_spec::parse(out.spec_text));
    out.spec = std::move(spec);
    if (out.id.empty())
      out.id = fmt::format("{}-{:016x}", to_string(out.spec.strategy),
                           std::uint64_t{std::random_device{}()} << 32 | std::random_device{}());
    TROUPE_CHECK(check_id(out.id));
    if (auto known = rollouts().show(out.id)) {
      if (known->spec != out.spec_text)
        return fail(ec::conflict, "rollout {} was started with another specification", out.id);
      asked.respond.reply(written<wire::Rollout>(*known));
      return std::optional<start>{};
    } else if (known.error().code != ec::not_found)
      return unexpected<error>{known.error()};
    if (auto other = under_way())
      return fail(ec::conflict, "rollout {} is {}: abort or promote it before another begins", other->id,
                  to_string(other->state));
    return std::optional{std::move(out)};
  }

  void on_release(std::uint64_t tag, const expected<net::reply>& result) {
    auto found = starts_.find(tag);
    if (found == starts_.end())
      return;
    auto from = std::move(found->second);
    starts_.erase(found);
    if (!result)
      return from.asked->respond.fail(
          with_context(fmt::format("finding release '{}'", from.spec.release), result.error()).value());
    auto release = read_as<wire::Release>(result->payload, "TRPR", "Release");
    if (!release)
      return from.asked->respond.fail(release.error());
    begin_new(std::move(from), std::string{text_of((*release)->id())});
  }

  void begin_new(start from, std::string release) {
    auto& respond = from.asked->respond;
    if (auto other = under_way()) // Another start was quicker while the registry was asked.
      return respond.fail(
          {ec::conflict, fmt::format("rollout {} is {}: abort or promote it before another begins", other->id,
                                     to_string(other->state))});
    rollout made;
    made.id = from.id;
    made.spec_text = std::move(from.spec_text);
    made.spec = std::move(from.spec);
    made.release = std::move(release);
    auto& arms = rollouts().table().says.arms;
    made.from = arms.empty() ? std::string{} : arms.back().release;
    made.replicas = std::max(1u, deps_.replicas);
    made.weights = weights_of(made.spec, made.replicas, made.from.empty());
    made.started = made.entered = micros_of(wall_now());
    made.reason = "asked for";
    if (made.from == made.release)
      return respond.fail(
          {ec::conflict, fmt::format("release {} is in production already", made.release.substr(0, 12))});
    if (made.is_shadow() && made.from.empty())
      return respond.fail({ec::conflict, "nothing is in production that a shadow could be compared with"});
    if (auto done = rollouts().write({made, {}, false, std::nullopt}); !done)
      return respond.fail(done.error());
    log::info("rollout-started", "rollout {} of release {} by {} begins", made.id, made.release.substr(0, 12),
              to_string(made.spec.strategy));
    respond.reply(written<wire::Rollout>(to_wire(made)));
    begin(std::move(made));
  }

  void on_change(net::request_ptr asked) {
    auto change = read_as<wire::RolloutChange>(asked->payload, "TRPD", "RolloutChange");
    if (!change)
      return asked->respond.fail(change.error());
    auto found = rollouts().find(text_of((*change)->rollout_id()));
    if (!found)
      return asked->respond.fail(found.error());
    if (found->id == rollout_id_ && rollout_) {
      self_->send(*rollout_, net::request_atom::value, std::move(asked));
      return;
    }
    // Another one came after it: what changes nothing is answered, what would is too late.
    auto would = step(*found, event::command{(*change)->action(), {}}, micros_of(wall_now()));
    if (!would)
      return asked->respond.fail(would.error());
    if (!would->action.empty())
      return asked->respond.fail(
          {ec::conflict, fmt::format("rollout {} is {}, and {} came after it", found->id,
                                     to_string(found->state), rollout_id_)});
    asked->respond.reply(written<wire::Rollout>(to_wire(*found)));
  }

  expected<chunk> list(const chunk& payload) {
    TROUPE_TRY(ask, read_as<wire::RolloutList>(payload, "TRPD", "RolloutList"));
    TROUPE_TRY(page, rollouts().list(text_of(ask->before()), ask->limit()));
    return written<wire::RolloutPage>(page);
  }

  expected<chunk> show(const chunk& payload) {
    TROUPE_TRY(ask, read_as<wire::RolloutQuery>(payload, "TRPD", "RolloutQuery"));
    TROUPE_TRY(found, rollouts().show(text_of(ask->rollout_id())));
    // What it waits for at this moment, which no decision says yet.
    if (auto record = rollouts().find(found.rollout_id); record && record->is_running()) {
      auto& seen = rollouts().seen();
      if (seen.rollout == record->id && seen.step == record->step) {
        found.reason = analyze_step(*record, seen, micros_of(wall_now())).reason;
        found.arms = progress_of(*record, seen);
      }
    }
    return written<wire::Rollout>(found);
  }

  expected<chunk> on_report(const chunk& payload) {
    TROUPE_TRY(report, read_as<wire::ArmReport>(payload, "TRPD", "ArmReport"));
    if (text_of(report->gateway()).empty() || text_of(report->gateway()).size() > 256)
      return fail(ec::invalid_argument, "the name of a gateway has 1 to 256 bytes");
    bool again = false;
    TROUPE_TRY(next, rollouts().count_report(*report, micros_of(wall_now()), again));
    (again ? deps_.metrics->reports_again : deps_.metrics->reports).add();
    wire::ArmReportReplyT out;
    out.next_number = next;
    out.routing_version = rollouts().table().version;
    return written<wire::ArmReportReply>(out);
  }

  void begin_stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = reason == caf::exit_reason::user_shutdown ? caf::error{} : std::move(reason);
    answer_waiters();
    for (auto& [tag, each] : starts_)
      each.asked->respond.fail({ec::stopping, "the deployer is stopping; nothing was done"});
    starts_.clear();
    if (rollout_)
      self_->send_exit(*rollout_, caf::exit_reason::user_shutdown);
    self_->send(self_, finish_atom::value);
  }

  void finish() {
    if (rollout_)
      self_->demonitor(rollout_->address());
    rollout_.reset();
    deps_.rollouts.reset();
    deps_.reconciler = nullptr;
    self_->quit(reason_);
  }

  pointer self_;
  rollout_controller_deps deps_;
  std::string rollout_id_;
  std::optional<rollout_actor> rollout_;
  std::map<std::uint64_t, waiter> waiters_;
  std::uint64_t next_waiter_ = 1;
  std::map<std::uint64_t, start> starts_;
  std::uint64_t next_start_ = 1;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

rollout_controller_actor spawn_rollout_controller(caf::actor_system& system, rollout_controller_deps deps,
                                                  bool detached) {
  auto behaviour = [](rollout_controller_state::pointer self,
                      const std::shared_ptr<rollout_controller_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  auto shared = std::make_shared<rollout_controller_deps>(std::move(deps));
  return detached ? system.spawn<caf::detached>(behaviour, shared) : system.spawn(behaviour, shared);
}

} // namespace troupe::deployer
