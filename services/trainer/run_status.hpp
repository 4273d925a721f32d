#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include "schemas/trainer_generated.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace troupe::trainer {

/// What the registry knows of a run that has ended. The numbers are in the journal.
enum class publication : std::uint8_t {
  none = 0,     ///< Nothing that is durable here: the run goes on, or the catalog has no registry.
  waiting = 1,  ///< The registry was away: it is told again until it has all of it.
  complete = 2, ///< All of it; of a model that the quality gate stops, its files.
  refused = 3,  ///< It does not take the files of the model: they are in the folder of the run only.
};

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
  trainer::publication publication = trainer::publication::none;

  bool ended() const noexcept { return state >= wire::TrainState::done; }
};

using status_ptr = std::shared_ptr<const run_status>;

/// Bytes of wire::TrainStatus.
chunk encode(const run_status& status);

} // namespace troupe::trainer
