#pragma once

#include "common/core/error.hpp"

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace troupe::trainer::neural {

/// Everything that training needs to go on as if it had never stopped: tensors and facts by name.
struct checkpoint {
  std::uint64_t step = 0;
  std::map<std::string, torch::Tensor> tensors;
  std::map<std::string, std::string> facts;
};

/// Checkpoints of one training in a folder of their own, `step-N-HASH.safetensors`: written whole or not at
/// all, named by their hash, the last two kept.
class checkpoint_folder {
public:
  explicit checkpoint_folder(std::filesystem::path folder) : folder_{std::move(folder)} {}

  expected<void> save(const checkpoint& what) const;

  /// The newest whose bytes are whole; nothing where there is none.
  expected<std::optional<checkpoint>> load() const;

private:
  std::filesystem::path folder_;
};

} // namespace troupe::trainer::neural
