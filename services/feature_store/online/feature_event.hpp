#pragma once

#include "services/feature_store/views/view.hpp"

#include "common/event/record.hpp"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::feature_store {

/// The place of a record in the order of all records: by time, ties by partition and offset, of the items of
/// one slate by their place in it.
struct order_key {
  std::int64_t time = 0;
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;
  std::uint32_t index = 0; ///< In its slate, from 0.

  friend auto operator<=>(const order_key&, const order_key&) = default;
};

/// A record read in place; of a slate one of the items that it shows, an impression. Valid as long as the
/// bytes it was made from.
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
  std::uint32_t index = 0;                ///< Of an item of a slate: which, from 0.
  const wire::ShownItem* shown = nullptr; ///< Where it is one of a slate: its position and propensity.
  /// Of a user's or an item's own records: it takes the place of all that lie before it in the log, whatever
  /// their times, because it has no time of its own, or deletes. A clock that was wrong is so wrong no
  /// longer.
  bool replaces = false;

  order_key key() const noexcept { return {event_time, partition, offset, index}; }
  std::string_view entity(entity_kind kind_of) const noexcept {
    return kind_of == entity_kind::user ? user : item;
  }
};

/// Of a slate it says what holds for each of its items; which one is for `each_feature_event`.
feature_event feature_event_of(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset);

/// Calls `use(event)`, which returns expected<void>, for what a record is to features: itself, or, of a
/// slate, one impression after another, in the order of its items.
template <class Use>
expected<void> each_feature_event(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset,
                                  Use use) {
  auto event = feature_event_of(rec, partition, offset);
  if (rec.kind() != wire::RecordKind::slate)
    return use(event);
  if (rec.shown())
    for (auto* each : *rec.shown()) {
      event.shown = each;
      event.item = troupe::text_of(each->item());
      TROUPE_CHECK(use(event));
      ++event.index;
    }
  return {};
}

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
