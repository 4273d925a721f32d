#pragma once

#include "services/feature_store/training/training_spec.hpp"

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace troupe::feature_store {

/// A row of the file that a specification names as its entity_rows.
struct entity_row {
  std::uint64_t number = 0; ///< From 1.
  std::string user;         ///< Empty: the row names none.
  std::string item;
  timestamp at{};
  std::vector<std::string> kept; ///< As the specification's kept_columns; empty where there is no value.
};

/// Gives the rows one after the other. The file is read as ingest reads files, CSV (with commas and a
/// header), JSON lines or Parquet, compressed or not, and an identity is what ingest would have made of it.
/// Fails with ec::invalid_argument, which says row and column, where a column is missing, a cell is no
/// identity, or a time is none.
expected<void> read_entity_rows(const training_spec& spec,
                                const std::function<expected<void>(const entity_row&)>& take);

} // namespace troupe::feature_store
