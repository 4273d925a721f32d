#include "services/feature_store/client/training_columns.hpp"

#include "common/table/parquet.hpp"

#include <array>

namespace troupe::feature_store {

namespace {
constexpr std::array names{"time", "whole", "number", "text", "list"};
}

std::string_view to_string(column_type type) noexcept {
  return names[static_cast<std::size_t>(type)];
}

expected<column_type> column_type_named(std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name)
      return static_cast<column_type>(i);
  return fail(ec::corrupt, "'{}' is not a type of column", name);
}

table::cell cell_of(column_type type) noexcept {
  switch (type) {
  case column_type::time:
    return table::cell::timestamp;
  case column_type::whole:
    return table::cell::int64;
  case column_type::number:
    return table::cell::float64;
  case column_type::text:
    return table::cell::text;
  case column_type::list:
    return table::cell::text_list;
  }
  return table::cell::text;
}

expected<std::string> hash_part(const std::filesystem::path& file,
                                const std::vector<training_column>& columns, std::uint64_t& rows) {
  TROUPE_TRY(db, table::connection::open());
  TROUPE_TRY(found, db.query("SELECT * FROM " + table::parquet_file(file)));
  if (found.columns() != columns.size())
    return fail(ec::corrupt, "{} has {} columns, the manifest says {}", file.string(), found.columns(),
                columns.size());
  row_hasher hasher;
  std::vector<std::string> words;
  for (;;) {
    TROUPE_TRY(more, found.next());
    if (!more)
      break;
    std::vector<table::column_view> children(columns.size());
    for (std::size_t c = 0; c < columns.size(); ++c)
      if (columns[c].type == column_type::list)
        children[c] = found.column(c).child();
    for (std::uint64_t row = 0; row < found.rows(); ++row) {
      for (std::size_t c = 0; c < columns.size(); ++c) {
        auto& from = found.column(c);
        if (from.is_null(row)) {
          hasher.null();
          continue;
        }
        switch (columns[c].type) {
        case column_type::time:
          hasher.whole(micros_of(from.time(row)));
          break;
        case column_type::whole:
          hasher.whole(from.integer(row));
          break;
        case column_type::number:
          hasher.number(from.number(row));
          break;
        case column_type::text:
          hasher.text(from.text(row));
          break;
        case column_type::list: {
          auto range = from.elements(row);
          words.clear();
          for (std::uint64_t i = 0; i < range.length; ++i)
            words.emplace_back(children[c].text(range.offset + i));
          hasher.list(words);
          break;
        }
        }
      }
      hasher.end_row();
      ++rows;
    }
  }
  return hasher.finish();
}

std::string content_hash(const std::vector<training_column>& columns, const std::vector<std::string>& parts) {
  std::string text;
  for (auto& each : columns)
    text += fmt::format("{} {}\n", each.name, to_string(each.type));
  for (auto& each : parts)
    text += each + "\n";
  return sha256_hex(as_bytes(text));
}

} // namespace troupe::feature_store
