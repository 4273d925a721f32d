#pragma once

#include "services/trainer/engine/model.hpp"

#include <functional>

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

/// Trains the models that need no gradients of a network: popularity, item_knn, ease, ials, bpr. The same
/// data, configuration, binary and processor give the same bytes, for any number of threads where libtorch is
/// not used.
expected<trained_model> fit_classic(const train_config& config, const interactions& data, unsigned threads,
                                    const progress_sink& sink);

} // namespace troupe::trainer
