#pragma once

#include "services/trainer/engine/neural/fit.hpp"
#include "services/trainer/engine/neural/process_group.hpp"
#include "services/trainer/engine/progress.hpp"
#include "services/trainer/engine/train_config.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace troupe::trainer {

struct rows_setting {
  unsigned threads = 1;
  neural::process_group* group =
      nullptr;                       ///< Null: this process alone, where `device` of the configuration says.
  std::filesystem::path checkpoints; ///< Empty: none.
  bool resume = false;
  std::function<void()> next_fit; ///< Called between the fit that is measured and the last one.
  std::filesystem::path folder;   ///< Of the training set; empty: where `dcn.training_set` says.
};

/// Trains the DCN of `config` on its training set and measures it on the newest rows: auc, log_loss,
/// calibration; beside it popularity (an item's rows so far; a constant as the probability) and item_rate
/// (the share of good ones among an item's rows so far). Then it is trained again on all rows, for the epochs
/// that were best. Every rank of the group gives the same model.
expected<neural::fitted> train_on_rows(const train_config& config, const rows_setting& setting,
                                       const progress_sink& sink);

/// Trains the DCN of `config` likewise, but once, for what it says of the newest rows alone: auc and
/// log_loss; nothing where no rows are held back.
expected<std::map<std::string, double>>
measure_on_rows(const train_config& config, const rows_setting& setting, const progress_sink& sink);

} // namespace troupe::trainer
