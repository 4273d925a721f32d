#pragma once

#include "services/trainer/engine/loop_config.hpp"

#include "common/config/keys.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::trainer {

struct dcn_config {
  std::string training_set;
  std::string label = "label_value";
  double positive_at_least = 1;
  bool ids = false;
  std::uint32_t dimensions = 8;
  std::uint32_t buckets = 1000;
  std::uint32_t cross_layers = 2;
  std::uint32_t deep_layers = 2;
  std::uint32_t hidden = 64;
  std::string structure = "parallel";
  double validation = 0.1;
  double test = 0.1;
  loop_config loop{.batch = 512, .epochs = 10, .learning_rate = 2e-3, .weight_decay = 1e-4, .patience = 2};

  void bind(config_keys& keys);
};

} // namespace troupe::trainer
