#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe::validator {

/// What a field must hold. `time` is event_time, or a text in RFC 3339.
enum class field_type : std::uint8_t { any, text, number, integer, flag, list, time };

std::string_view to_string(field_type type) noexcept;

/// What one field of a record must be. A field is `id`, `user`, `item`, `event_time`, `value`, `request_id`,
/// or `context.X` and `attributes.X`, which mean the same: entry X of the record's attributes.
struct field_rule {
  std::string name;
  field_type type = field_type::any;
  bool required = false;
  std::optional<double> min; ///< Of numbers, inclusive, as `max`.
  std::optional<double> max;
  std::optional<timestamp> min_time; ///< Of times, inclusive, as `max_time`.
  std::optional<timestamp> max_time;
  std::optional<std::uint64_t>
      min_length; ///< Characters of a text, words of a list; inclusive, as `max_length`.
  std::optional<std::uint64_t> max_length;
  std::vector<std::string> one_of_texts; ///< Of a text, or of every word of a list.
  std::vector<double> one_of_numbers;
  std::string pattern;                 ///< RE2; the whole text, or every word of a list, must match.
  bool unique = false;                 ///< Of all sources; kept on disk.
  std::optional<double> max_null_rate; ///< Of a batch; above it the batch is reported, not refused.
};

enum class compare_op : std::uint8_t { less, less_equal, equal, not_equal, greater_equal, greater };

std::string_view to_string(compare_op op) noexcept;

/// `left op right`; holds where one side is absent.
struct compare_rule {
  struct field {
    std::string name;
    friend bool operator==(const field&, const field&) = default;
  };
  std::string left;
  compare_op op = compare_op::less;
  std::variant<field, double, timestamp, std::string, bool> right;
};

/// What the records of one kind, and of one type where `type` is given, must be.
struct schema {
  std::string name; ///< For reports; the file and `kind/type` where the file gives none.
  record_kind kind = record_kind::event;
  std::optional<std::string> type; ///< Events only. Absent: every type without a schema of its own.
  bool closed = false;             ///< Refuse attributes that no field names.
  std::optional<std::chrono::microseconds> max_ahead; ///< How far ahead of the clock a record may be dated.
  std::vector<field_rule> fields;
  std::vector<compare_rule> compares;
};

/// Reads the schemas of one TOML text; `origin` stands in errors, with the line: `ratings.toml:7: ...`. An
/// unknown key, a rule that does not fit its type, a broken pattern or a field named twice is an error.
/// README.md shows the format.
expected<std::vector<schema>> parse_schemas(std::string_view toml, std::string_view origin);

expected<std::vector<schema>> read_schemas(const std::filesystem::path& file);

/// Writes schemas as TOML that `parse_schemas` reads back to the same.
std::string to_toml(const std::vector<schema>& schemas);

/// The name of an attribute field without its prefix; empty for a field of the record itself.
std::string_view attribute_of(std::string_view field) noexcept;

/// What schemas may not be meant to say, in sentences: those for events of type impression, the pages of
/// before, where none is for slates.
std::vector<std::string> doubts_about(const std::vector<schema>& schemas);

/// Whether a field is one of each item that a slate shows: item, position and propensity of its schema.
bool is_of_shown(record_kind kind, std::string_view field) noexcept;

} // namespace troupe::validator
