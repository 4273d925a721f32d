#pragma once

#include "common/event/record.hpp"
#include "common/json/exact.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What the values of a row mean, whichever door it comes through: a file, HTTP, the quarantine.
namespace troupe {

/// Why a row was not taken: the rule that refused it ("parse", "required", "mapping"), the field (may be
/// empty) and a sentence.
struct refusal {
  std::string rule;
  std::string field;
  std::string reason;

  friend bool operator==(const refusal&, const refusal&) = default;
};

/// A number as a table has it: a sign and spaces around it are allowed. Nothing where it is no finite one.
std::optional<double> read_number(std::string_view text) noexcept;

/// A value as a word of a list: a scalar as it is written, anything else as JSON.
void append_word(std::string& to, exact_value from);

/// A value as an attribute: text, number, flag; the words of a list without its nulls; an object as JSON.
/// Nothing for a number that no double comes near to. Not for null.
std::optional<attribute_value> read_attribute(exact_value from);

/// The names that a row of Troupe's own layout may have.
std::span<const std::string_view> row_fields() noexcept;

/// Reads rows of Troupe's own layout. One thread at a time.
class row_reader {
public:
  /// Fills a record, all but an id that the row does not give, and normalises it; a slate of a request has
  /// its `slate_id`. `kind`: of all rows of this door (one for events takes slates that say so), or nothing
  /// where each says its own. A field that is null or an empty text is not there. A field
  /// that the kind does not have is refused; `partition`, `offset` and `ingest_time`, which rows of the lake
  /// have, say nothing. `timed` tells whether the row gave its time, RFC 3339 or a number by its size; a user
  /// or an item that did not is `untimed`. Whether the record can be kept `check` must say.
  std::optional<refusal> read(exact_value row, std::optional<record_kind> kind, record& to, bool& timed);

private:
  std::optional<refusal> read_field(std::string_view name, exact_value from, record& to, bool& timed);
  std::optional<refusal> read_attributes(std::string_view name, exact_value from, record& to);
  std::optional<refusal> read_shown(exact_value from, record& to);

  exact_document inner_; ///< For attributes, and what is shown, that are JSON in a text.
};

} // namespace troupe
