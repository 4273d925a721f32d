#pragma once

#include "common/core/error.hpp"

#include <boost/json/object.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace troupe::trainer {

/// What the trainer tells a rank on its command line.
struct worker_options {
  std::filesystem::path config;
  std::filesystem::path data; ///< File of interactions; of a DCN the folder of a training set.
  std::filesystem::path out;  ///< The run's folder: the model goes to `model` in it.
  std::uint32_t rank = 0;
  std::uint32_t world = 1;
  std::filesystem::path rendezvous; ///< File through which the ranks find one another.
  bool resume = false;
};

/// Threads that this rank computes with: the configuration's, or this machine's divided by the ranks. BLAS
/// wants to know it before anything else runs.
unsigned threads_of(const worker_options& options);

/// Trains as one rank. Says how far it is through `say`, one JSON object a line, at most ten times a second:
/// stage (loading, counting, inverting, sorting, fitting, validating, comparing, evaluating), step,
/// steps_total, and while fitting loss, learning_rate, gradient_norm, samples_per_second. Gives what the last
/// line says:
/// {"done":true,"metrics":{...},"model":...}.
///
/// The model is measured by leaving out the last item of each user (see `evaluation.split`), beside
/// popularity and what is in production (`production.json` of the run's folder) on the same questions, and
/// then trained again on everything. ec::canceled where `stop` was set.
expected<boost::json::object> run_worker(const worker_options& options, const std::atomic<bool>& stop,
                                         const std::function<void(const boost::json::object&)>& say);

} // namespace troupe::trainer
