#pragma once

#include "services/trainer/engine/dcn_config.hpp"
#include "services/trainer/engine/loop_config.hpp"
#include "services/trainer/engine/two_tower_config.hpp"

#include "common/config/keys.hpp"

#include <cstdint>
#include <string>

namespace troupe::trainer {

/// Everything a run can be told. The defaults are those that reach the published accuracy on MovieLens 1M.
struct train_config {
  std::string model = "ease";
  std::uint64_t seed = 1;
  std::uint32_t threads = 0;
  std::uint64_t memory_cap = std::uint64_t{8} << 30;
  std::string device = "cpu";

  struct {
    std::string split = "leave-last-out";
    std::uint32_t users = 20'000;
    bool production = true;
  } evaluation;

  struct {
    std::uint32_t neighbours = 100;
    std::uint32_t serve_neighbours = 1000;
    double shrink = 10;
    double popularity_power = 0.5;
    double user_power = 0.5;
  } item_knn;

  struct {
    double l2 = 1320;
    std::uint32_t serve_neighbours = 1000;
  } ease;

  struct {
    std::uint32_t dimensions = 64;
    std::uint32_t iterations = 12;
    std::uint32_t cg_steps = 3;
    double alpha = 0.1;
    double regularization = 0.005;
    double frequency_power = 1.0;
    double deviation = 0.1;
  } ials;

  struct {
    std::uint32_t dimensions = 64;
    std::uint32_t epochs = 60;
    double learning_rate = 0.05;
    double last_learning_rate = 0.005;
    double regularization = 0.01;
    double item_regularization = 0.01;
  } bpr;

  struct {
    loop_config loop{.batch = 64, .epochs = 12, .learning_rate = 3e-3, .patience = 3};
    std::uint32_t dimensions = 64;
    std::uint32_t blocks = 2;
    std::uint32_t heads = 1;
    std::uint32_t feed = 128;
    std::uint32_t length = 100;
    double dropout = 0.2;
    std::string activation = "relu";
    double norm_epsilon = 1e-8;
    std::string softmax = "full";
    std::uint32_t negatives = 512;
    double negative_power = 0.5;
    bool recompute = false;
  } sasrec;

  two_tower_config two_tower;
  dcn_config dcn;

  void bind(config_keys& keys);
  expected<void> validate() const;

  /// The keys that matter to `model`, as JSON.
  std::string json() const;
};

} // namespace troupe::trainer
