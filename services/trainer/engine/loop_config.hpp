#pragma once

#include "common/config/keys.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::trainer {

/// How a network is trained. Every neural model has one in its own table, with its own defaults.
struct loop_config {
  std::uint32_t batch = 128;
  std::uint32_t accumulate = 1;
  std::uint32_t epochs = 20;
  double learning_rate = 1e-3;
  std::string schedule = "cosine";
  double warmup = 0.05;
  double last_learning_rate = 0.05;
  double weight_decay = 0;
  double clip = 1.0;
  std::string precision = "fp32";
  std::uint32_t validate_every = 1;
  std::uint32_t patience = 5;
  std::uint64_t bucket_bytes = 1 << 20;
  std::string backend = "gloo";
  std::chrono::seconds group_timeout{60};
  std::chrono::seconds checkpoint_every{60};

  /// Declares the keys as those of `table`.
  void bind(config_keys& keys, const std::string& table);

  /// The learning rate of step `step` of `steps`.
  double rate_at(std::uint64_t step, std::uint64_t steps) const;
};

} // namespace troupe::trainer
