#pragma once

#include "services/trainer/run.hpp"

#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::trainer::status_ptr)

namespace troupe::trainer {

using begin_atom = caf::atom_constant<caf::atom("begin")>;
using progress_atom = caf::atom_constant<caf::atom("progress")>;
using ended_atom = caf::atom_constant<caf::atom("ended")>;
using leave_atom = caf::atom_constant<caf::atom("leave")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using finish_atom = caf::atom_constant<caf::atom("finish")>;
using offered_atom = caf::atom_constant<caf::atom("offered")>;

/// The threads on which runs do their blocking work: one that has done its work is joined when the next one
/// starts, the rest by the service after its actors have ended.
class run_threads {
public:
  void start(std::function<void()> work);
  void join();

  /// Threads that are not joined yet.
  std::size_t size() const;

private:
  struct worker {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };
  mutable std::mutex mutex_;
  std::vector<worker> workers_;
};

/// One run, from its order to its end. Owned by the actor of all runs.
using run_actor = caf::typed_actor<
    // Train now: its turn has come.
    caf::reacts_to<begin_atom>,
    // How far the run's thread is; the last of them has ended.
    caf::reacts_to<progress_atom, status_ptr>,
    // Answer train_start and train_status with the state; train_cancel ends the run.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // Behind the last request that was passed on: the journal answers from now on. A run that has not ended
    // goes on in the next life of the service.
    caf::reacts_to<leave_atom>>;

/// All runs: takes orders, writes them down, gives them their turns, and offers those that the registry could
/// not hear of to it again. Of the ended runs it holds nothing: the journal answers for them. Owned by the
/// root.
using runs_actor = caf::typed_actor<
    // Answer one request: train_start, train_status, train_cancel. One whose deadline has passed is answered
    // `too_late` and not done. An order beyond `max_waiting` is refused as overloaded.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // A run has ended: the next one's turn.
    caf::reacts_to<ended_atom, std::string>,
    // Offer the runs whose publication waits to the registry.
    caf::reacts_to<again_atom>,
    // That was done; these wait no longer.
    caf::reacts_to<offered_atom, std::vector<std::string>>,
    // Behind everything that was in the mailbox when the stop began. What came before the stop has been done
    // in order, what came behind it was answered `stopping`: now quit.
    caf::reacts_to<finish_atom>>;

/// Goes on with the runs that the journal says are not ended.
expected<runs_actor> spawn_runs(caf::actor_system& system, std::shared_ptr<const run_deps> deps,
                                std::shared_ptr<run_threads> threads);

} // namespace troupe::trainer
