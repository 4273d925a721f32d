#include "common/table/column.hpp"

#include "common/table/detail.hpp"

#include <duckdb.h>

#include <charconv>
#include <cstdint>

namespace troupe::table {

std::string_view to_string(kind of) noexcept {
  constexpr std::string_view names[] = {
      "null",         "boolean",     "int8",   "int16",     "int32",       "int64",        "uint8",
      "uint16",       "uint32",      "uint64", "hugeint",   "float32",     "float64",      "decimal",
      "text",         "blob",        "date",   "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns",
      "timestamp_tz", "enumeration", "list",   "structure", "map",         "other"};
  return names[static_cast<std::size_t>(of)];
}

namespace detail {

kind kind_of(int duckdb_type_id) noexcept {
  switch (duckdb_type_id) {
  case DUCKDB_TYPE_SQLNULL:
    return kind::null;
  case DUCKDB_TYPE_BOOLEAN:
    return kind::boolean;
  case DUCKDB_TYPE_TINYINT:
    return kind::int8;
  case DUCKDB_TYPE_SMALLINT:
    return kind::int16;
  case DUCKDB_TYPE_INTEGER:
    return kind::int32;
  case DUCKDB_TYPE_BIGINT:
    return kind::int64;
  case DUCKDB_TYPE_UTINYINT:
    return kind::uint8;
  case DUCKDB_TYPE_USMALLINT:
    return kind::uint16;
  case DUCKDB_TYPE_UINTEGER:
    return kind::uint32;
  case DUCKDB_TYPE_UBIGINT:
    return kind::uint64;
  case DUCKDB_TYPE_HUGEINT:
    return kind::hugeint;
  case DUCKDB_TYPE_FLOAT:
    return kind::float32;
  case DUCKDB_TYPE_DOUBLE:
    return kind::float64;
  case DUCKDB_TYPE_DECIMAL:
    return kind::decimal;
  case DUCKDB_TYPE_VARCHAR:
    return kind::text;
  case DUCKDB_TYPE_BLOB:
    return kind::blob;
  case DUCKDB_TYPE_DATE:
    return kind::date;
  case DUCKDB_TYPE_TIMESTAMP:
    return kind::timestamp;
  case DUCKDB_TYPE_TIMESTAMP_S:
    return kind::timestamp_s;
  case DUCKDB_TYPE_TIMESTAMP_MS:
    return kind::timestamp_ms;
  case DUCKDB_TYPE_TIMESTAMP_NS:
    return kind::timestamp_ns;
  case DUCKDB_TYPE_TIMESTAMP_TZ:
    return kind::timestamp_tz;
  case DUCKDB_TYPE_ENUM:
    return kind::enumeration;
  case DUCKDB_TYPE_LIST:
    return kind::list;
  case DUCKDB_TYPE_STRUCT:
    return kind::structure;
  case DUCKDB_TYPE_MAP:
    return kind::map;
  default:
    return kind::other;
  }
}

namespace {

std::string take(char* text) {
  std::string copy = text ? text : "";
  duckdb_free(text);
  return copy;
}

} // namespace

type_info describe(void* logical_type) {
  auto type = static_cast<duckdb_logical_type>(logical_type);
  type_info info;
  info.of = kind_of(duckdb_get_type_id(type));
  auto add_child = [&](duckdb_logical_type child) {
    info.children.push_back(describe(child));
    duckdb_destroy_logical_type(&child);
  };
  switch (info.of) {
  case kind::text:
    info.json = take(duckdb_logical_type_get_alias(type)) == "JSON";
    break;
  case kind::decimal:
    info.width = duckdb_decimal_width(type);
    info.scale = duckdb_decimal_scale(type);
    info.stored = kind_of(duckdb_decimal_internal_type(type));
    break;
  case kind::enumeration:
    info.stored = kind_of(duckdb_enum_internal_type(type));
    for (std::uint32_t i = 0, count = duckdb_enum_dictionary_size(type); i < count; ++i)
      info.names.push_back(take(duckdb_enum_dictionary_value(type, i)));
    break;
  case kind::list:
    add_child(duckdb_list_type_child_type(type));
    break;
  case kind::structure:
    for (idx_t i = 0, count = duckdb_struct_type_child_count(type); i < count; ++i) {
      info.names.push_back(take(duckdb_struct_type_child_name(type, i)));
      add_child(duckdb_struct_type_child_type(type, i));
    }
    break;
  case kind::map: {
    type_info pair;
    pair.of = kind::structure;
    pair.names = {"key", "value"};
    info.children.push_back(std::move(pair));
    for (auto part : {duckdb_map_type_key_type(type), duckdb_map_type_value_type(type)}) {
      info.children.front().children.push_back(describe(part));
      duckdb_destroy_logical_type(&part);
    }
    break;
  }
  default:
    break;
  }
  return info;
}

} // namespace detail

column_view::column_view(const type_info& type, void* vector)
    : type_{&type}, data_{duckdb_vector_get_data(static_cast<duckdb_vector>(vector))},
      validity_{duckdb_vector_get_validity(static_cast<duckdb_vector>(vector))}, vector_{vector} {}

namespace {

__extension__ typedef unsigned __int128 wide;

std::int64_t whole(kind of, const void* data, std::uint64_t row) noexcept {
  switch (of) {
  case kind::boolean:
    return static_cast<const bool*>(data)[row];
  case kind::int8:
    return static_cast<const std::int8_t*>(data)[row];
  case kind::int16:
    return static_cast<const std::int16_t*>(data)[row];
  case kind::int32:
  case kind::date:
    return static_cast<const std::int32_t*>(data)[row];
  case kind::int64:
  case kind::timestamp:
  case kind::timestamp_s:
  case kind::timestamp_ms:
  case kind::timestamp_ns:
  case kind::timestamp_tz:
    return static_cast<const std::int64_t*>(data)[row];
  case kind::uint8:
    return static_cast<const std::uint8_t*>(data)[row];
  case kind::uint16:
    return static_cast<const std::uint16_t*>(data)[row];
  case kind::uint32:
    return static_cast<const std::uint32_t*>(data)[row];
  case kind::uint64:
    return static_cast<std::int64_t>(static_cast<const std::uint64_t*>(data)[row]);
  case kind::hugeint:
    return static_cast<std::int64_t>(static_cast<const duckdb_hugeint*>(data)[row].lower);
  default:
    return 0;
  }
}

double as_number(kind of, const void* data, std::uint64_t row) noexcept {
  switch (of) {
  case kind::float32:
    return static_cast<const float*>(data)[row];
  case kind::float64:
    return static_cast<const double*>(data)[row];
  case kind::uint64:
    return static_cast<double>(static_cast<const std::uint64_t*>(data)[row]);
  case kind::hugeint:
    return duckdb_hugeint_to_double(static_cast<const duckdb_hugeint*>(data)[row]);
  default:
    return static_cast<double>(whole(of, data, row));
  }
}

/// In parts that 64 bits hold: dividing 128 bits is slow.
void append_wide(std::string& to, wide number) {
  constexpr std::uint64_t part = 10'000'000'000'000'000'000u;
  if (auto low = static_cast<std::uint64_t>(number); low == number) {
    fmt::format_to(std::back_inserter(to), "{}", low);
    return;
  }
  append_wide(to, number / part);
  fmt::format_to(std::back_inserter(to), "{:019}", static_cast<std::uint64_t>(number % part));
}

/// What the digits of a decimal say: its double may be next to the nearest one. 0 where they are too many; of
/// an integer the fraction is cut off.
template <class Number>
Number read_digits(const column_view& from, std::uint64_t row) {
  std::string digits;
  from.append_digits(row, digits);
  Number value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

} // namespace

bool column_view::flag(std::uint64_t row) const noexcept {
  return number(row) != 0;
}

std::int64_t column_view::integer(std::uint64_t row) const noexcept {
  switch (type_->of) {
  case kind::float32:
  case kind::float64: {
    double value = number(row);
    return value >= -9.2e18 && value <= 9.2e18 ? static_cast<std::int64_t>(value) : 0;
  }
  case kind::decimal:
    return read_digits<std::int64_t>(*this, row);
  case kind::enumeration:
    return whole(type_->stored, data_, row);
  default:
    return whole(type_->of, data_, row);
  }
}

double column_view::number(std::uint64_t row) const noexcept {
  if (type_->of == kind::decimal)
    return read_digits<double>(*this, row);
  return as_number(type_->of, data_, row);
}

void column_view::append_digits(std::uint64_t row, std::string& to) const {
  auto of = type_->of == kind::decimal ? type_->stored : type_->of;
  std::uint8_t scale = type_->of == kind::decimal ? type_->scale : 0;
  wide size = 0;
  bool negative = false;
  if (of == kind::hugeint) {
    auto& each = static_cast<const duckdb_hugeint*>(data_)[row];
    size = static_cast<wide>(static_cast<std::uint64_t>(each.upper)) << 64 | each.lower;
    negative = each.upper < 0;
  } else {
    auto value = whole(of, data_, row);
    negative = value < 0 && of != kind::uint64;
    size = (negative ? ~wide{0} << 64 : wide{0}) | static_cast<std::uint64_t>(value);
  }
  if (negative)
    size = ~size + 1, to += '-';
  auto first = to.size();
  append_wide(to, size);
  if (scale == 0)
    return;
  if (auto digits = to.size() - first; digits <= scale)
    to.insert(first, scale + 1 - digits, '0');
  to.insert(to.size() - scale, 1, '.');
}

std::string_view column_view::text(std::uint64_t row) const noexcept {
  switch (type_->of) {
  case kind::text:
  case kind::blob: {
    auto& each = static_cast<const duckdb_string_t*>(data_)[row];
    std::size_t length = each.value.inlined.length;
    return {length <= 12 ? each.value.inlined.inlined : each.value.pointer.ptr, length};
  }
  case kind::enumeration:
    return type_->names[static_cast<std::size_t>(whole(type_->stored, data_, row))];
  default:
    return {};
  }
}

timestamp column_view::time(std::uint64_t row) const noexcept {
  auto raw = whole(type_->of, data_, row);
  switch (type_->of) {
  case kind::date:
    return from_micros(raw * 86'400'000'000);
  case kind::timestamp_s:
    return from_micros(raw * 1'000'000);
  case kind::timestamp_ms:
    return from_micros(raw * 1'000);
  case kind::timestamp_ns:
    return from_micros(raw / 1'000 - (raw % 1'000 < 0));
  default:
    return from_micros(raw);
  }
}

std::optional<timestamp> column_view::instant(std::uint64_t row) const noexcept {
  constexpr std::int64_t year_1 = -62'135'596'800, year_10000 = 253'402'300'800; // In seconds.
  auto raw = whole(type_->of, data_, row);
  auto within = [raw](std::int64_t first, std::int64_t end) { return raw >= first && raw < end; };
  bool there = false;
  switch (type_->of) { // What is infinite lies outside of these years.
  case kind::date:
    there = within(year_1 / 86'400, year_10000 / 86'400);
    break;
  case kind::timestamp_s:
    there = within(year_1, year_10000);
    break;
  case kind::timestamp_ms:
    there = within(year_1 * 1'000, year_10000 * 1'000);
    break;
  case kind::timestamp_ns: // 64 bits of nanoseconds do not leave them: the outermost stand for infinity.
    there = within(-INT64_MAX + 1, INT64_MAX);
    break;
  default:
    there = within(year_1 * 1'000'000, year_10000 * 1'000'000);
  }
  return there ? std::optional{time(row)} : std::nullopt;
}

column_view column_view::child(std::size_t index) const {
  auto vector = static_cast<duckdb_vector>(vector_);
  if (type_->of == kind::structure)
    return {type_->children.at(index), duckdb_struct_vector_get_child(vector, index)};
  return {type_->children.at(0), duckdb_list_vector_get_child(vector)};
}

} // namespace troupe::table
