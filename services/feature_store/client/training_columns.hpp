#pragma once

#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/store/codec.hpp"
#include "common/table/connection.hpp"
#include "common/table/rows.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

enum class column_type : std::uint8_t { time, whole, number, text, list };

std::string_view to_string(column_type type) noexcept;
expected<column_type> column_type_named(std::string_view name);

/// A column of a training set.
struct training_column {
  std::string name;
  column_type type = column_type::number;
};

table::cell cell_of(column_type type) noexcept;

/// The canonical bytes of rows, hashed. Independent of the file format: what counts is the values.
class row_hasher {
public:
  void null() { row_.octet(0); }
  void whole(std::int64_t value) { mark().signed_whole(value); }
  void number(double value) { mark().real(value); }
  void text(std::string_view value) { mark().text(value); }
  template <class Words>
  void list(const Words& words) {
    mark().whole(words.size());
    for (auto& each : words)
      row_.text(each);
  }
  void end_row() {
    if (row_.bytes().size() >= 1 << 16)
      drain();
  }
  std::string finish() {
    drain();
    auto digest = hash_.finish();
    hash_ = sha256{};
    return to_hex(byte_view{digest});
  }

private:
  store::encoder& mark() { return row_.octet(1); }
  void drain() {
    hash_.add(as_bytes(row_.bytes()));
    row_.clear();
  }

  store::encoder row_;
  sha256 hash_;
};

/// Hashes one Parquet part as `row_hasher` did while it was written; counts its rows.
expected<std::string> hash_part(const std::filesystem::path& file,
                                const std::vector<training_column>& columns, std::uint64_t& rows);

/// The hash of the whole: over columns and parts in order.
std::string content_hash(const std::vector<training_column>& columns, const std::vector<std::string>& parts);

} // namespace troupe::feature_store
