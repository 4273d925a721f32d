#include "services/ingest/log/column_codec.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

namespace troupe::ingest {

namespace {

/// Which entry of a dictionary each value is, in the order of their first appearance.
template <class Value, class Hash, class Same>
std::vector<std::uint32_t> number_entries(std::span<const Value> values, std::vector<Value>& entries,
                                          Hash hash, Same same) {
  constexpr std::uint32_t none = 0xffff'ffff;
  std::vector<std::uint32_t> at(values.size());
  std::vector<std::uint32_t> slots(std::bit_ceil(values.size() * 2 + 1), none);
  auto mask = slots.size() - 1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0 && same(values[i], values[i - 1])) {
      at[i] = at[i - 1];
      continue;
    }
    auto slot = hash(values[i]) & mask;
    while (slots[slot] != none && !same(entries[slots[slot]], values[i]))
      slot = (slot + 1) & mask;
    if (slots[slot] == none) {
      slots[slot] = static_cast<std::uint32_t>(entries.size());
      entries.push_back(values[i]);
    }
    at[i] = slots[slot];
  }
  return at;
}

/// 0: as the one before; 1: the next that has not stood yet; 2 and more: entry 0 and more.
void put_entry_numbers(store::encoder& to, std::span<const std::uint32_t> at, std::size_t entries) {
  if (at.size() == entries)
    return; // Each stands once.
  std::uint32_t fresh = 0, before = 0xffff'ffff;
  for (auto each : at) {
    if (each == before)
      to.whole(0);
    else if (each == fresh)
      to.whole(1);
    else
      to.whole(std::uint64_t{each} + 2);
    fresh = std::max(fresh, each + 1);
    before = each;
  }
}

std::vector<std::uint32_t> take_entry_numbers(store::decoder& from, std::size_t count, std::size_t entries) {
  if (count != entries && from.left() < count)
    from.give_up();
  if (!from.ok())
    return {};
  std::vector<std::uint32_t> at(count);
  std::uint32_t fresh = 0, before = 0;
  for (auto& each : at) {
    if (count == entries) {
      each = fresh++;
      continue;
    }
    auto code = from.whole();
    each = code == 0   ? before
           : code == 1 ? fresh
                       : static_cast<std::uint32_t>(std::min<std::uint64_t>(code - 2, entries));
    if (each >= entries || !from.ok()) {
      from.give_up();
      return {};
    }
    fresh = std::max(fresh, each + 1);
    before = each;
  }
  return at;
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// A text as literal parts with numbers between them: "w1-e17" is "w" 1 "-e" 17 "". A number has no zero in
/// front and at most 18 digits.
struct numbered_text {
  std::vector<std::string_view> literals;
  std::vector<std::uint64_t> numbers;

  /// False where the text has other literal parts than `as`, or none, or cannot be told so.
  bool read(std::string_view text, const numbered_text* as) {
    literals.clear();
    numbers.clear();
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size();) {
      if (!is_digit(text[i])) {
        ++i;
        continue;
      }
      auto end = i;
      std::uint64_t number = 0;
      while (end < text.size() && is_digit(text[end]) && end - i < 19)
        number = number * 10 + static_cast<std::uint64_t>(text[end++] - '0');
      if (end - i > 18 || (text[i] == '0' && end - i > 1))
        return false;
      literals.push_back(text.substr(begin, i - begin));
      numbers.push_back(number);
      if (as &&
          (literals.size() >= as->literals.size() || literals.back() != as->literals[literals.size() - 1]))
        return false;
      begin = i = end;
    }
    literals.push_back(text.substr(begin));
    return !numbers.empty() &&
           (!as || (literals.size() == as->literals.size() && literals.back() == as->literals.back()));
  }
};

bool put_numbered(store::encoder& to, std::span<const std::string_view> texts) {
  numbered_text first, each;
  if (texts.size() < 2 || !first.read(texts.front(), nullptr))
    return false;
  auto width = first.numbers.size();
  std::vector<std::uint64_t> numbers;
  numbers.reserve(texts.size() * width);
  for (auto text : texts) {
    if (!each.read(text, &first))
      return false;
    numbers.insert(numbers.end(), each.numbers.begin(), each.numbers.end());
  }
  to.octet(1).whole(width);
  for (auto literal : first.literals)
    to.text(literal);
  for (std::size_t column = 0; column < width; ++column) {
    std::uint64_t before = 0;
    for (auto at = column; at < numbers.size(); at += width)
      to.signed_whole(static_cast<std::int64_t>(numbers[at] - before)), before = numbers[at];
  }
  return true;
}

void put_entries(store::encoder& to, std::span<const std::string_view> texts) {
  if (put_numbered(to, texts))
    return;
  to.octet(0);
  for (auto text : texts)
    to.whole(text.size());
  for (auto text : texts)
    to.raw(text);
}

void take_numbered(store::decoder& from, std::size_t count, text_column& to) {
  auto width = from.count_of(1);
  std::vector<std::string_view> literals(width + 1);
  std::size_t size = 0;
  for (auto& each : literals) {
    each = from.text();
    size += each.size();
  }
  if (!from.ok() || width == 0 || from.left() / width < count)
    return from.give_up();
  std::vector<std::uint64_t> numbers(count * width);
  for (std::size_t column = 0; column < width; ++column) {
    std::uint64_t before = 0;
    for (auto at = column; at < numbers.size(); at += width)
      numbers[at] = before += static_cast<std::uint64_t>(from.signed_whole());
  }
  std::vector<std::size_t> ends(count);
  to.made.reserve(count * (size + width * 8));
  std::array<char, 20> digits;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t column = 0; column < width; ++column) {
      to.made.insert(to.made.end(), literals[column].begin(), literals[column].end());
      auto end = std::to_chars(digits.data(), digits.data() + digits.size(), numbers[i * width + column]).ptr;
      to.made.insert(to.made.end(), digits.data(), end);
    }
    to.made.insert(to.made.end(), literals.back().begin(), literals.back().end());
    ends[i] = to.made.size();
  }
  to.entries.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto begin = i == 0 ? 0 : ends[i - 1];
    to.entries[i] = {to.made.data() + begin, ends[i] - begin};
  }
}

void take_entries(store::decoder& from, std::size_t count, text_column& to) {
  if (from.octet() == 1)
    return take_numbered(from, count, to);
  std::vector<std::uint64_t> sizes(count);
  for (auto& each : sizes)
    each = from.whole();
  to.entries.reserve(count);
  for (auto each : sizes)
    to.entries.push_back(from.raw(each));
}

constexpr std::array<std::int64_t, 3> units{1'000'000, 1'000, 1};

enum number_coding : std::uint8_t { all_equal, by_scale, by_dictionary, by_bytes };
constexpr std::array<double, 2> scales{1, 100};

std::uint64_t bits_of(double value) noexcept {
  return std::bit_cast<std::uint64_t>(value);
}

/// The whole number whose share `scale` the value is, to the bit.
std::optional<std::int64_t> scaled_by(double value, double scale) {
  if (!(std::abs(value) < 1e13))
    return std::nullopt;
  auto whole = std::nearbyint(value * scale);
  if (bits_of(whole / scale) != bits_of(value))
    return std::nullopt;
  return static_cast<std::int64_t>(whole);
}

bool put_scaled(store::encoder& to, std::span<const double> values, std::uint8_t scale) {
  std::vector<std::int64_t> whole;
  whole.reserve(values.size());
  for (auto each : values) {
    auto number = scaled_by(each, scales[scale]);
    if (!number || (*number == 0 && std::signbit(each)))
      return false;
    whole.push_back(*number);
  }
  to.octet(by_scale).octet(scale);
  for (auto each : whole)
    to.signed_whole(each);
  return true;
}

} // namespace

void put_texts(store::encoder& to, std::span<const std::string_view> values) {
  std::vector<std::string_view> entries;
  auto at = number_entries(
      values, entries, [](std::string_view text) { return static_cast<std::size_t>(hash64(text)); },
      [](std::string_view a, std::string_view b) { return a == b; });
  to.whole(entries.size());
  put_entries(to, entries);
  put_entry_numbers(to, at, entries.size());
}

text_column take_texts(store::decoder& from, std::size_t count) {
  text_column to;
  auto entries = from.count_of(1);
  if (entries > count || (entries == 0 && count > 0)) {
    from.give_up();
    return to;
  }
  take_entries(from, entries, to);
  if (from.ok())
    to.at = take_entry_numbers(from, count, entries);
  if (!from.ok())
    to = {};
  return to;
}

void put_times(store::encoder& to, std::span<const std::int64_t> values) {
  std::uint8_t unit = 0;
  for (auto each : values)
    while (each % units[unit] != 0)
      ++unit;
  to.octet(unit);
  std::uint64_t before = 0;
  for (auto each : values) {
    auto now = static_cast<std::uint64_t>(each / units[unit]);
    to.signed_whole(static_cast<std::int64_t>(now - before));
    before = now;
  }
}

std::vector<std::int64_t> take_times(store::decoder& from, std::size_t count) {
  auto unit = from.octet();
  if (unit >= units.size() || from.left() < count) {
    from.give_up();
    return {};
  }
  std::vector<std::int64_t> values(count);
  std::uint64_t before = 0;
  for (auto& each : values) {
    before += static_cast<std::uint64_t>(from.signed_whole());
    each = static_cast<std::int64_t>(before * static_cast<std::uint64_t>(units[unit]));
  }
  return values;
}

void put_numbers(store::encoder& to, std::span<const double> values) {
  if (values.empty())
    return;
  auto same = [](double a, double b) { return bits_of(a) == bits_of(b); };
  if (std::ranges::all_of(values, [&](double each) { return same(each, values.front()); })) {
    to.octet(all_equal).real(values.front());
    return;
  }
  if (put_scaled(to, values, 0) || put_scaled(to, values, 1))
    return;
  std::vector<double> entries;
  auto at = number_entries(
      values, entries,
      [](double value) { return static_cast<std::size_t>(bits_of(value) * 0x9e37'79b9'7f4a'7c15 >> 20); },
      same);
  if (entries.size() <= values.size() / 4) {
    to.octet(by_dictionary).whole(entries.size());
    for (auto each : entries)
      to.real(each);
    put_entry_numbers(to, at, entries.size());
    return;
  }
  to.octet(by_bytes);
  std::string plane(values.size(), '\0');
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (std::size_t i = 0; i < values.size(); ++i)
      plane[i] = static_cast<char>(bits_of(values[i]) >> shift);
    to.raw(plane);
  }
}

std::vector<double> take_numbers(store::decoder& from, std::size_t count) {
  if (count == 0)
    return {};
  switch (from.octet()) {
  case all_equal:
    return std::vector<double>(count, from.real());
  case by_scale: {
    auto scale = from.octet();
    if (scale >= scales.size() || from.left() < count)
      break;
    std::vector<double> values(count);
    for (auto& each : values)
      each = static_cast<double>(from.signed_whole()) / scales[scale];
    return values;
  }
  case by_dictionary: {
    std::vector<double> entries(from.count_of(8));
    for (auto& each : entries)
      each = from.real();
    auto at = take_entry_numbers(from, count, entries.size());
    std::vector<double> values(at.size());
    for (std::size_t i = 0; i < at.size(); ++i)
      values[i] = entries[at[i]];
    return values;
  }
  case by_bytes: {
    if (from.left() / 8 < count)
      break;
    std::vector<std::uint64_t> bits(count);
    for (int shift = 56; shift >= 0; shift -= 8) {
      auto plane = from.raw(count);
      for (std::size_t i = 0; i < count; ++i)
        bits[i] |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(plane[i])) << shift;
    }
    std::vector<double> values(count);
    std::memcpy(values.data(), bits.data(), count * sizeof(double));
    return values;
  }
  default:
    break;
  }
  from.give_up();
  return {};
}

void put_codes(store::encoder& to, std::span<const std::uint32_t> values) {
  bool same = std::ranges::all_of(values, [&](auto each) { return each == values.front(); });
  to.octet(same);
  for (std::size_t i = 0; i < (same ? std::min<std::size_t>(1, values.size()) : values.size()); ++i)
    to.whole(values[i]);
}

std::vector<std::uint32_t> take_codes(store::decoder& from, std::size_t count) {
  if (count == 0 || from.octet() == 1)
    return std::vector<std::uint32_t>(count, count == 0 ? 0 : static_cast<std::uint32_t>(from.whole()));
  if (from.left() < count) {
    from.give_up();
    return {};
  }
  std::vector<std::uint32_t> values(count);
  for (auto& each : values)
    each = static_cast<std::uint32_t>(from.whole());
  return values;
}

} // namespace troupe::ingest
