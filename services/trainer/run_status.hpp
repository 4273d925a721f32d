#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include "schemas/trainer_generated.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace troupe::trainer {

/// How far a run is.
struct run_status {
  std::string id;
  wire::TrainState state = wire::TrainState::waiting;
  std::string error;
  std::string stage;
  std::uint64_t step = 0;
  std::uint64_t steps_total = 0;
  double samples_per_second = 0;
  double seconds_left = 0;
  std::uint32_t restarts = 0;
  std::map<std::string, double> metrics;
  std::string manifest;

  bool ended() const noexcept { return state >= wire::TrainState::done; }
};

using status_ptr = std::shared_ptr<const run_status>;

/// Bytes of wire::TrainStatus.
chunk encode(const run_status& status);

} // namespace troupe::trainer
