#pragma once

#include "services/trainer/engine/neural/loop.hpp"

namespace troupe::trainer::neural {

struct fit_setting {
  unsigned threads = 1;
  process_group* group = nullptr;    ///< Null: this process alone.
  std::filesystem::path checkpoints; ///< Empty: none. Networks only.
  bool resume = false;
  std::uint64_t epochs = 0; ///< Instead of the configuration's, without validation; 0: the configuration's.
};

struct fitted {
  trained_model model;
  loop_result loop;         ///< Of networks.
  std::string not_measured; ///< Of one that is measured while it is trained: why it could not be.
};

/// Trains the model of `config`, classic or neural. Networks stop early by `validation`, which may be empty.
/// Classic models are trained by one process.
expected<fitted> fit(const train_config& config, const interactions& data,
                     std::span<const ranking_case> validation, const fit_setting& setting,
                     const progress_sink& sink);

} // namespace troupe::trainer::neural
