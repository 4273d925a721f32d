#include "services/feature_store/operators/kept_values.hpp"

namespace troupe::feature_store {

std::optional<std::variant<double, std::string, text_list>>
kept_values_operator::value_in(const feature_definition& def, const feature_event& from) const {
  auto any = [](auto value) -> std::optional<std::variant<double, std::string, text_list>> {
    if (!value)
      return std::nullopt;
    return std::move(*value);
  };
  switch (type_of_one(def)) {
  case value_type::number:
    return any(number_of(from, def.of));
  case value_type::list:
    return any(list_of(from, def.of));
  case value_type::text:
    return any(feature_store::text_of(from, def.of));
  }
  return std::nullopt;
}

void kept_values_operator::apply(const feature_definition& def, const feature_event& from, std::int64_t,
                                 slot& into) const {
  auto& values = into.must_have_more().values;
  auto key = from.key();
  if (!of_entity() && values.size() == limit(def) && key < values.front().key)
    return;
  auto value = value_in(def, from);
  if (!value && !counts_without_value())
    return;
  kept_value kept{key, 0, {}};
  if (value)
    std::visit([&](auto& each) { kept.value = std::move(each); }, *value);
  if (of_entity())
    return keep_newest_record(from, std::move(kept), into);
  into.touch(from.event_time);
  auto at =
      std::upper_bound(values.begin(), values.end(), key, [](auto& k, auto& each) { return k < each.key; });
  values.insert(at, std::move(kept));
  if (values.size() > limit(def))
    values.erase(values.begin());
}

/// What a log says of an entity is read in its order: a record that replaces wins against all before it, any
/// other where its time is not before that of the one that stands. All lie in one partition. They are given
/// in that order, or in that of their times (training sets): both end the same, since what replaces and what
/// came before it are told apart by offset, and what stands is never older than what has replaced.
void kept_values_operator::keep_newest_record(const feature_event& from, kept_value kept, slot& into) const {
  auto& values = into.must_have_more().values;
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
  into.memo_first = never;
  values.push_back(std::move(kept));
}

bool kept_values_operator::fold(const feature_definition&, slot& from, std::int64_t, std::int64_t,
                                double& number) const {
  if (!from.more || from.more->values.empty() ||
      std::holds_alternative<std::monostate>(from.more->values.back().value))
    return false;
  if (auto* known = std::get_if<double>(&from.more->values.back().value))
    number = *known;
  return true;
}

void kept_values_operator::fold_words(const feature_definition& def, const slot& from, std::int64_t,
                                      feature_value& out) const {
  auto& value = from.more->values.back().value;
  if (def.type == value_type::text)
    out.text = std::get<std::string>(value);
  else
    out.list = std::get<text_list>(value);
}

void kept_values_operator::encode(const feature_definition&, const slot& from, std::int64_t base, form as,
                                  store::encoder& out) const {
  out.whole(from.more ? from.more->values.size() : 0);
  if (!from.more)
    return;
  for (auto& each : from.more->values) {
    out.signed_whole(base - each.key.time);
    if (as == form::stored) {
      out.whole(each.key.partition | std::uint64_t{each.key.index} << 32); // States of before have no slates.
      out.whole(each.key.offset);
      if (of_entity())
        out.whole(each.since);
    }
    bool has = !std::holds_alternative<std::monostate>(each.value);
    if (counts_without_value())
      out.octet(has);
    if (!has)
      continue;
    if (auto* number = std::get_if<double>(&each.value)) {
      out.real(*number);
    } else if (auto* text = std::get_if<std::string>(&each.value)) {
      out.text(*text);
    } else {
      auto& list = std::get<text_list>(each.value);
      out.whole(list.size());
      for (auto& word : list)
        out.text(word);
    }
  }
}

bool kept_values_operator::decode(const feature_definition& def, slot& into, std::int64_t base,
                                  store::decoder& in) const {
  auto size = in.whole();
  if (size > in.left())
    return false;
  auto& values = into.must_have_more().values;
  for (std::uint64_t i = 0; i < size && in.ok(); ++i) {
    kept_value each;
    each.key.time = base - in.signed_whole();
    auto place = in.whole();
    each.key.partition = static_cast<std::uint32_t>(place);
    each.key.index = static_cast<std::uint32_t>(place >> 32);
    each.key.offset = in.whole();
    if (of_entity())
      each.since = in.whole();
    if (counts_without_value() && in.octet() == 0) {
      values.push_back(std::move(each));
      continue;
    }
    switch (type_of_one(def)) {
    case value_type::text:
      each.value = std::string{in.text()};
      break;
    case value_type::number:
      each.value = in.real();
      break;
    case value_type::list: {
      text_list list;
      for (auto words = in.whole(); words > 0 && in.ok(); --words)
        list.emplace_back(in.text());
      each.value = std::move(list);
      break;
    }
    }
    values.push_back(std::move(each));
  }
  return in.ok();
}

} // namespace troupe::feature_store
