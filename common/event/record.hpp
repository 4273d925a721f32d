#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include "schemas/event_generated.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe {

enum class record_kind : std::uint8_t { event = 0, user = 1, item = 2, slate = 3 };

std::string_view to_string(record_kind kind) noexcept;

/// True for users and items, of which the newest record says all; events and slates happened, and stay.
constexpr bool is_entity(record_kind kind) noexcept {
  return kind == record_kind::user || kind == record_kind::item;
}

using text_list = std::vector<std::string>;

/// The value of an attribute: text, number, flag or a list of words.
using attribute_value = std::variant<std::string, double, bool, text_list>;

struct attribute {
  std::string name;
  attribute_value value;

  friend bool operator==(const attribute&, const attribute&) = default;
};

/// One item of a slate.
struct shown_item {
  std::string item;
  std::uint32_t position = 0; ///< From 1; 0: not known.
  double propensity = 1;      ///< Probability that this item stands at this position.

  friend bool operator==(const shown_item&, const shown_item&) = default;
};

/// One thing that the log holds: an interaction, a page that was shown, or the attributes of a user or an
/// item. The C++ face of schemas/event.fbs; which fields a kind uses is written there.
struct record {
  record_kind kind = record_kind::event;
  std::string id;
  std::string type;
  std::string user;
  std::string item;
  timestamp event_time{};
  timestamp ingest_time{};
  std::optional<double> value;
  std::string request_id;
  std::vector<attribute> attributes; ///< Sorted by name, each name once: `normalise` makes it so.
  bool untimed =
      false; ///< Users and items: whoever wrote it gave no time, event_time is that of its arrival.
  std::vector<shown_item> shown; ///< Slates: the items of the page, in their order.

  friend bool operator==(const record&, const record&) = default;

  /// What decides the partition: the user of events, slates and users, the item of items.
  std::string_view partition_key() const noexcept { return kind == record_kind::item ? item : user; }
};

/// Sorts the attributes by name; of a name that stands twice the later one stays. `hidden` and `deleted` of
/// users and items become flags where they are numbers 1 or 0, or texts that `read_flag` reads, `expires` and
/// `created` of items numbers where they are texts that `parse_time` reads: its instant, by their size. What
/// a slate shows is sorted by position where all of them are known.
void normalise(record& rec);

/// `true`, `yes`, `1` or `false`, `no`, `0`, in any case, as a flag; nothing for any other text.
std::optional<bool> read_flag(std::string_view text) noexcept;

/// The partition of a key, 0 <= p < `partitions`: the same for ever for the same two arguments.
std::uint32_t partition_of(std::string_view key, std::uint32_t partitions) noexcept;

/// True for well-formed UTF-8 (Unicode 15, table 3-7).
bool valid_utf8(std::string_view text) noexcept;

/// True where `text` holds an ASCII control character, 0x00 to 0x1f or 0x7f: such a name would break every
/// list of names, one a line, that is made of it.
bool holds_control(std::string_view text) noexcept;

/// Says what is wrong with a record by itself: an id of 1 to 256 bytes, the fields its kind needs (events:
/// type, user, item; slates and users: user; items: item) of 1 to 1,024 bytes, valid UTF-8, no control
/// characters in these and in the request id, finite numbers, an event time in years 1 to 9999, of users and
/// items flags, and a time, where `normalise` wants them, and of slates 1 to `max_shown` items of 1 to 1,024
/// bytes, each position once (0, not known, as often as it is so) and propensities above 0 and up to 1.
expected<void> check(const record& rec);

/// Most items of a slate.
inline constexpr std::size_t max_shown = 1'000;

/// How far ahead of the clock a record may be dated where neither a mapping nor a schema says so.
inline constexpr std::chrono::microseconds default_max_ahead = std::chrono::hours{1};

/// Why a record is dated too far ahead of the clock that was shown when it was `accepted`; nothing where it
/// is not.
std::optional<std::string> too_far_ahead(timestamp event_time, timestamp accepted,
                                         std::chrono::microseconds max_ahead);

/// Builds the bytes of one `wire::Batch`.
chunk encode_batch(std::span<const record> records, std::uint32_t partition = 0,
                   std::uint64_t base_offset = 0);

/// The same from records that lie apart.
chunk encode_batch(std::span<const record* const> records, std::uint32_t partition = 0,
                   std::uint64_t base_offset = 0);

/// A verified batch and the bytes it lives in. Records are read in place; `to_record` copies one out.
class batch {
public:
  /// Fails with ec::corrupt when the bytes are not a batch.
  static expected<batch> open(chunk bytes);

  /// For bytes whose check sum has been verified by the store they come from.
  static batch trusted(chunk bytes) { return batch{std::move(bytes)}; }

  std::uint32_t partition() const noexcept { return root_->partition(); }
  std::uint64_t base_offset() const noexcept { return root_->base_offset(); }
  std::size_t size() const noexcept { return root_->records() ? root_->records()->size() : 0; }
  const wire::Record& operator[](std::size_t index) const {
    return *root_->records()->Get(static_cast<std::uint32_t>(index));
  }
  const chunk& bytes() const noexcept { return bytes_; }

private:
  explicit batch(chunk bytes) : bytes_{std::move(bytes)}, root_{wire::GetBatch(bytes_.data())} {}

  chunk bytes_;
  const wire::Batch* root_;
};

/// Copies a record out of its batch.
record to_record(const wire::Record& from);

/// A string field as a view; empty where absent.
inline std::string_view text_of(const flatbuffers::String* text) noexcept {
  return text ? std::string_view{text->data(), text->size()} : std::string_view{};
}

/// An attribute on the wire by its name; nullptr where there is none.
const wire::Attribute* find_attribute(const wire::Record& from, std::string_view name) noexcept;

/// The text of an attribute on the wire; empty where there is none, or where it is no text.
std::string_view text_attribute(const wire::Record& from, std::string_view name) noexcept;

} // namespace troupe
