#pragma once

#include "common/table/column.hpp"

namespace troupe::table::detail {

kind kind_of(int duckdb_type_id) noexcept;

/// The shape of a duckdb_logical_type.
type_info describe(void* logical_type);

} // namespace troupe::table::detail
