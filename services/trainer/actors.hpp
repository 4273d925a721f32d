#pragma once

#include "services/trainer/run.hpp"

#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <memory>
#include <mutex>
#include <string>
#include <thread>

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::trainer::status_ptr)

namespace troupe::trainer {

using begin_atom = caf::atom_constant<caf::atom("begin")>;
using told_atom = caf::atom_constant<caf::atom("told")>;
using ended_atom = caf::atom_constant<caf::atom("ended")>;

/// The threads on which runs do their blocking work. Joined by the service after its actors have ended.
class run_threads {
public:
  void start(std::function<void()> work);
  void join();

private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

/// One run, from its order to its end. Owned by the actor of all runs.
using run_actor = caf::typed_actor<
    // Train now: its turn has come.
    caf::reacts_to<begin_atom>,
    // How far the run's thread is; the last of them has ended.
    caf::reacts_to<told_atom, status_ptr>,
    // Answer train_start and train_status with the state; train_cancel ends the run.
    caf::reacts_to<net::request_atom, net::request_ptr>>;

/// All runs: takes orders, writes them down, gives them their turns. Owned by the root.
using runs_actor = caf::typed_actor<
    // Answer one request: train_start, train_status, train_cancel.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // A run has ended: the next one's turn.
    caf::reacts_to<ended_atom, std::string>>;

/// Goes on with the runs that the journal says are not ended.
expected<runs_actor> spawn_runs(caf::actor_system& system, std::shared_ptr<const run_parts> parts,
                                std::shared_ptr<run_threads> threads);

} // namespace troupe::trainer
