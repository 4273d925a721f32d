#include "services/deployer/actors.hpp"

#include "common/log/log.hpp"

#include "schemas/ranker_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>

namespace troupe::deployer {

namespace {

constexpr unsigned most_attempts = 3; ///< To load a release before it is said to have failed.

/// One that is not known here counts as loading: it is asked for again.
wire::ReleaseState state_named(std::string_view name) {
  for (auto each : wire::EnumValuesReleaseState())
    if (wire::EnumNameReleaseState(each) == name)
      return each;
  return wire::ReleaseState::loading;
}

class release_reconciler_state {
public:
  using pointer = release_reconciler_actor::stateful_pointer<release_reconciler_state>;
  explicit release_reconciler_state(pointer self) : self_{self} {}

  release_reconciler_actor::behavior_type make_behavior(release_reconciler_deps deps) {
    deps_ = std::move(deps);
    replicas_.resize(deps_.replicas);
    for (auto& each : replicas_)
      each.answered = now();
    self_->send(self_, tick_atom::value);
    return {[this](wanted_atom, const wanted_ptr& wanted) { set_wanted(*wanted); },
            [this](status_atom, const std::string& release) { return status_of(release); },
            [this](tick_atom) {
              poll();
              self_->delayed_send(self_, deps_.settings->ranker_poll, tick_atom::value);
            },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              on_reply(tag, *result);
            }};
  }

  const char* name = "release_reconciler";

private:
  struct replica {
    std::vector<std::string> wanted;
    bool told = false; ///< It has acknowledged this list.
    bool asking = false;
    bool unreachable = false;
    caf::actor_clock::time_point answered;  ///< Last, or when we began.
    std::uint64_t list = 0, asked_list = 0; ///< Numbers of the list wanted and of that last sent.
    std::map<std::string, release_status> releases;
    std::map<std::string, unsigned> failures;
  };

  void set_wanted(const std::vector<std::vector<std::string>>& lists) {
    for (std::size_t r = 0; r < replicas_.size() && r < lists.size(); ++r) {
      auto& at = replicas_[r];
      if (at.wanted == lists[r])
        continue;
      for (auto& each : lists[r]) // One that is wanted anew begins anew.
        if (std::ranges::find(at.wanted, each) == at.wanted.end()) {
          at.failures.erase(each);
          at.releases.erase(each);
        }
      at.wanted = lists[r];
      at.told = false;
      ++at.list;
      ask(static_cast<std::uint32_t>(r));
    }
  }

  release_statuses_ptr status_of(const std::string& release) const {
    auto out = std::make_shared<std::vector<release_status>>();
    for (auto& at : replicas_) {
      auto found = at.releases.find(release);
      if (is_dead(at))
        out->push_back({release_status::state::dead, {}});
      else
        out->push_back(found == at.releases.end() || at.unreachable ? release_status{} : found->second);
    }
    return out;
  }

  caf::actor_clock::time_point now() const { return self_->clock().now(); }

  bool is_dead(const replica& at) const {
    return at.unreachable && now() - at.answered >= deps_.settings->ranker_dead_after;
  }

  void poll() {
    for (std::uint32_t r = 0; r < replicas_.size(); ++r)
      ask(r);
  }

  void ask(std::uint32_t replica) {
    auto& at = replicas_[replica];
    if (at.asking || at.wanted.empty() || !deps_.rankers)
      return;
    at.asking = true;
    flatbuffers::FlatBufferBuilder out;
    auto until = deadline::in(deps_.settings->ask_timeout);
    if (at.told) {
      out.Finish(wire::CreateLoadedQuery(out), "TRPK");
      net::call_for(deps_.rankers, replica, release_reconciler_actor{self_}, replica, wire::Kind::loaded,
                    bytes_of(out), until);
      return;
    }
    at.asked_list = at.list;
    out.Finish(wire::CreatePrepare(out, out.CreateVectorOfStrings(at.wanted)), "TRPK");
    net::call_for(deps_.rankers, replica, release_reconciler_actor{self_}, replica, wire::Kind::prepare,
                  bytes_of(out), until);
  }

  void on_reply(std::uint64_t tag, const expected<net::reply>& result) {
    if (tag >= replicas_.size())
      return;
    auto& at = replicas_[tag];
    at.asking = false;
    auto read = result ? read_as<wire::LoadedReleases>(result->payload, "TRPK", "LoadedReleases")
                       : expected<const wire::LoadedReleases*>{unexpected<error>{result.error()}};
    if (!read) {
      deps_.metrics->ranker_failures.add();
      if (!std::exchange(at.unreachable, true))
        log::warn("ranker-unreachable", "release_reconciler cannot ask ranker {}: {}", tag,
                  render(read.error()));
      at.told = false; // It may come back without what it was told.
      report_health();
      return;
    }
    at.answered = now();
    if (std::exchange(at.unreachable, false))
      log::info("ranker-reached", "release_reconciler reaches ranker {} again", tag);
    bool newer = at.list != at.asked_list; // Another list was wanted meanwhile.
    if (!newer)
      at.told = true;
    at.releases.clear();
    if ((*read)->releases())
      for (auto* each : *(*read)->releases())
        record_status(at, *each);
    for (auto& each : at.wanted)
      if (!at.releases.contains(each))
        at.told = false;
    if (newer)
      ask(static_cast<std::uint32_t>(tag));
    report_health();
  }

  void record_status(replica& at, const wire::LoadedRelease& from) {
    std::string id{text_of(from.id())};
    auto state = state_named(text_of(from.state()));
    auto& to = at.releases[id];
    if (state == wire::ReleaseState::ready) {
      to.is = release_status::state::ready;
      at.failures.erase(id);
      return;
    }
    to.is = release_status::state::loading;
    if (state != wire::ReleaseState::failed || std::ranges::find(at.wanted, id) == at.wanted.end())
      return;
    to.error = text_of(from.error());
    if (++at.failures[id] >= most_attempts)
      to.is = release_status::state::failed;
    at.told = false; // Telling it again has it try again.
  }

  void report_health() {
    std::size_t unreachable = 0, dead = 0, lacking = 0;
    for (auto& at : replicas_) {
      bool is_silent = at.unreachable, nobody_waits = is_dead(at);
      unreachable += is_silent;
      dead += nobody_waits;
      if (nobody_waits)
        continue;
      lacking += std::ranges::any_of(at.wanted, [&](auto& id) {
        auto found = at.releases.find(id);
        return found == at.releases.end() || found->second.is != release_status::state::ready;
      });
    }
    deps_.report.gauge("rankers_unreachable", static_cast<double>(unreachable));
    deps_.report.gauge("rankers_lacking", static_cast<double>(lacking));
    if (dead == replicas_.size())
      deps_.report.degraded("no ranker answers");
    else if (unreachable > dead)
      deps_.report.degraded(fmt::format("{} of {} rankers do not answer", unreachable, replicas_.size()));
    else
      deps_.report.ready();
  }

  pointer self_;
  release_reconciler_deps deps_;
  std::vector<replica> replicas_;
};

} // namespace

release_reconciler_actor spawn_release_reconciler(caf::actor_system& system, release_reconciler_deps deps) {
  auto behaviour = [](release_reconciler_state::pointer self,
                      const std::shared_ptr<release_reconciler_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<release_reconciler_deps>(std::move(deps)));
}

} // namespace troupe::deployer
