#pragma once

#include "common/core/time.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::table {

enum class kind : std::uint8_t {
  null, ///< A column of which only NULL is known.
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  hugeint, ///< 128 bits; what SUM of whole numbers gives.
  float32,
  float64,
  decimal,
  text,
  blob,
  date,
  timestamp,    ///< Microseconds since 1970.
  timestamp_s,  ///< Seconds.
  timestamp_ms, ///< Milliseconds.
  timestamp_ns, ///< Nanoseconds.
  timestamp_tz, ///< Microseconds since 1970, UTC.
  enumeration,
  list,
  structure,
  map, ///< A list of structures of two: key and value.
  other,
};

std::string_view to_string(kind of) noexcept;

/// A date or a timestamp of any unit: `column_view::time` gives it.
constexpr bool is_instant(kind of) noexcept {
  return of >= kind::date && of <= kind::timestamp_tz;
}

/// A column's type with what hangs below it.
struct type_info {
  kind of = kind::other;
  kind stored = kind::other;       ///< decimal and enumeration: the whole number that lies in memory.
  std::uint8_t width = 0;          ///< decimal: digits in all.
  std::uint8_t scale = 0;          ///< decimal: digits after the point.
  bool json = false;               ///< text that is declared to be JSON.
  std::vector<std::string> names;  ///< structure: names of the fields; enumeration: its words.
  std::vector<type_info> children; ///< list and map: one; structure: one per field.
};

/// A column of one chunk, read in place. Valid until the result moves on to its next chunk.
class column_view {
public:
  column_view() = default;
  column_view(const type_info& type, void* vector);

  const type_info& type() const noexcept { return *type_; }

  bool is_null(std::uint64_t row) const noexcept {
    return type_->of == kind::null || (validity_ && !((validity_[row >> 6] >> (row & 63)) & 1));
  }

  /// The values as they lie in memory; T must be the C++ type of the column's kind.
  template <class T>
  const T* data() const noexcept {
    return static_cast<const T*>(data_);
  }

  /// boolean, or a number that is not 0.
  bool flag(std::uint64_t row) const noexcept;
  /// Any whole number, cut to 64 bits; fractions are cut off; date and timestamp in their own unit.
  std::int64_t integer(std::uint64_t row) const noexcept;
  /// Any number; one that a double does not hold comes as the one nearest to it, of 128 bits as one near it.
  double number(std::uint64_t row) const noexcept;
  /// Every digit of a whole number or a decimal, as DuckDB casts it to text, `12345678901234567890`, `-0.10`,
  /// but never without one before the point.
  void append_digits(std::uint64_t row, std::string& to) const;
  /// text, blob or enumeration; empty for others.
  std::string_view text(std::uint64_t row) const noexcept;
  /// Any timestamp or date that has an instant.
  timestamp time(std::uint64_t row) const noexcept;
  /// The same; nothing where it is infinite or outside of the years 1 to 9999.
  std::optional<timestamp> instant(std::uint64_t row) const noexcept;

  /// list and map: where the row's elements lie in `child()`.
  struct range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  range elements(std::uint64_t row) const noexcept { return data<range>()[row]; }

  /// list and map: the elements of all rows; structure: field `index`. Not for hot loops: keep what it gives.
  column_view child(std::size_t index = 0) const;

private:
  const type_info* type_ = nullptr;
  const void* data_ = nullptr;
  const std::uint64_t* validity_ = nullptr;
  void* vector_ = nullptr;
};

} // namespace troupe::table
