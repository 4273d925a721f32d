#pragma once

#include "common/core/error.hpp"
#include "common/store/database.hpp"

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

/// Values are kept as the tables that travel.
template <class Table>
std::string packed(const typename Table::NativeTableType& value) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Table::Pack(out, &value));
  return {reinterpret_cast<const char*>(out.GetBufferPointer()), out.GetSize()};
}

template <class Table>
expected<typename Table::NativeTableType> unpacked(std::string_view bytes, std::string_view what) {
  auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier{data, bytes.size(), 64, 1u << 30};
  if (!verifier.VerifyBuffer<Table>(nullptr))
    return fail(ec::corrupt, "the registry's record of {} is damaged", what);
  typename Table::NativeTableType value;
  flatbuffers::GetRoot<Table>(data)->UnPackTo(&value);
  return value;
}

/// What a person may call a run, a model, an alias, a metric: 1 to 200 bytes without control characters and
/// `:`.
expected<void> check_name(std::string_view kind, std::string_view name);

} // namespace troupe::registry
