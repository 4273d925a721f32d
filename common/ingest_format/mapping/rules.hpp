#pragma once

#include "common/event/record.hpp"
#include "common/ingest_format/mapping/time_format.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

/// The parts a mapping consists of, as they are written in TOML. Plain data.
namespace troupe::ingest_format::rules {

/// Where a value comes from.
struct part {
  enum class from : std::uint8_t { literal, column, path } of = from::column;
  std::string text;      ///< literal: itself; column: its name or JSON path.
  std::size_t depth = 0; ///< path: 0 the file's name, 1 its folder, 2 the folder above...
};

enum class value_type : std::uint8_t { natural, text, number, flag, list, time };

/// A value of a record.
struct source {
  std::vector<part> parts; ///< One, or a template of several that are joined.
  std::vector<std::string>
      flags; ///< Columns of 0 and 1: the value is the list of the names of those that hold 1.
  value_type type = value_type::natural;
  time_format format{};                     ///< For times.
  std::string separator;                    ///< For lists.
  std::map<std::string, std::string> words; ///< Replaces texts (for flags: names of columns).
  std::optional<std::string> otherwise{};   ///< Stands in where there is no value.
  double scale = 1;
  double offset = 0;
  bool trim = false;
  bool hash = false;     ///< The text's 128-bit hash in its place: short and still one per text.
  bool optional = false; ///< The column may be absent from the file.
  bool identity = false; ///< Names a user, an item, a record or a type: what has no exact text is refused.
};

/// A record is made only where all of its conditions hold.
struct condition {
  std::string column;
  enum class test : std::uint8_t { equals, not_equals, one_of, not_empty, empty } is = test::equals;
  std::vector<std::string> words;
  bool optional = false;
};

struct id_rule {
  bool position = false;         ///< Contains the hash of file name, row number and row.
  std::vector<source> parts;     ///< Joined with `:`.
  std::optional<source> given{}; ///< The id as it is; `position` or `parts` where it is empty.
};

struct record_rule {
  bool native = false; ///< The row is one of Troupe's own layout, and nothing else is said.
  std::optional<record_kind> kind{};
  std::optional<source> kind_from{};
  id_rule id{};
  std::optional<source> type{}, user{}, item{}, event_time{}, value{}, request_id{};
  std::optional<source> position{}, propensity{}; ///< Slates: of the item that the row shows.
  std::optional<source> slate_by{}; ///< Slates: rows that follow one another and are equal in it are one.
  std::vector<std::pair<std::string, source>> attributes{};
  std::vector<std::string> attribute_maps{}; ///< JSON objects whose members all become attributes.
  std::vector<condition> when{};
};

struct file_rule {
  std::vector<std::string> patterns;
  source_options options{};
  std::vector<std::string> null_tokens{""};
  bool trim = false;
  std::optional<std::chrono::microseconds> max_ahead{}; ///< How far ahead of the clock a record may be dated.
  std::vector<record_rule> records;
};

} // namespace troupe::ingest_format::rules
