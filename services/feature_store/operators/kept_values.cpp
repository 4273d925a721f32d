#include "services/feature_store/operators/kept_values.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace troupe::feature_store {

namespace {

/// Times are kept in the coarsest of these units that they all are whole numbers of: many logs have seconds.
constexpr std::array<std::int64_t, 3> units{1, 1'000, 1'000'000};

std::size_t unit_of(const slot& from) noexcept {
  std::size_t unit = units.size() - 1;
  for (auto& each : from.values) {
    auto before = from.newest - each.key.time;
    if (unit == 2 && before % units[2] != 0)
      unit = 1;
    if (unit == 1 && before % units[1] != 0)
      return 0;
  }
  return unit;
}

/// By a number that the compiler knows.
std::uint64_t in_units(std::int64_t span, std::size_t unit) noexcept {
  auto whole = static_cast<std::uint64_t>(span);
  return unit == 2 ? whole / 1'000'000 : unit == 1 ? whole / 1'000 : whole;
}

/// The decimal number that a text ends in, where it is the same text when it is written again.
struct numbered {
  std::string_view head;
  std::optional<std::uint64_t> number;

  explicit numbered(std::string_view text) : head{text} {
    std::size_t digits = 0;
    while (digits < text.size() && static_cast<unsigned char>(text[text.size() - 1 - digits] - '0') <= 9)
      ++digits;
    auto tail = text.substr(text.size() - digits);
    if (digits == 0 || digits > 18 || (digits > 1 && tail.front() == '0'))
      return;
    std::uint64_t found = 0;
    std::from_chars(tail.data(), tail.data() + tail.size(), found);
    head.remove_suffix(digits);
    number = found;
  }
};

} // namespace

/// Identities are mostly a word and a number, and those of one slot have the word in common: it is written
/// once, then the numbers; any other text as it is.
class kept_values_operator::text_coder {
public:
  static text_coder of(const slot& from) {
    if (from.values.empty() || from.values.back().of != kept_value::kind::text)
      return {};
    numbered newest{from.text(from.values.back())};
    return newest.number ? text_coder{newest.head} : text_coder{};
  }
  static text_coder read(store::decoder& in) { return text_coder{in.text()}; }

  void write_head(store::encoder& out) const { out.text(head_); }

  void write(std::string_view text, store::encoder& out) const {
    if (numbered as{text}; as.number && as.head == head_)
      out.whole(*as.number << 1);
    else
      out.whole(text.size() << 1 | 1).raw(text);
  }

  /// Calls `use` with the parts of a text, one or two.
  template <class Use>
  void read(store::decoder& in, Use&& use) const {
    auto coded = in.whole();
    if (coded & 1)
      return use(in.raw(coded >> 1));
    char digits[20];
    auto* end = std::to_chars(digits, digits + sizeof digits, coded >> 1).ptr;
    use(head_, std::string_view{digits, static_cast<std::size_t>(end - digits)});
  }

  text_coder() = default;

private:
  explicit text_coder(std::string_view head) : head_{head} {}

  std::string_view head_;
};

void kept_values_operator::keep_text(std::string_view text, slot& into, kept_value& kept) {
  kept.of = kept_value::kind::text;
  kept.begin = static_cast<std::uint32_t>(into.words.size());
  kept.size = static_cast<std::uint32_t>(text.size());
  into.words += text;
}

bool kept_values_operator::take(const feature_definition& def, const feature_event& from, slot& into,
                                kept_value& kept) const {
  switch (type_of_one(def)) {
  case value_type::number:
    if (auto number = number_of(from, def.of)) {
      kept.of = kept_value::kind::number;
      kept.number = *number;
    }
    break;
  case value_type::list:
    if (auto list = list_of(from, def.of)) {
      kept.of = kept_value::kind::list;
      kept.begin = static_cast<std::uint32_t>(into.words.size());
      for (auto& word : *list)
        add_word(into.words, word);
      kept.size = static_cast<std::uint32_t>(into.words.size() - kept.begin);
    }
    break;
  case value_type::text:
    if (def.of.of == field::part::item && !from.item.empty())
      keep_text(from.item, into, kept);
    else if (auto text = feature_store::text_of(from, def.of))
      keep_text(*text, into, kept);
    break;
  }
  return kept.of != kept_value::kind::none;
}

void kept_values_operator::apply(const feature_definition& def, const feature_event& from, std::int64_t,
                                 slot& into) const {
  auto& values = into.values;
  auto key = from.key();
  if (!of_entity() && values.size() == limit(def) && key < values.front().key)
    return;
  kept_value kept;
  kept.key = key;
  if (!take(def, from, into, kept) && !counts_without_value())
    return;
  if (of_entity())
    return keep_newest_record(from, kept, into);
  into.touch(from.event_time);
  auto at =
      std::upper_bound(values.begin(), values.end(), key, [](auto& k, auto& each) { return k < each.key; });
  values.insert(at, kept);
  if (values.size() > limit(def))
    values.erase(values.begin());
}

/// What a log says of an entity is read in its order: a record that replaces wins against all before it, any
/// other where its time is not before that of the one that stands. All lie in one partition. They are given
/// in that order, or in that of their times (training sets): both end the same, since what replaces and what
/// came before it are told apart by offset, and what stands is never older than what has replaced.
void kept_values_operator::keep_newest_record(const feature_event& from, kept_value kept, slot& into) const {
  auto& values = into.values;
  auto* stands = values.empty() ? nullptr : &values.front();
  kept.since = from.replaces ? from.offset + 1 : stands ? stands->since : 0;
  if (stands) {
    if (from.offset + 1 < stands->since)
      return;
    bool later = from.replaces ? stands->key.offset > from.offset && stands->key.time >= from.event_time
                               : kept.key < stands->key;
    if (later) {
      stands->since = kept.since;
      return;
    }
    values.clear();
  }
  into.newest = from.event_time;
  values.push_back(kept);
}

namespace {

/// Half and whole numbers, as most are, in a byte or two.
void write_number(double number, store::encoder& out) {
  auto twice = number * 2;
  bool coarse = std::abs(twice) < 1e6 && twice == std::trunc(twice) && !(number == 0 && std::signbit(number));
  if (!coarse) {
    out.whole(1).real(number);
    return;
  }
  auto whole = static_cast<std::int64_t>(twice);
  out.whole(((static_cast<std::uint64_t>(whole) << 1) ^ static_cast<std::uint64_t>(whole >> 63)) << 1);
}

double read_number(store::decoder& in) {
  auto coded = in.whole();
  if (coded & 1)
    return in.real();
  coded >>= 1;
  return static_cast<double>(static_cast<std::int64_t>((coded >> 1) ^ (~(coded & 1) + 1))) / 2;
}

} // namespace

// From the oldest to the newest, each relative to the one before it, the oldest to the newest time.
void kept_values_operator::encode(const feature_definition& def, const slot& from, form as,
                                  store::encoder& out) const {
  auto unit = unit_of(from);
  out.whole(from.values.size() << 2 | unit);
  if (from.values.empty())
    return;
  auto texts = text_coder::of(from);
  if (type_of_one(def) == value_type::text)
    texts.write_head(out);
  order_key before{from.values.front().key.time, 0, 0, 0};
  out.whole(in_units(from.newest - before.time, unit));
  for (auto& each : from.values) {
    out.whole(in_units(each.key.time - before.time, unit));
    if (as == form::stored) {
      // Mostly of the same partition, and no item of a slate: one bit says so.
      bool same = each.key.partition == before.partition && each.key.index == 0;
      out.signed_whole(static_cast<std::int64_t>((each.key.offset - before.offset) << 1 | !same));
      if (!same)
        out.whole(each.key.partition).whole(each.key.index);
      if (of_entity())
        out.whole(each.since);
    }
    before = each.key;
    if (counts_without_value())
      out.octet(each.of != kept_value::kind::none);
    switch (each.of) {
    case kept_value::kind::none:
      break;
    case kept_value::kind::number:
      write_number(each.number, out);
      break;
    case kept_value::kind::text:
      texts.write(from.text(each), out);
      break;
    case kept_value::kind::list: {
      std::size_t words = 0;
      each_word(from.text(each), [&](std::string_view) { ++words; });
      out.whole(words).raw(from.text(each));
      break;
    }
    }
  }
}

/// Calls `use(key, since, has)` for each value, which reads it where there `has` to be one.
template <class Use>
bool kept_values_operator::each_value(const feature_definition& def, store::decoder& in, std::int64_t newest,
                                      std::size_t& left, text_coder& texts, Use&& use) const {
  auto head = in.whole();
  left = head >> 2;
  if (left > in.left() || (head & 3) >= units.size())
    return false;
  if (left == 0)
    return true;
  auto unit = units[head & 3];
  if (type_of_one(def) == value_type::text)
    texts = text_coder::read(in);
  order_key key{newest - static_cast<std::int64_t>(in.whole()) * unit, 0, 0, 0};
  for (; left > 0 && in.ok(); --left) {
    key.time += static_cast<std::int64_t>(in.whole()) * unit;
    auto place = in.signed_whole();
    key.offset += static_cast<std::uint64_t>(place >> 1);
    key.index = 0;
    if (place & 1) {
      key.partition = static_cast<std::uint32_t>(in.whole());
      key.index = static_cast<std::uint32_t>(in.whole());
    }
    auto since = of_entity() ? in.whole() : 0;
    use(key, since, !counts_without_value() || in.octet() != 0);
  }
  return in.ok();
}

bool kept_values_operator::decode(const feature_definition& def, slot& into, store::decoder& in) const {
  auto type = type_of_one(def);
  std::size_t left = 0;
  text_coder texts;
  return each_value(def, in, into.newest, left, texts,
                    [&](const order_key& key, std::uint64_t since, bool has) {
                      auto& each = into.values.emplace_back();
                      each.key = key;
                      each.since = since;
                      if (!has)
                        return;
                      each.begin = static_cast<std::uint32_t>(into.words.size());
                      switch (type) {
                      case value_type::number:
                        each.of = kept_value::kind::number;
                        each.number = read_number(in);
                        break;
                      case value_type::text:
                        each.of = kept_value::kind::text;
                        texts.read(in, [&](auto... parts) { (into.words.append(parts), ...); });
                        break;
                      case value_type::list:
                        each.of = kept_value::kind::list;
                        for (auto words = in.whole(); words > 0 && in.ok(); --words)
                          add_word(into.words, in.text());
                        break;
                      }
                      each.size = static_cast<std::uint32_t>(into.words.size() - each.begin);
                    });
}

bool kept_values_operator::read(const feature_definition& def, store::decoder& in, std::int64_t newest,
                                const reading& when, double& number, std::string& words) const {
  auto type = type_of_one(def);
  bool all = gives_all(), found = false;
  std::size_t left = 0;
  text_coder texts;
  bool good = each_value(def, in, newest, left, texts, [&](const order_key& key, std::uint64_t, bool has) {
    found = has;
    if (!has)
      return;
    bool wanted = all ? key.time >= when.since : left == 1;
    switch (type) {
    case value_type::number:
      number = read_number(in);
      break;
    case value_type::text:
      texts.read(in, [&](auto... parts) {
        if (!wanted)
          return;
        if (all)
          add_word_length(words, (parts.size() + ...));
        (words.append(parts), ...);
      });
      break;
    case value_type::list:
      for (auto count = in.whole(); count > 0 && in.ok(); --count)
        if (auto word = in.text(); wanted)
          add_word(words, word);
      break;
    }
  });
  return good && found;
}

} // namespace troupe::feature_store
