#include "services/feature_store/operators/kept_values.hpp"

#include <array>
#include <charconv>
#include <optional>

namespace troupe::feature_store {

namespace {

/// Times are kept in the coarsest of these units that they all are whole numbers of: many logs have seconds.
constexpr std::array<std::int64_t, 3> units{1, 1'000, 1'000'000};

std::size_t unit_of(const slot& from) noexcept {
  std::size_t unit = units.size() - 1;
  for (auto later = from.newest; auto& each : from.values) {
    while ((later - each.key.time) % units[unit] != 0)
      --unit;
    later = each.key.time;
  }
  return unit;
}

/// The decimal number that a text ends in, where it is the same text when it is written again.
struct numbered {
  std::string_view head;
  std::optional<std::uint64_t> number;

  explicit numbered(std::string_view text) : head{text} {
    auto digits = text.size() - (text.find_last_not_of("0123456789") + 1);
    auto tail = text.substr(text.size() - digits);
    if (digits == 0 || digits > 18 || (digits > 1 && tail.front() == '0'))
      return;
    std::uint64_t found = 0;
    std::from_chars(tail.data(), tail.data() + tail.size(), found);
    head.remove_suffix(digits);
    number = found;
  }
};

/// Identities are mostly a word and a number, and those of one slot have the word in common: it is written
/// once, then the numbers; any other text as it is.
class text_coder {
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

  void read(store::decoder& in, std::string& to) const {
    auto coded = in.whole();
    if (coded & 1) {
      to += in.raw(coded >> 1);
      return;
    }
    char digits[20];
    auto end = std::to_chars(digits, digits + sizeof digits, coded >> 1).ptr;
    to.append(head_).append(digits, end);
  }

private:
  text_coder() = default;
  explicit text_coder(std::string_view head) : head_{head} {}

  std::string_view head_;
};

} // namespace

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

bool kept_values_operator::fold(const feature_definition&, const slot& from, std::int64_t, std::int64_t,
                                double& number) const {
  if (from.values.empty() || from.values.back().of == kept_value::kind::none)
    return false;
  number = from.values.back().number;
  return true;
}

void kept_values_operator::fold_words(const feature_definition&, const slot& from, std::int64_t,
                                      std::string& out) const {
  out += from.text(from.values.back());
}

// From the newest to the oldest, each relative to the one before it.
void kept_values_operator::encode(const feature_definition& def, const slot& from, form as,
                                  store::encoder& out) const {
  auto unit = unit_of(from);
  out.whole(from.values.size() << 2 | unit);
  auto texts = text_coder::of(from);
  if (type_of_one(def) == value_type::text)
    texts.write_head(out);
  order_key later{from.newest, 0, 0, 0};
  for (auto at = from.values.rbegin(); at != from.values.rend(); ++at) {
    auto& each = *at;
    out.whole(static_cast<std::uint64_t>((later.time - each.key.time) / units[unit]));
    if (as == form::stored) {
      // Mostly of the same partition, and no item of a slate: one bit says so.
      bool same = each.key.partition == later.partition && each.key.index == 0;
      out.signed_whole(static_cast<std::int64_t>((later.offset - each.key.offset) << 1 | !same));
      if (!same)
        out.whole(each.key.partition).whole(each.key.index);
      if (of_entity())
        out.whole(each.since);
    }
    later = each.key;
    if (counts_without_value())
      out.octet(each.of != kept_value::kind::none);
    switch (each.of) {
    case kept_value::kind::none:
      break;
    case kept_value::kind::number:
      out.real(each.number);
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

bool kept_values_operator::decode(const feature_definition& def, slot& into, store::decoder& in) const {
  auto head = in.whole();
  auto size = head >> 2;
  if (size > in.left() || (head & 3) >= units.size())
    return false;
  auto unit = units[head & 3];
  auto type = type_of_one(def);
  std::optional<text_coder> texts;
  if (type == value_type::text)
    texts = text_coder::read(in);
  order_key later{into.newest, 0, 0, 0};
  into.values.resize(size);
  for (auto at = into.values.rbegin(); at != into.values.rend() && in.ok(); ++at) {
    auto& each = *at;
    each = {};
    each.key.time = later.time - static_cast<std::int64_t>(in.whole()) * unit;
    auto place = in.signed_whole();
    each.key.offset = later.offset - static_cast<std::uint64_t>(place >> 1);
    each.key.partition = later.partition;
    if (place & 1) {
      each.key.partition = static_cast<std::uint32_t>(in.whole());
      each.key.index = static_cast<std::uint32_t>(in.whole());
    }
    if (of_entity())
      each.since = in.whole();
    later = each.key;
    if (counts_without_value() && in.octet() == 0)
      continue;
    each.begin = static_cast<std::uint32_t>(into.words.size());
    switch (type) {
    case value_type::number:
      each.of = kept_value::kind::number;
      each.number = in.real();
      break;
    case value_type::text:
      each.of = kept_value::kind::text;
      texts->read(in, into.words);
      break;
    case value_type::list: {
      each.of = kept_value::kind::list;
      auto words = in.whole();
      if (words > in.left())
        return false;
      for (; words > 0 && in.ok(); --words)
        add_word(into.words, in.text());
      break;
    }
    }
    each.size = static_cast<std::uint32_t>(into.words.size() - each.begin);
  }
  return in.ok();
}

} // namespace troupe::feature_store
