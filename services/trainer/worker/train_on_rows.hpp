#pragma once

#include "services/trainer/engine/model.hpp"
#include "services/trainer/engine/progress.hpp"
#include "services/trainer/engine/train_config.hpp"

#include <filesystem>

namespace troupe::trainer {

struct rows_setting {
  unsigned threads = 1;
  std::filesystem::path checkpoints; ///< Empty: none.
  bool resume = false;
};

/// Trains the DCN of `config` on its training set and measures it on the newest rows: auc, log_loss,
/// calibration; beside it popularity (an item's rows so far; a constant as the probability) and item_rate
/// (the share of good ones among an item's rows so far).
expected<trained_model> train_on_rows(const train_config& config, const rows_setting& setting,
                                      const progress_sink& sink);

} // namespace troupe::trainer
