#pragma once

#include "common/event/record.hpp"
#include "common/ingest_format/mapping/bound.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ingest_format::rules {

/// What a column of one row holds.
struct cell {
  enum class state : std::uint8_t { missing, text, json } is = state::missing;
  std::string_view text{};
  std::optional<exact_value> json{};
};

/// Spaces and line ends cut off both ends.
std::string_view trimmed(std::string_view text) noexcept;

/// `column rating`: where a value comes from, for messages.
std::string described(const bound_source& from);

/// A value in back quotes, cut to a length that a message can bear.
std::string shown(std::string_view text);

/// The values of the row at hand, in the types that records need. What cannot be read is noted in `wrong`.
struct row_values {
  file_format format = file_format::csv;
  std::vector<std::string> null_tokens;
  bool only_empty_is_null = false;
  const raw_row* row = nullptr;
  std::optional<exact_value> object; // JSON lines and Parquet.
  std::optional<refusal> wrong;
  std::string scratch;

  bool is_null(std::string_view text) const noexcept;
  void refuse(std::string_view rule, std::string_view field, std::string reason);
  cell look(const bound_column& column, bool trims) const;
  static void append(const cell& from, std::string& to);
  /// Writes the text of a value; false where there is none.
  bool text_of(const bound_source& from, std::string& to);
  std::optional<double> number_of(const bound_source& from);
  std::optional<bool> flag_of(const bound_source& from);
  std::optional<timestamp> time_of(const bound_source& from);
  const std::string& word_of(const bound_source& from, const std::string& word) const;
  std::optional<text_list> list_of(const bound_source& from);
  /// A value of JSON in the type it has there; nothing where it is null, or refused.
  std::optional<attribute_value> natural(std::string_view name, exact_value from);
};

} // namespace troupe::ingest_format::rules
