#pragma once

#include "services/trainer/engine/loop_config.hpp"

#include "common/config/keys.hpp"

#include <cstdint>
#include <string>

namespace troupe::trainer {

struct two_tower_config {
  std::uint32_t dimensions = 64;
  std::uint32_t hidden = 128;
  std::uint32_t output = 64;
  std::uint32_t history = 50;
  std::string context = "before";
  bool user_embedding = false;
  double user_dropout = 0.5;
  bool normalised = true;
  double temperature = 0.07;
  bool logq = true;
  std::string activation = "relu";
  loop_config loop{.batch = 16, .epochs = 20, .learning_rate = 2e-3};

  void bind(config_keys& keys);
};

} // namespace troupe::trainer
