#include "common/event/record.hpp"

#include "common/core/hash.hpp"
#include "common/event/slate.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace troupe {

namespace {

constexpr std::size_t max_id = 256;
constexpr std::size_t max_name = 1024;

constexpr std::uint64_t ones = 0x0101010101010101, highs = ones << 7;

/// True where all is printable ASCII, as nearly every name is: eight bytes at a time.
bool is_plain(std::string_view text) noexcept {
  auto plain = [](std::uint64_t eight) {
    return ((eight | (eight - ones * 0x20) | (eight + ones)) & highs) == 0; // From 0x20 to 0x7e.
  };
  std::uint64_t eight = 0;
  for (; text.size() >= 8; text.remove_prefix(8)) {
    std::memcpy(&eight, text.data(), 8);
    if (!plain(eight))
      return false;
  }
  eight = ones * 0x20;
  std::memcpy(&eight, text.data(), text.size());
  return plain(eight);
}

expected<void> check_text(std::string_view field, std::string_view text, std::size_t limit, bool required) {
  if (required && text.empty())
    return fail(ec::invalid_argument, "{} is missing", field);
  if (text.size() > limit)
    return fail(ec::invalid_argument, "{} has {} bytes, at most {} are allowed", field, text.size(), limit);
  if (!valid_utf8(text))
    return fail(ec::invalid_argument, "{} is not valid UTF-8", field);
  return {};
}

expected<void> check_identity(std::string_view field, std::string_view text, std::size_t limit,
                              bool required) {
  if (!text.empty() && text.size() <= limit && is_plain(text))
    return {};
  TROUPE_CHECK(check_text(field, text, limit, required));
  if (holds_control(text))
    return fail(ec::invalid_argument, "{} holds a control character (a line end, a tab...)", field);
  return {};
}

/// Attributes of users and items that mean something to the services: flags, whoever wrote them.
bool is_reserved_flag(std::string_view name) noexcept {
  return name == "hidden" || name == "deleted";
}

std::optional<bool> flag_in(const attribute_value& value) noexcept {
  if (auto* flag = std::get_if<bool>(&value))
    return *flag;
  if (auto* number = std::get_if<double>(&value); number && (*number == 0 || *number == 1))
    return *number == 1;
  if (auto* text = std::get_if<std::string>(&value))
    return read_flag(std::string_view{*text});
  return std::nullopt;
}

/// When an item may be shown no more, and since when there is one. A number is kept as it is: whoever reads
/// it goes by its size.
constexpr std::string_view expires = "expires", created = "created";

/// A number that is read as this instant by its size: seconds, and from the year 5138 on, whose seconds would
/// be taken for milliseconds, nanoseconds. Of those a double holds whole milliseconds.
double number_of(timestamp at) {
  constexpr double seconds_end = 1e11;
  auto seconds = static_cast<double>(micros_of(at)) / 1e6;
  if (std::abs(seconds) < seconds_end)
    return seconds;
  return static_cast<double>(micros_of(at) / 1'000) * 1e6;
}

bool is_time(const attribute_value& value) {
  auto* number = std::get_if<double>(&value);
  return number && epoch_of(*number);
}

expected<void> check_attribute(const attribute& each) {
  TROUPE_CHECK(check_text("the name of an attribute", each.name, max_name, true));
  constexpr auto any_size = std::size_t{16} << 20;
  if (auto text = std::get_if<std::string>(&each.value))
    return check_text(each.name, *text, any_size, false);
  if (auto number = std::get_if<double>(&each.value); number && !std::isfinite(*number))
    return fail(ec::invalid_argument, "{} is not a finite number", each.name);
  if (auto list = std::get_if<text_list>(&each.value))
    for (auto& word : *list)
      TROUPE_CHECK(check_text(each.name, word, any_size, false));
  return {};
}

expected<void> check_shown(const std::vector<shown_item>& all) {
  if (all.empty())
    return fail(ec::invalid_argument, "shown has no items");
  if (all.size() > max_shown)
    return fail(ec::invalid_argument, "shown has {} items, at most {} are allowed", all.size(), max_shown);
  std::vector<std::uint32_t> places;
  places.reserve(all.size());
  for (auto& each : all) {
    TROUPE_CHECK(check_identity("shown.item", each.item, max_name, true));
    if (auto good = check_propensity(each.propensity); !good)
      return fail(ec::invalid_argument, "shown.{} (item {})", good.error().text, each.item);
    if (each.position != 0)
      places.push_back(each.position);
  }
  return check_positions(places);
}

using builder = flatbuffers::FlatBufferBuilder;

flatbuffers::Offset<flatbuffers::String> optional_text(builder& out, std::string_view text) {
  return text.empty() ? 0 : out.CreateString(text.data(), text.size());
}

/// Texts that a batch has once, however many refer to them: names of attributes, types. What FlatBuffers has
/// for that keeps them in a tree, which costs more than the rest of a record.
class shared_texts {
public:
  explicit shared_texts(builder& out) : out_{out} {}

  flatbuffers::Offset<flatbuffers::String> add(std::string_view text) {
    if (2 * used_ >= slots_.size())
      grow();
    auto& slot = slot_of(text);
    if (slot.IsNull()) {
      ++used_;
      slot = out_.CreateString(text.data(), text.size());
    }
    return slot;
  }

private:
  using offset = flatbuffers::Offset<flatbuffers::String>;

  std::string_view at(offset held) const {
    return text_of(reinterpret_cast<const flatbuffers::String*>(out_.GetCurrentBufferPointer() +
                                                                out_.GetSize() - held.o));
  }
  offset& slot_of(std::string_view text) {
    std::uint64_t first = 0, last = 0;
    auto some = std::min<std::size_t>(text.size(), 8);
    std::memcpy(&first, text.data(), some);
    std::memcpy(&last, text.data() + text.size() - some, some);
    auto hash = (first ^ std::rotl(last, 29) ^ text.size()) * 0x9e3779b97f4a7c15;
    auto mask = slots_.size() - 1;
    auto i = (hash >> 32) & mask;
    while (!slots_[i].IsNull() && at(slots_[i]) != text)
      i = (i + 1) & mask;
    return slots_[i];
  }
  void grow() {
    auto before = std::exchange(slots_, std::vector<offset>(std::max<std::size_t>(64, 4 * slots_.size())));
    for (auto& each : before)
      if (!each.IsNull())
        slot_of(at(each)) = each;
  }

  builder& out_;
  std::vector<offset> slots_; // A power of two.
  std::size_t used_ = 0;
};

/// What making a batch needs beside its bytes.
struct batch_builder {
  builder& out;
  shared_texts texts{out};
  std::vector<flatbuffers::Offset<wire::Attribute>> attributes{};
};

flatbuffers::Offset<wire::Attribute> build(batch_builder& in, const attribute& from) {
  auto& out = in.out;
  auto name = in.texts.add(from.name);
  if (auto text = std::get_if<std::string>(&from.value))
    return wire::CreateAttribute(out, name, wire::ValueKind::text, 0, out.CreateString(*text));
  if (auto number = std::get_if<double>(&from.value))
    return wire::CreateAttribute(out, name, wire::ValueKind::number, *number);
  if (auto flag = std::get_if<bool>(&from.value))
    return wire::CreateAttribute(out, name, wire::ValueKind::flag, *flag ? 1 : 0);
  auto list = out.CreateVectorOfStrings(std::get<text_list>(from.value));
  return wire::CreateAttribute(out, name, wire::ValueKind::list, 0, 0, list);
}

flatbuffers::Offset<wire::Record> build(batch_builder& in, const record& from) {
  auto& out = in.out;
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Attribute>>> attributes;
  if (!from.attributes.empty()) {
    in.attributes.clear();
    for (auto& each : from.attributes)
      in.attributes.push_back(build(in, each));
    attributes = out.CreateVector(in.attributes);
  }
  auto id = out.CreateString(from.id);
  auto type = from.type.empty() ? 0 : in.texts.add(from.type);
  auto user = optional_text(out, from.user);
  auto item = optional_text(out, from.item);
  auto request = optional_text(out, from.request_id);
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::ShownItem>>> shown;
  if (!from.shown.empty()) {
    std::vector<flatbuffers::Offset<wire::ShownItem>> parts;
    parts.reserve(from.shown.size());
    for (auto& each : from.shown)
      parts.push_back(
          wire::CreateShownItem(out, out.CreateString(each.item), each.position, each.propensity));
    shown = out.CreateVector(parts);
  }
  wire::RecordBuilder rec{out};
  rec.add_kind(static_cast<wire::RecordKind>(from.kind));
  rec.add_id(id);
  rec.add_type(type);
  rec.add_user(user);
  rec.add_item(item);
  rec.add_event_time(micros_of(from.event_time));
  rec.add_ingest_time(micros_of(from.ingest_time));
  if (from.value)
    rec.add_value(*from.value);
  rec.add_request_id(request);
  rec.add_attributes(attributes);
  rec.add_untimed(from.untimed);
  rec.add_shown(shown);
  return rec.Finish();
}

attribute to_attribute(const wire::Attribute& from) {
  attribute to{std::string{text_of(from.name())}, {}};
  switch (from.kind()) {
  case wire::ValueKind::number:
    to.value = from.number();
    break;
  case wire::ValueKind::flag:
    to.value = from.number() != 0;
    break;
  case wire::ValueKind::list: {
    text_list words;
    if (from.list())
      for (auto* word : *from.list())
        words.emplace_back(text_of(word));
    to.value = std::move(words);
    break;
  }
  default:
    to.value = std::string{text_of(from.text())};
  }
  return to;
}

} // namespace

bool valid_utf8(std::string_view text) noexcept {
  auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    std::uint64_t eight = 0;
    if (text.size() - i >= 8 && (std::memcpy(&eight, text.data() + i, 8), (eight & highs) == 0)) {
      i += 8;
      continue;
    }
    unsigned char lead = at(i);
    std::size_t more = lead < 0x80                    ? 0
                       : lead >= 0xc2 && lead < 0xe0  ? 1
                       : (lead & 0xf0) == 0xe0        ? 2
                       : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                      : 9;
    if (more == 9 || more >= text.size() - i)
      return false;
    for (std::size_t k = 1; k <= more; ++k)
      if ((at(i + k) & 0xc0) != 0x80)
        return false;
    unsigned char next = more > 0 ? at(i + 1) : 0;
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) || (lead == 0xf0 && next < 0x90) ||
        (lead == 0xf4 && next > 0x8f))
      return false;
    i += more + 1;
  }
  return true;
}

bool holds_control(std::string_view text) noexcept {
  return std::ranges::any_of(text, [](unsigned char each) { return each < 0x20 || each == 0x7f; });
}

std::string_view to_string(record_kind kind) noexcept {
  switch (kind) {
  case record_kind::event:
    return "event";
  case record_kind::user:
    return "user";
  case record_kind::item:
    return "item";
  case record_kind::slate:
    return "slate";
  }
  return "unknown";
}

const wire::Attribute* find_attribute(const wire::Record& from, std::string_view name) noexcept {
  if (from.attributes())
    for (auto* each : *from.attributes())
      if (text_of(each->name()) == name)
        return each;
  return nullptr;
}

std::string_view text_attribute(const wire::Record& from, std::string_view name) noexcept {
  auto* found = find_attribute(from, name);
  return found ? text_of(found->text()) : std::string_view{};
}

std::optional<bool> read_flag(std::string_view text) noexcept {
  auto is = [text](std::string_view word) {
    return std::ranges::equal(text, word,
                              [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a | 0x20 : a) == b; });
  };
  if (is("true") || is("yes") || is("1"))
    return true;
  if (is("false") || is("no") || is("0"))
    return false;
  return std::nullopt;
}

void normalise(record& rec) {
  auto& all = rec.attributes;
  if (is_entity(rec.kind))
    for (auto& each : all)
      if (is_reserved_flag(each.name))
        if (auto flag = flag_in(each.value))
          each.value = *flag;
  if (rec.kind == record_kind::item)
    for (auto& each : all)
      if (auto* text =
              each.name == expires || each.name == created ? std::get_if<std::string>(&each.value) : nullptr)
        if (auto at = parse_time(*text))
          each.value = number_of(*at);
  auto not_ascending = [](auto& a, auto& b) { return a.name >= b.name; };
  if (std::ranges::adjacent_find(all, not_ascending) != all.end()) {
    std::ranges::stable_sort(all, {}, &attribute::name);
    auto kept = all.begin();
    for (auto each = all.begin(); each != all.end(); ++each) {
      if (kept != all.begin() && std::prev(kept)->name == each->name)
        --kept;
      if (kept != each)
        *kept = std::move(*each);
      ++kept;
    }
    all.erase(kept, all.end());
  }
  auto unknown = [](auto& each) { return each.position == 0; };
  if (std::ranges::none_of(rec.shown, unknown))
    std::ranges::stable_sort(rec.shown, {}, &shown_item::position);
}

std::uint32_t partition_of(std::string_view key, std::uint32_t partitions) noexcept {
  return static_cast<std::uint32_t>(hash64(key) % partitions);
}

expected<void> check(const record& rec) {
  bool slate = rec.kind == record_kind::slate, entity = is_entity(rec.kind);
  TROUPE_CHECK(check_identity("id", rec.id, max_id, true));
  TROUPE_CHECK(check_identity("type", rec.type, max_name, !entity));
  TROUPE_CHECK(check_identity("user", rec.user, max_name, rec.kind != record_kind::item));
  TROUPE_CHECK(check_identity("item", rec.item, max_name, rec.kind != record_kind::user && !slate));
  if (slate) {
    if (rec.type != impression_type || !rec.item.empty() || rec.value)
      return fail(ec::invalid_argument, "a slate has the type impression, and neither item nor value");
    TROUPE_CHECK(check_shown(rec.shown));
  } else if (!rec.shown.empty()) {
    return fail(ec::invalid_argument, "shown belongs to slates, this is of kind {}", to_string(rec.kind));
  }
  TROUPE_CHECK(check_identity("request_id", rec.request_id, max_name, false));
  if (rec.value && !std::isfinite(*rec.value))
    return fail(ec::invalid_argument, "value is not a finite number");
  constexpr std::int64_t year_1 = -62135596800000000, year_10000 = 253402300800000000;
  if (auto at = micros_of(rec.event_time); at < year_1 || at >= year_10000)
    return fail(ec::invalid_argument, "event_time {} us lies outside the years 1 to 9999", at);
  for (auto& each : rec.attributes) {
    TROUPE_CHECK(check_attribute(each));
    if (entity && is_reserved_flag(each.name) && !std::holds_alternative<bool>(each.value))
      return fail(ec::invalid_argument, "{} is no flag: true or false, 1 or 0, yes or no are read as one",
                  each.name);
    if (rec.kind == record_kind::item && each.name == expires && !is_time(each.value))
      return fail(ec::invalid_argument, "{} is no time: RFC 3339 is one, and a number since 1970", expires);
  }
  return {};
}

std::optional<std::string> too_far_ahead(timestamp event_time, timestamp accepted,
                                         std::chrono::microseconds max_ahead) {
  if (event_time - accepted <= max_ahead)
    return std::nullopt;
  return fmt::format(
      "event_time {} is more than {} ahead of {}, when the row came; max_ahead of its mapping or "
      "schema says how far it may be",
      to_rfc3339(event_time), to_duration_text(max_ahead), to_rfc3339(accepted));
}

chunk encode_batch(std::span<const record* const> records, std::uint32_t partition,
                   std::uint64_t base_offset) {
  auto out = std::make_shared<builder>(records.size() * 160 + 64);
  std::vector<flatbuffers::Offset<wire::Record>> parts;
  parts.reserve(records.size());
  batch_builder in{*out};
  for (auto* each : records)
    parts.push_back(build(in, *each));
  auto list = out->CreateVector(parts);
  out->Finish(wire::CreateBatch(*out, partition, base_offset, list), wire::BatchIdentifier());
  byte_view view{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return {std::move(out), view};
}

chunk encode_batch(std::span<const record> records, std::uint32_t partition, std::uint64_t base_offset) {
  std::vector<const record*> pointers;
  pointers.reserve(records.size());
  for (auto& each : records)
    pointers.push_back(&each);
  return encode_batch(std::span<const record* const>{pointers}, partition, base_offset);
}

expected<batch> batch::open(chunk bytes) {
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), 64,
                                 1u << 30};
  if (bytes.size() < 8 || !wire::VerifyBatchBuffer(verifier))
    return fail(ec::corrupt, "{} bytes are not a batch of records", bytes.size());
  return batch{std::move(bytes)};
}

record to_record(const wire::Record& from) {
  record to;
  to.kind = static_cast<record_kind>(from.kind());
  to.id = text_of(from.id());
  to.type = text_of(from.type());
  to.user = text_of(from.user());
  to.item = text_of(from.item());
  to.event_time = from_micros(from.event_time());
  to.ingest_time = from_micros(from.ingest_time());
  if (auto value = from.value())
    to.value = *value;
  to.request_id = text_of(from.request_id());
  if (from.attributes())
    for (auto* each : *from.attributes())
      to.attributes.push_back(to_attribute(*each));
  to.untimed = from.untimed();
  if (from.shown())
    for (auto* each : *from.shown())
      to.shown.push_back({std::string{text_of(each->item())}, each->position(), each->propensity()});
  return to;
}

} // namespace troupe
