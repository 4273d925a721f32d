#pragma once

#include "common/event/record.hpp"
#include "common/table/column.hpp"
#include "common/table/parquet.hpp"

#include <string>
#include <string_view>
#include <vector>

/// The column `shown` of a Parquet file of records: what a slate shows, NULL for every other record.
namespace troupe::ingest_format {

/// Its type in SQL.
inline constexpr std::string_view shown_type =
    "STRUCT(item VARCHAR, \"position\" UINTEGER, propensity DOUBLE)[]";

/// Adds the three lists that a row is written with to the columns of a file.
void append_shown_columns(std::vector<table::column_spec>& to);

/// `parquet_options::select` that makes one column of the three.
std::string select_with_shown();

/// Writes the three cells of a row.
void add_shown(table::row_writer& to, const std::vector<shown_item>& items);

/// Reads the column back.
std::vector<shown_item> shown_in(const table::column_view& column, std::uint64_t row);

} // namespace troupe::ingest_format
