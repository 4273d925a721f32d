#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace troupe::trainer {

/// How far a run is; called from one thread, some times a second at most. False asks for the end.
struct progress {
  std::string stage;
  std::uint64_t step = 0;
  std::uint64_t steps = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  double samples_per_second = 0;
};
using progress_sink = std::function<bool(const progress&)>;

} // namespace troupe::trainer
