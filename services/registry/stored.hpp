#pragma once

#include "common/core/error.hpp"
#include "common/store/database.hpp"
#include "common/store/packed.hpp"

#include "schemas/registry_generated.h"

#include <memory>
#include <string>
#include <string_view>

namespace troupe::registry {

/// The key spaces of the registry's database, in order.
enum family : store::family_id {
  runs,          ///< run id -> Run
  run_order,     ///< created (8 bytes) + run id -> nothing
  points,        ///< run id 0 name 0 step (8 bytes) -> value (8 bytes), time (8 bytes)
  models,        ///< name 0 version (8 bytes) -> ModelVersion
  model_hashes,  ///< name 0 SHA-256 of the manifest -> version (8 bytes)
  model_aliases, ///< name 0 alias -> version (8 bytes)
  releases,      ///< id -> Release
  release_order  ///< created (8 bytes) + id -> nothing
};

expected<std::shared_ptr<store::database>> open_database(const std::filesystem::path& path);

using store::packed;
using store::unpacked;

/// What a person may call a metric, a parameter, a tag: 1 to 200 bytes without control characters and `:`.
expected<void> check_label(std::string_view kind, std::string_view label);

/// What a person may call a run, an experiment, a model, an alias, a release: `is_plain_name`. A model of
/// another name could be registered and never be released.
expected<void> check_name(std::string_view kind, std::string_view name);

} // namespace troupe::registry
