#pragma once

#include "services/trainer/engine/labelled_rows.hpp"
#include "services/trainer/engine/progress.hpp"

#include "common/core/error.hpp"

#include <filesystem>
#include <string>

namespace troupe::trainer {

/// What of a training set becomes labels and features.
struct training_table_options {
  std::string label = "label_value"; ///< A column; a row without a value in it has label 0.
  double positive_at_least = 1;      ///< Label 1 from this value on.
  bool ids = false;                  ///< `user` and `item` are features too.
};

/// Reads a finished training set of the feature store: its manifest and its Parquet parts, in their order. A
/// number that is missing becomes NaN, a text or list that is missing or empty has no words. Fails with
/// ec::not_found where the folder holds none and with ec::invalid_argument on a label that is no column of
/// it. `sink` hears of the rows as they are read; ec::canceled where it gives false.
expected<labelled_rows> read_training_set(const std::filesystem::path& folder,
                                          const training_table_options& options,
                                          const progress_sink& sink = {});

} // namespace troupe::trainer
