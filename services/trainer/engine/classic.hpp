#pragma once

#include "services/trainer/engine/model.hpp"
#include "services/trainer/engine/progress.hpp"

namespace troupe::trainer {

/// Trains the models that need no gradients of a network: popularity, item_knn, ease, ials, bpr. The same
/// data, configuration, binary and processor give the same bytes, for any number of threads where libtorch is
/// not used.
expected<trained_model> fit_classic(const train_config& config, const interactions& data, unsigned threads,
                                    const progress_sink& sink);

} // namespace troupe::trainer
