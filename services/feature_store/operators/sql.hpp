#pragma once

#include "services/feature_store/views/view.hpp"

#include <string>
#include <string_view>

/// SQL over the rows `e` of a log that a label `l` sees, grouped by label. Columns of e: entity (whether it
/// is a record of a user or item), type, usr, itm, val, et (event time, microseconds), part, off, idx (of an
/// item of a slate, each of which is a row: its place there; else 0), record (its attributes as JSON), since
/// (of a record of a user or item: one past the offset of the last one, up to itself in offset and time, that
/// replaces all before it; else 0), and one for each attribute, by its name. Column of l: t, the instant.
namespace troupe::feature_store {

/// `e.val`, `e."device"`.
std::string sql_column(const field& what);

/// Orders the values of an aggregate as `order_key` does, and what replaces before what it has replaced.
inline constexpr std::string_view sql_order = "ORDER BY e.since, e.et, e.part, e.off, e.idx";

/// `FILTER (WHERE ...)`: rows of the right kind, in the window, for which `where` of the definition holds,
/// and `more`.
std::string sql_filter(const feature_definition& def, std::string_view more = "true");

/// The newest value of a column that is not NULL.
std::string sql_newest(const feature_definition& def, const std::string& column);

/// The value of a column, NULL included, in the newest of the rows that count and for which `more` holds.
std::string sql_newest(const feature_definition& def, const std::string& column, std::string_view more);

} // namespace troupe::feature_store
