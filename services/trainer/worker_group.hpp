#pragma once

#include "common/core/error.hpp"

#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace troupe::trainer {

struct group_options {
  std::filesystem::path program;
  std::filesystem::path config;
  std::filesystem::path data;
  std::filesystem::path out; ///< The run's folder; logs of the ranks go there as rank-N.log.
  std::uint32_t ranks = 1;
  std::chrono::milliseconds hang_after{60'000};
  std::uint32_t max_restarts = 3;
  bool resume = false;                          ///< There may be a checkpoint of an earlier life.
  std::chrono::milliseconds stop_after{15'000}; ///< From SIGTERM to SIGKILL when told to stop.
};

/// What rank 0 said last, and how often the ranks were started again.
struct group_progress {
  std::string stage;
  std::uint64_t step = 0;
  std::uint64_t steps_total = 0;
  double samples_per_second = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  std::uint32_t restarts = 0;
};

/// Trains: starts the ranks, reads their JSON lines, and starts all of them again from the last checkpoint
/// when one dies, or makes no step for `hang_after`. Gives the last line of rank 0: {"done":true,...}.
///
/// Blocks the calling thread, which must live as long as the ranks: they die with it, so that none outlives a
/// trainer that is killed. `report` is called at least every 200 ms; where it gives false the ranks are told
/// to write a checkpoint and end, and the error is ec::canceled. Input that the workers refuse (exit 2) is
/// ec::invalid_argument, restarts used up ec::unavailable.
expected<boost::json::object> train_with_workers(const group_options& options,
                                                 const std::function<bool(const group_progress&)>& report);

} // namespace troupe::trainer
