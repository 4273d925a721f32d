#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/table/column.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::table {

/// The types that can be written.
enum class cell : std::uint8_t {
  boolean,
  int32,
  int64,
  uint64,
  float32,
  float64,
  text,
  blob,
  timestamp, ///< Microseconds since 1970 UTC, SQL type TIMESTAMP.
  text_list,
  int64_list,
  float64_list,
};

struct column_spec {
  std::string name;
  cell type = cell::text;
};

/// Takes rows cell by cell, from left to right: `add(user).add(4.5).add_null(); TROUPE_CHECK(end_row());`. A
/// cell of the wrong type is an error at `end_row`, and the row is not written. Numbers go into every number
/// column.
class row_writer {
public:
  virtual ~row_writer();

  row_writer& add(bool flag);
  row_writer& add(std::int64_t number);
  row_writer& add(std::uint64_t number);
  row_writer& add(int number) { return add(std::int64_t{number}); }
  row_writer& add(unsigned number) { return add(std::uint64_t{number}); }
  row_writer& add(double number);
  row_writer& add(std::string_view text);
  row_writer& add(const char* text) { return add(std::string_view{text}); }
  row_writer& add(const std::string& text) { return add(std::string_view{text}); }
  row_writer& add(timestamp at);
  row_writer& add(std::span<const std::string> words);
  row_writer& add(std::span<const std::string_view> words);
  row_writer& add(std::span<const std::int64_t> numbers);
  row_writer& add(std::span<const double> numbers);
  row_writer& add_null();

  /// Ends the row; every 2,048 rows the chunk goes on to its table or file.
  expected<void> end_row();

  std::uint64_t rows_added() const noexcept { return rows_added_; }

protected:
  struct buffer;
  explicit row_writer(std::vector<cell> types);
  row_writer(row_writer&&) noexcept;

  /// The full or last chunk is ready: `chunk()` is a duckdb_data_chunk of `filled()` rows.
  virtual expected<void> consume() = 0;
  void* chunk() const noexcept;
  /// Hands the chunk over: the caller destroys it. A new one is made when needed.
  void* take_chunk();
  std::uint64_t filled() const noexcept;
  void reset();

private:
  bool begin(const char* what, bool fits);
  template <class Words>
  row_writer& add_words(Words words);
  template <class Number>
  row_writer& add_number(Number number, const char* what);

  std::unique_ptr<buffer> buffer_;
  std::uint64_t rows_added_ = 0;
};

} // namespace troupe::table
