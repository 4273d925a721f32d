#pragma once

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
  unsigned threads = 0;
  bool json = false;
  bool quiet = false;
};

expected<void> run_evaluate(const command_options& options, const tensor::blas_setting& blas);
expected<void> run_fit(const command_options& options, const tensor::blas_setting& blas);

/// Name, default, bounds and meaning of every key of a training configuration.
std::string help_on_keys();

} // namespace troupe::trainer
