#include "common/ingest_format/shown_column.hpp"

namespace troupe::ingest_format {

void append_shown_columns(std::vector<table::column_spec>& to) {
  to.push_back({"shown_item", table::cell::text_list});
  to.push_back({"shown_position", table::cell::int64_list});
  to.push_back({"shown_propensity", table::cell::float64_list});
}

std::string select_with_shown() {
  return fmt::format("* EXCLUDE (shown_item, shown_position, shown_propensity), CASE WHEN shown_item IS NULL "
                     "THEN NULL ELSE list_zip(shown_item, shown_position, shown_propensity) END::{} AS shown",
                     shown_type);
}

void add_shown(table::row_writer& to, const std::vector<shown_item>& items) {
  if (items.empty()) {
    to.add_null().add_null().add_null();
    return;
  }
  std::vector<std::string_view> names;
  std::vector<std::int64_t> positions;
  std::vector<double> chances;
  for (auto& each : items) {
    names.push_back(each.item);
    positions.push_back(each.position);
    chances.push_back(each.propensity);
  }
  to.add(std::span<const std::string_view>{names})
      .add(std::span<const std::int64_t>{positions})
      .add(std::span<const double>{chances});
}

std::vector<shown_item> shown_in(const table::column_view& column, std::uint64_t row) {
  std::vector<shown_item> out;
  if (column.is_null(row))
    return out;
  auto all = column.child();
  auto items = all.child(0), positions = all.child(1), chances = all.child(2);
  auto range = column.elements(row);
  for (auto at = range.offset; at < range.offset + range.length; ++at)
    out.push_back(
        {std::string{items.text(at)}, static_cast<std::uint32_t>(positions.integer(at)), chances.number(at)});
  return out;
}

} // namespace troupe::ingest_format
