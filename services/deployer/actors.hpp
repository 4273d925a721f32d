#pragma once

#include "services/deployer/config.hpp"
#include "services/deployer/metrics.hpp"
#include "services/deployer/rollout_store.hpp"

#include "common/actor/health.hpp"
#include "common/net/actors.hpp"
#include "common/net/payload.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::deployer {

using commit_ptr = std::shared_ptr<const commit>;

/// Releases that each replica of the ranker is to hold.
using wanted_ptr = std::shared_ptr<const std::vector<std::vector<std::string>>>;

/// What each replica says about one release.
struct release_status {
  enum class state : std::uint8_t {
    unknown,
    loading,
    ready,
    failed,
    dead ///< Has not answered for `ranker_dead_after`: nobody waits for it.
  };
  state is = state::unknown;
  std::string error;
};
using release_statuses_ptr = std::shared_ptr<const std::vector<release_status>>;

/// Batches of one partition of the event log, and one past the last record in them.
struct log_part {
  std::uint32_t partition = 0;
  std::vector<batch> batches;
  std::uint64_t end = 0;
};
using log_part_ptr = std::shared_ptr<const log_part>;
using offsets_ptr = std::shared_ptr<const std::map<std::uint32_t, std::uint64_t>>;

} // namespace troupe::deployer

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::commit_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::wanted_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::release_statuses_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::log_part_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::offsets_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::deployer::window_ptr)

namespace troupe::deployer {

using commit_atom = caf::atom_constant<caf::atom("commit")>;
using seen_atom = caf::atom_constant<caf::atom("seen")>;
using offsets_atom = caf::atom_constant<caf::atom("offsets")>;
using records_atom = caf::atom_constant<caf::atom("records")>;
using wanted_atom = caf::atom_constant<caf::atom("wanted")>;
using status_atom = caf::atom_constant<caf::atom("status")>;
using expire_atom = caf::atom_constant<caf::atom("expire")>;
using drain_atom = caf::atom_constant<caf::atom("drain")>;
using begin_atom = caf::atom_constant<caf::atom("begin")>;
using tick_atom = caf::atom_constant<caf::atom("tick")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using finish_atom = caf::atom_constant<caf::atom("finish")>;

/// Owns the store: rollouts, routing table, counts, offsets. Owned by the root; spawns the actor of the
/// newest rollout. The endpoint before it bounds how many requests wait; `max_waiters` how many long polls
/// do.
using rollout_controller_actor = caf::typed_actor<
    // Answer one request of kinds 600 to 605. `routing` waits for a newer table, `rollout_start` for the
    // registry to resolve the release, `rollout_change` goes to the rollout.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The registry's answer about the release of a start.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // Write a step of a rollout down, publish what it publishes; the version of the table then.
    caf::replies_to<commit_atom, commit_ptr>::with<std::uint64_t>,
    // What was seen of the step of this rollout.
    caf::replies_to<seen_atom, std::string>::with<window_ptr>,
    // Where to go on reading the log; empty on the first start.
    caf::replies_to<offsets_atom>::with<offsets_ptr>,
    // Take records; the next offset.
    caf::replies_to<records_atom, log_part_ptr>::with<std::uint64_t>,
    // A long poll has waited long enough.
    caf::reacts_to<expire_atom, std::uint64_t>,
    // Answer all long polls now: the endpoint drains.
    caf::reacts_to<drain_atom>,
    // Behind everything that waited when the stop began: now quit.
    caf::reacts_to<finish_atom>>;

/// One rollout, from its record to its end and back: decides, has the controller write it down, then does it.
/// Owned by the controller.
using rollout_actor = caf::typed_actor<
    // Look: at the rankers while it prepares, at the counts while it runs, at the registry while it promotes.
    caf::reacts_to<tick_atom>,
    // Answer one rollout_change.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The registry's answer.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Has every replica of the ranker hold what it is to hold: tells it, asks again, tells it again after it was
/// away. Owned by the root.
using release_reconciler_actor = caf::typed_actor<
    // From now on, these.
    caf::reacts_to<wanted_atom, wanted_ptr>,
    // How far each replica is with this release.
    caf::replies_to<status_atom, std::string>::with<release_statuses_ptr>,
    // Ask all replicas that are not being asked.
    caf::reacts_to<tick_atom>,
    // A replica's answer; the tag is its number.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Reads the event log by offset, one fetch per partition at a time, and gives it to the controller. Owned by
/// the root.
using log_reader_actor = caf::typed_actor<
    // Ask where the partitions end; go on where the controller is.
    caf::reacts_to<begin_atom>,
    // The log's answer.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // Ask again after a failure.
    caf::reacts_to<again_atom, std::uint64_t>>;

struct release_reconciler_deps {
  net::ask_function rankers; ///< Empty: the catalog has none.
  std::uint32_t replicas = 0;
  std::shared_ptr<const config> settings;
  std::shared_ptr<service_metrics> metrics;
  health::report report;
};
release_reconciler_actor spawn_release_reconciler(caf::actor_system& system, release_reconciler_deps deps);

struct rollout_controller_deps {
  std::unique_ptr<rollout_store> rollouts;
  release_reconciler_actor reconciler;
  std::uint32_t replicas = 1; ///< Of the ranker.
  net::ask_function registry; ///< Empty: the catalog has none; releases are named by their id, aliases stay.
  std::shared_ptr<const config> settings;
  std::shared_ptr<service_metrics> metrics;
  health::report report;
};
/// `detached`: on a thread of its own, since it waits for the disk.
rollout_controller_actor spawn_rollout_controller(caf::actor_system& system, rollout_controller_deps deps,
                                                  bool detached);

struct rollout_deps {
  rollout record;
  caf::weak_actor_ptr controller;
  release_reconciler_actor reconciler;
  net::ask_function registry;
  std::shared_ptr<const config> settings;
  std::shared_ptr<service_metrics> metrics;
  health::report report;
};
rollout_actor spawn_rollout(caf::actor_system& system, rollout_deps deps);

struct log_reader_deps {
  net::ask_function log;
  rollout_controller_actor controller;
  std::shared_ptr<const config> settings;
  std::shared_ptr<service_metrics> metrics;
  health::report report;
};
log_reader_actor spawn_log_reader(caf::actor_system& system, log_reader_deps deps);

using net::bytes_of;
using net::read_as;

} // namespace troupe::deployer
