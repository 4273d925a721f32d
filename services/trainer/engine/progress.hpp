#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace troupe::trainer {

/// How far a run is. Called from one thread, as often as a loop goes round: who shows it looks at the clock.
/// Whatever takes long makes steps, since a rank without one counts as hung. False asks for the end.
struct progress {
  std::string stage; ///< loading, counting, inverting, sorting, fitting, validating, comparing, evaluating.
  std::uint64_t step = 0;
  std::uint64_t steps = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  double samples_per_second = 0;
};
using progress_sink = std::function<bool(const progress&)>;

} // namespace troupe::trainer
