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

class release_reconciler_state {
public:
  using pointer = release_reconciler_actor::stateful_pointer<release_reconciler_state>;
  explicit release_reconciler_state(pointer self) : self_{self} {}

  release_reconciler_actor::behavior_type make_behavior(release_reconciler_parts parts) {
    parts_ = std::move(parts);
    replicas_.resize(parts_.replicas);
    for (auto& each : replicas_)
      each.answered = now();
    self_->send(self_, tick_atom::value);
    return {[this](wanted_atom, const wanted_ptr& wanted) { want(*wanted); },
            [this](holds_atom, const std::string& release) { return holds(release); },
            [this](tick_atom) {
              look();
              self_->delayed_send(self_, parts_.settings->ranker_poll, tick_atom::value);
            },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              on_reply(tag, *result);
            }};
  }

  const char* name = "release_reconciler";

private:
  struct place {
    std::vector<std::string> wanted;
    bool told = false; ///< It has acknowledged this list.
    bool asking = false;
    bool away = false;
    caf::actor_clock::time_point answered;  ///< Last, or when we began.
    std::uint64_t list = 0, asked_list = 0; ///< Numbers of the list wanted and of that last sent.
    std::map<std::string, holding> holds;
    std::map<std::string, unsigned> failures;
  };

  void want(const std::vector<std::vector<std::string>>& lists) {
    for (std::size_t r = 0; r < replicas_.size() && r < lists.size(); ++r) {
      auto& at = replicas_[r];
      if (at.wanted == lists[r])
        continue;
      for (auto& each : lists[r]) // One that is wanted anew begins anew.
        if (std::ranges::find(at.wanted, each) == at.wanted.end()) {
          at.failures.erase(each);
          at.holds.erase(each);
        }
      at.wanted = lists[r];
      at.told = false;
      ++at.list;
      ask(static_cast<std::uint32_t>(r));
    }
  }

  holdings_ptr holds(const std::string& release) const {
    auto out = std::make_shared<std::vector<holding>>();
    for (auto& at : replicas_) {
      auto found = at.holds.find(release);
      if (is_gone(at))
        out->push_back({holding::state::gone, {}});
      else
        out->push_back(found == at.holds.end() || at.away ? holding{} : found->second);
    }
    return out;
  }

  caf::actor_clock::time_point now() const { return self_->clock().now(); }

  bool is_gone(const place& at) const {
    return at.away && now() - at.answered >= parts_.settings->ranker_gone;
  }

  void look() {
    for (std::uint32_t r = 0; r < replicas_.size(); ++r)
      ask(r);
  }

  void ask(std::uint32_t replica) {
    auto& at = replicas_[replica];
    if (at.asking || at.wanted.empty() || !parts_.rankers)
      return;
    at.asking = true;
    flatbuffers::FlatBufferBuilder out;
    auto until = deadline::in(parts_.settings->ask_timeout);
    if (at.told) {
      out.Finish(wire::CreateLoadedQuery(out), "TRPK");
      ask_for(parts_.rankers, replica, release_reconciler_actor{self_}, replica, wire::Kind::loaded,
              bytes_of(out), until);
      return;
    }
    at.asked_list = at.list;
    out.Finish(wire::CreatePrepare(out, out.CreateVectorOfStrings(at.wanted)), "TRPK");
    ask_for(parts_.rankers, replica, release_reconciler_actor{self_}, replica, wire::Kind::prepare,
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
      parts_.metrics->ranker_failures.add();
      if (!std::exchange(at.away, true))
        log::warn("ranker-away", "release_reconciler cannot ask ranker {}: {}", tag, render(read.error()));
      at.told = false; // It may come back without what it was told.
      say();
      return;
    }
    at.answered = now();
    if (std::exchange(at.away, false))
      log::info("ranker-back", "release_reconciler reaches ranker {} again", tag);
    bool newer = at.list != at.asked_list; // Another list was wanted meanwhile.
    if (!newer)
      at.told = true;
    at.holds.clear();
    if ((*read)->releases())
      for (auto* each : *(*read)->releases())
        note(at, *each);
    for (auto& each : at.wanted)
      if (!at.holds.contains(each))
        at.told = false;
    if (newer)
      ask(static_cast<std::uint32_t>(tag));
    say();
  }

  void note(place& at, const wire::LoadedRelease& from) {
    std::string id{text_of(from.id())};
    auto state = text_of(from.state());
    auto& to = at.holds[id];
    if (state == "ready") {
      to.is = holding::state::ready;
      at.failures.erase(id);
      return;
    }
    to.is = holding::state::loading;
    if (state != "failed" || std::ranges::find(at.wanted, id) == at.wanted.end())
      return;
    to.error = text_of(from.error());
    if (++at.failures[id] >= most_attempts)
      to.is = holding::state::failed;
    at.told = false; // Telling it again has it try again.
  }

  void say() {
    std::size_t away = 0, gone = 0, lacking = 0;
    for (auto& at : replicas_) {
      bool is_away = at.away, nobody_waits = is_gone(at);
      away += is_away;
      gone += nobody_waits;
      if (nobody_waits)
        continue;
      lacking += std::ranges::any_of(at.wanted, [&](auto& id) {
        auto found = at.holds.find(id);
        return found == at.holds.end() || found->second.is != holding::state::ready;
      });
    }
    parts_.report.gauge("rankers_away", static_cast<double>(away));
    parts_.report.gauge("rankers_lacking", static_cast<double>(lacking));
    if (gone == replicas_.size())
      parts_.report.degraded("no ranker answers");
    else if (away > gone)
      parts_.report.degraded(fmt::format("{} of {} rankers do not answer", away, replicas_.size()));
    else
      parts_.report.ready();
  }

  pointer self_;
  release_reconciler_parts parts_;
  std::vector<place> replicas_;
};

} // namespace

release_reconciler_actor spawn_release_reconciler(caf::actor_system& system, release_reconciler_parts parts) {
  auto behaviour = [](release_reconciler_state::pointer self,
                      const std::shared_ptr<release_reconciler_parts>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<release_reconciler_parts>(std::move(parts)));
}

} // namespace troupe::deployer
