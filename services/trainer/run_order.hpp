#pragma once

#include "common/config/keys.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::trainer {

/// What the trainer itself reads of a run's configuration: its table `run`. Everything else is the worker's.
struct run_settings {
  std::string name;
  std::string experiment = "default";
  std::string data = "log";
  std::vector<std::string> event_types;
  std::vector<std::string> exclude_arms;
  std::vector<std::string> offsets;
  std::string data_sha256;
  std::uint32_t ranks = 1;
  std::chrono::milliseconds hang_after{60'000};
  std::uint32_t max_restarts = 3;
  bool register_model = true;
  bool skip_gate = false;

  void bind(config_keys& keys);
};

/// A run as it was ordered, read and checked.
struct run_order {
  std::string id;
  std::string config; ///< As sent.
  std::string parent;
  run_settings run;
  std::string
      worker_config; ///< TOML, one key a line, sorted: the same for configurations that mean the same.
  std::string model_name;
  bool on_rows = false;     ///< Trained on the rows of a training set, not on interactions.
  std::string training_set; ///< Its name in the feature store, or the absolute path of its folder here.
  std::uint64_t seed = 1;
};

/// Reads a configuration. An empty `id` becomes one made of the configuration's hash. Errors name the key.
expected<run_order> read_order(std::string id, std::string config, std::string parent);

/// What an order must say that is taken now; the journal may hold older ones that do not, and failed.
expected<void> check_order(const run_order& order);

/// What the keys of table `run` mean, for people.
std::string help_on_run_keys();

} // namespace troupe::trainer
