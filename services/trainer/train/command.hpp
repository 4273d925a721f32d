#pragma once

#include "services/trainer/engine/train_config.hpp"

#include "common/core/error.hpp"
#include "common/tensor/blas_kernels.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace troupe::trainer {

/// What the command line of troupe-train says.
struct command_options {
  std::string protocol;
  std::filesystem::path data;
  std::filesystem::path config_file;
  std::vector<std::string> settings;
  std::string model;
  std::filesystem::path out;
  unsigned threads = 0; ///< 0: those of the configuration.
  bool json = false;
  bool quiet = false;
};

/// The configuration that the options make up, with the threads that are computed with: those of --threads,
/// or of the configuration, or one a processor.
expected<train_config> read_options(const command_options& options);

expected<void> run_evaluate(const command_options& options, const train_config& config,
                            const tensor::blas_setting& blas);
expected<void> run_fit(const command_options& options, const train_config& config,
                       const tensor::blas_setting& blas);

/// Name, default, bounds and meaning of every key of a training configuration.
std::string help_on_keys();

} // namespace troupe::trainer
