#pragma once

#include "common/event/record.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::validator {

/// The value of one field of one record as it stands in the batch. Text and list point into the batch, which
/// outlives the cell. A list may be null: it has no words.
struct cell {
  enum class holds : std::uint8_t { nothing, text, number, flag, list, time };
  holds kind = holds::nothing;
  double number = 0;     ///< Of a flag: 0 or 1.
  std::int64_t time = 0; ///< Microseconds since 1970, UTC.
  std::string_view text;
  const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* list = nullptr;
};

/// Absent and empty texts leave the cell as it is.
inline void set_text(cell& to, const flatbuffers::String* text) noexcept {
  if (text && text->size() > 0) {
    to.kind = cell::holds::text;
    to.text = text_of(text);
  }
}

inline void set_attribute(cell& to, const wire::Attribute& from) noexcept {
  switch (from.kind()) {
  case wire::ValueKind::number:
    to.kind = cell::holds::number;
    to.number = from.number();
    return;
  case wire::ValueKind::flag:
    to.kind = cell::holds::flag;
    to.number = from.number();
    return;
  case wire::ValueKind::list:
    to.kind = cell::holds::list;
    to.list = from.list();
    return;
  default:
    to.kind = cell::holds::text;
    to.text = text_of(from.text());
  }
}

/// A text as reasons show it: quoted, at most 64 bytes, whole characters only.
std::string shown(std::string_view text);

/// A value as reasons show it; of a list only how many words it has.
std::string shown(const cell& of);

/// With its article, for reasons: "a number".
std::string_view kind_name(cell::holds kind) noexcept;

/// The fields that every record has, in the order in which they are kept.
inline constexpr std::array<std::string_view, 6> core_names{"id",         "user",  "item",
                                                            "event_time", "value", "request_id"};

/// Characters of a text in UTF-8.
std::uint64_t characters(std::string_view text) noexcept;

} // namespace troupe::validator
