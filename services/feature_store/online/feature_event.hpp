#pragma once

#include "services/feature_store/views/view.hpp"

#include "common/event/record.hpp"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::feature_store {

/// The place of a record in the order of all records: by time, ties by partition and offset.
struct order_key {
  std::int64_t time = 0;
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;

  friend auto operator<=>(const order_key&, const order_key&) = default;
};

/// A record read in place. Valid as long as the bytes it was made from.
struct feature_event {
  record_kind kind = record_kind::event;
  std::string_view type;
  std::string_view user;
  std::string_view item;
  std::int64_t event_time = 0;
  std::int64_t ingest_time = 0;
  std::optional<double> value;
  const flatbuffers::Vector<flatbuffers::Offset<wire::Attribute>>* attributes = nullptr;
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;
  /// Of a user's or an item's own records: it takes the place of all that lie before it in the log, whatever
  /// their times, because it has no time of its own, or deletes. A clock that was wrong is so wrong no
  /// longer.
  bool replaces = false;

  order_key key() const noexcept { return {event_time, partition, offset}; }
  std::string_view entity(entity_kind kind_of) const noexcept {
    return kind_of == entity_kind::user ? user : item;
  }
};

feature_event feature_event_of(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset);

/// Whether a view looks at this record at all, and for which entity; empty when it does not.
std::string_view entity_of(const feature_view& view, const feature_event& from) noexcept;

/// A part of a record as a number: a number, a flag (0 or 1), or text that is a number.
std::optional<double> number_of(const feature_event& from, const field& what);

/// A part of a record as text; numbers in their shortest form, lists joined by `|`.
std::optional<std::string> text_of(const feature_event& from, const field& what);

/// A part of a record as words.
std::optional<text_list> list_of(const feature_event& from, const field& what);

/// Whether the attribute `deleted` of a record says that the user or item is.
bool deletes(const feature_event& from);

/// The attributes of a record as a JSON object; empty where it `deletes`.
std::string attributes_json(const feature_event& from);

bool holds(const feature_event& from, const field_predicate& rule);

/// 64-bit hashes of the distinct values that a part of a record has: one, or one per word of a list.
void add_hashes(const feature_event& from, const field& what, std::vector<std::uint64_t>& out);

} // namespace troupe::feature_store
