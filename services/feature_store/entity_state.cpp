#include "services/feature_store/entity_state.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::feature_store {

namespace {

constexpr int fraction_bits = 40;
constexpr double largest_summand = 1152921504606846976.0; // 2^60: room for 2^27 summands of that size

/// Contributions below 2^-64 of a decayed count are dropped.
constexpr std::int64_t decay_horizon = 64;

std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept {
  auto q = a / b;
  return q - (a % b < 0);
}

store::int128 to_fixed(double number) noexcept {
  number = std::clamp(number, -largest_summand, largest_summand);
  return static_cast<store::int128>(std::nearbyint(std::ldexp(number, fraction_bits)));
}

double from_fixed(store::int128 sum) noexcept {
  return std::ldexp(static_cast<double>(sum), -fraction_bits);
}

store::int128 add_wrapping(store::int128 a, store::int128 b) noexcept {
  return static_cast<store::int128>(static_cast<store::uint128>(a) + static_cast<store::uint128>(b));
}

std::int64_t since(std::int64_t from, std::int64_t to) noexcept {
  return to > from ? to - from : 0;
}

bool has_number_tiles(operation op) noexcept {
  switch (op) {
  case operation::count:
  case operation::sum:
  case operation::mean:
  case operation::min:
  case operation::max:
  case operation::rate:
  case operation::decayed_count:
    return true;
  default:
    return false;
  }
}

bool keeps_values(operation op) noexcept {
  return op == operation::last || op == operation::last_n || op == operation::attribute ||
         op == operation::record;
}

} // namespace

std::int64_t entity_state::first_tile(const feature_definition& def, std::int64_t at) {
  if (def.window)
    return floor_div(at - def.window->count(), def.hop.count());
  if (def.op == operation::decayed_count)
    return floor_div(at - decay_horizon * def.half_life.count(), def.hop.count());
  return std::numeric_limits<std::int64_t>::min() + 1;
}

entity_state::tile& entity_state::tile_at(std::vector<tile>& tiles, std::int64_t index) {
  if (!tiles.empty() && tiles.back().index == index)
    return tiles.back();
  auto at =
      std::lower_bound(tiles.begin(), tiles.end(), index, [](auto& each, auto i) { return each.index < i; });
  if (at == tiles.end() || at->index != index) {
    at = tiles.insert(at, tile{});
    at->index = index;
  }
  return *at;
}

entity_state::extra& entity_state::more_of(slot& of) {
  if (!of.more)
    of.more = std::make_unique<extra>();
  return *of.more;
}

void entity_state::apply(const feature_view& view, const fact& from) {
  bool event = from.kind == record_kind::event;
  if (event && from.event_time > newest_)
    newest_ = from.event_time;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& def = view.features[i];
    if (of_entity(def.op) == event)
      continue;
    if (std::all_of(def.where.begin(), def.where.end(), [&](auto& rule) { return holds(from, rule); }))
      apply_feature(def, features_[i], from);
  }
}

void entity_state::apply_feature(const feature_definition& def, slot& into, const fact& from) {
  auto hop = def.hop.count();
  auto index = hop ? floor_div(from.event_time, hop) : 0;
  // A record too old for every later reading leaves no tile, but counts as having been there.
  bool in_reach = !hop || newest_ == never || index >= first_tile(def, newest_);
  auto touch = [&] {
    into.newest = std::max(into.newest, from.event_time);
    into.memo_first = never;
  };
  switch (def.op) {
  case operation::count:
    touch();
    if (in_reach)
      ++tile_at(into.tiles, index).count;
    break;
  case operation::time_since:
    touch();
    break;
  case operation::rate: {
    bool up = from.type == def.numerator, down = from.type == def.denominator;
    if (!up && !down)
      return;
    touch();
    if (in_reach) {
      auto& cell = tile_at(into.tiles, index);
      cell.count += down;
      cell.sum += up;
    }
    break;
  }
  case operation::decayed_count: {
    touch();
    if (in_reach) {
      auto& cell = tile_at(into.tiles, index);
      auto end = (index + 1) * hop;
      ++cell.count;
      cell.sum += to_fixed(std::exp2(-static_cast<double>(end - from.event_time) /
                                     static_cast<double>(def.half_life.count())));
    }
    break;
  }
  case operation::sum:
  case operation::mean:
  case operation::min:
  case operation::max: {
    auto number = number_of(from, def.of);
    if (!number)
      return;
    touch();
    if (!in_reach)
      return;
    auto& cell = tile_at(into.tiles, index);
    bool first = cell.count++ == 0;
    double value = *number + 0.0; // -0.0 becomes 0.0: which of the two came first must not show
    if (def.op == operation::sum || def.op == operation::mean)
      cell.sum = add_wrapping(cell.sum, to_fixed(value));
    else
      cell.extreme = first                      ? value
                     : def.op == operation::min ? std::min(cell.extreme, value)
                                                : std::max(cell.extreme, value);
    break;
  }
  case operation::distinct_count: {
    static thread_local std::vector<std::uint64_t> hashes;
    hashes.clear();
    add_hashes(from, def.of, hashes);
    if (hashes.empty())
      return;
    touch();
    if (!in_reach)
      return;
    auto& tiles = more_of(into).tiles;
    auto at = std::lower_bound(tiles.begin(), tiles.end(), index,
                               [](auto& each, auto i) { return each.index < i; });
    if (at == tiles.end() || at->index != index)
      at = tiles.insert(at, distinct_tile{index, {}});
    for (auto hash : hashes)
      at->sketch.add(hash);
    break;
  }
  case operation::last:
  case operation::last_n:
  case operation::attribute:
  case operation::record: {
    auto& values = more_of(into).values;
    std::size_t limit = def.op == operation::last_n ? def.n : 1;
    auto key = from.key();
    if (values.size() == limit && key < values.front().key)
      return;
    kept fresh{key, {}};
    if (def.op == operation::record) {
      fresh.value = attributes_json(from);
    } else if (def.op != operation::last_n && def.type == value_type::number) {
      auto number = number_of(from, def.of);
      if (!number)
        return;
      fresh.value = *number;
    } else if (def.op != operation::last_n && def.type == value_type::list) {
      auto list = list_of(from, def.of);
      if (!list)
        return;
      fresh.value = std::move(*list);
    } else {
      auto text = feature_store::text_of(from, def.of);
      if (!text)
        return;
      fresh.value = std::move(*text);
    }
    touch();
    auto at =
        std::upper_bound(values.begin(), values.end(), key, [](auto& k, auto& each) { return k < each.key; });
    values.insert(at, std::move(fresh));
    if (values.size() > limit)
      values.erase(values.begin());
    break;
  }
  }
  if (into.tiles.size() > 64 && into.tiles.size() % 64 == 1 && newest_ != never && hop) {
    auto first = first_tile(def, newest_);
    into.tiles.erase(into.tiles.begin(), std::lower_bound(into.tiles.begin(), into.tiles.end(), first,
                                                          [](auto& each, auto i) { return each.index < i; }));
  }
}

void entity_state::trim(const feature_view& view) {
  if (newest_ == never)
    return;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& def = view.features[i];
    if (!def.hop.count())
      continue;
    auto first = first_tile(def, newest_);
    auto old = [&](auto& each) { return each.index < first; };
    std::erase_if(features_[i].tiles, old);
    if (features_[i].more)
      std::erase_if(features_[i].more->tiles, old);
  }
}

/// Adds up the tiles from `first` on. False when no event lies in them.
bool entity_state::fold(const feature_definition& def, slot& from, std::int64_t first, double& number) const {
  if (def.op == operation::distinct_count) {
    if (!from.more)
      return false;
    auto& tiles = from.more->tiles;
    auto begin = std::lower_bound(tiles.begin(), tiles.end(), first,
                                  [](auto& each, auto i) { return each.index < i; });
    if (begin == tiles.end())
      return false;
    if (std::next(begin) == tiles.end()) {
      number = begin->sketch.estimate();
      return true;
    }
    if (std::all_of(begin, tiles.end(), [](auto& each) { return each.sketch.exact(); })) {
      std::vector<std::uint64_t> all;
      for (auto at = begin; at != tiles.end(); ++at)
        all.insert(all.end(), at->sketch.hashes().begin(), at->sketch.hashes().end());
      std::sort(all.begin(), all.end());
      number = static_cast<double>(std::unique(all.begin(), all.end()) - all.begin());
      return true;
    }
    distinct_sketch merged;
    for (auto at = begin; at != tiles.end(); ++at)
      merged.merge(at->sketch);
    number = merged.estimate();
    return true;
  }
  auto begin = from.tiles.begin();
  if (begin != from.tiles.end() && begin->index < first)
    begin =
        std::lower_bound(begin, from.tiles.end(), first, [](auto& each, auto i) { return each.index < i; });
  if (begin == from.tiles.end())
    return false;
  if (def.op == operation::min || def.op == operation::max) {
    number = begin->extreme;
    for (auto at = std::next(begin); at != from.tiles.end(); ++at)
      number = def.op == operation::min ? std::min(number, at->extreme) : std::max(number, at->extreme);
    return true;
  }
  std::uint64_t count = 0;
  store::int128 sum = 0;
  for (auto at = begin; at != from.tiles.end(); ++at) {
    count += at->count;
    sum = add_wrapping(sum, at->sum);
  }
  switch (def.op) {
  case operation::count:
    number = static_cast<double>(count);
    return count > 0;
  case operation::sum:
    number = from_fixed(sum);
    return count > 0;
  case operation::mean:
    number = count ? from_fixed(sum) / static_cast<double>(count) : 0;
    return count > 0;
  default: // rate
    number = count ? static_cast<double>(sum) / static_cast<double>(count) : 0;
    return count > 0;
  }
}

status entity_state::judge(const feature_view& view, const slot& from, std::int64_t at,
                           std::int64_t& age_us) const {
  age_us = since(from.newest, at);
  return view.ttl && age_us > view.ttl->count() ? status::stale : status::present;
}

status entity_state::read_number(const feature_view& view, std::uint32_t feature, std::int64_t at,
                                 double& number, std::int64_t& age_us) {
  auto& def = view.features[feature];
  auto& from = features_[feature];
  number = 0;
  age_us = -1;
  if (from.newest == never)
    return status::missing;
  at = std::max(at, newest_);
  auto hop = def.hop.count();
  auto first = first_tile(def, at);
  if (hop && floor_div(from.newest, hop) < first)
    return status::missing;
  if (def.op == operation::decayed_count) {
    double total = 0;
    bool any = false;
    for (auto& each : from.tiles)
      if (each.index >= first) {
        any = true;
        total += from_fixed(each.sum) * std::exp2(static_cast<double>((each.index + 1) * hop - at) /
                                                  static_cast<double>(def.half_life.count()));
      }
    number = total;
    if (!any)
      return status::missing;
  } else if (def.op == operation::time_since) {
    number = static_cast<double>(since(from.newest, at)) / 1e6;
  } else if (keeps_values(def.op)) {
    if (!from.more || from.more->values.empty())
      return status::missing;
    if (auto known = std::get_if<double>(&from.more->values.back().value))
      number = *known;
  } else {
    if (from.memo_first != first) {
      from.memo_present = fold(def, from, first, from.memo);
      from.memo_first = first;
    }
    if (!from.memo_present)
      return status::missing;
    number = from.memo;
  }
  auto verdict = judge(view, from, at, age_us);
  if (verdict != status::present)
    number = 0;
  return verdict;
}

void entity_state::read(const feature_view& view, std::uint32_t feature, std::int64_t at,
                        feature_value& out) {
  auto& def = view.features[feature];
  out.text.clear();
  out.list.clear();
  out.status = read_number(view, feature, at, out.number, out.age_us);
  if (out.status != status::present || def.type == value_type::number)
    return;
  auto& values = features_[feature].more->values;
  if (def.op == operation::last_n) {
    auto first = first_tile(def, std::max(at, newest_));
    for (auto& each : values)
      if (!def.window || floor_div(each.key.time, def.hop.count()) >= first)
        out.list.push_back(std::get<std::string>(each.value));
  } else if (def.type == value_type::text) {
    out.text = std::get<std::string>(values.back().value);
  } else {
    out.list = std::get<text_list>(values.back().value);
  }
}

namespace {
constexpr std::uint8_t state_format = 1;
}

std::string entity_state::encode(const feature_view& view, form as) {
  trim(view);
  store::encoder out;
  out.octet(state_format);
  out.signed_whole(newest_);
  auto base = newest_ == never ? 0 : newest_;
  for (std::size_t i = 0; i < features_.size(); ++i)
    encode_slot(view.features[i], features_[i], base, as, out);
  return out.take();
}

void entity_state::encode_slot(const feature_definition& def, const slot& from, std::int64_t base, form as,
                               store::encoder& out) {
  if (from.newest == never) {
    out.whole(0);
    return;
  }
  out.whole(1);
  out.signed_whole(base - from.newest);
  if (has_number_tiles(def.op)) {
    out.whole(from.tiles.size());
    std::int64_t before = 0;
    for (auto& each : from.tiles) {
      out.signed_whole(each.index - before);
      before = each.index;
      out.whole(each.count);
      if (def.op == operation::min || def.op == operation::max)
        out.real(each.extreme);
      else if (def.op != operation::count)
        out.wide(each.sum);
    }
  } else if (def.op == operation::distinct_count) {
    out.whole(from.more ? from.more->tiles.size() : 0);
    std::int64_t before = 0;
    if (from.more)
      for (auto& each : from.more->tiles) {
        out.signed_whole(each.index - before);
        before = each.index;
        each.sketch.encode(out);
      }
  } else if (keeps_values(def.op)) {
    out.whole(from.more ? from.more->values.size() : 0);
    if (from.more)
      for (auto& each : from.more->values) {
        out.signed_whole(base - each.key.time);
        if (as == form::stored) {
          out.whole(each.key.partition);
          out.whole(each.key.offset);
        }
        if (auto number = std::get_if<double>(&each.value)) {
          out.real(*number);
        } else if (auto text = std::get_if<std::string>(&each.value)) {
          out.text(*text);
        } else {
          auto& list = std::get<text_list>(each.value);
          out.whole(list.size());
          for (auto& word : list)
            out.text(word);
        }
      }
  }
}

bool entity_state::decode_slot(const feature_definition& def, slot& into, std::int64_t base,
                               store::decoder& in) {
  if (in.whole() == 0)
    return in.ok();
  into.newest = base - in.signed_whole();
  std::int64_t before = 0;
  if (has_number_tiles(def.op)) {
    auto size = in.whole();
    if (size > in.left())
      return false;
    into.tiles.resize(size);
    for (auto& each : into.tiles) {
      each.index = before += in.signed_whole();
      each.count = in.whole();
      if (def.op == operation::min || def.op == operation::max)
        each.extreme = in.real();
      else if (def.op != operation::count)
        each.sum = in.wide();
    }
  } else if (def.op == operation::distinct_count) {
    auto size = in.whole();
    if (size > in.left())
      return false;
    auto& more = more_of(into);
    for (std::uint64_t i = 0; i < size && in.ok(); ++i) {
      before += in.signed_whole();
      more.tiles.push_back({before, distinct_sketch::decode(in)});
    }
  } else if (keeps_values(def.op)) {
    auto size = in.whole();
    if (size > in.left())
      return false;
    auto& more = more_of(into);
    for (std::uint64_t i = 0; i < size && in.ok(); ++i) {
      kept each;
      each.key.time = base - in.signed_whole();
      each.key.partition = static_cast<std::uint32_t>(in.whole());
      each.key.offset = in.whole();
      if (def.op == operation::last_n || def.type == value_type::text) {
        each.value = std::string{in.text()};
      } else if (def.type == value_type::number) {
        each.value = in.real();
      } else {
        text_list list;
        for (auto words = in.whole(); words > 0 && in.ok(); --words)
          list.emplace_back(in.text());
        each.value = std::move(list);
      }
      more.values.push_back(std::move(each));
    }
  }
  return in.ok();
}

expected<entity_state> entity_state::decode(const feature_view& view, std::string_view bytes) {
  store::decoder in{bytes};
  entity_state out{view};
  auto format = in.raw(1);
  if (format.empty() || static_cast<std::uint8_t>(format[0]) != state_format)
    return fail(ec::unsupported_version, "cannot read a state of view {}: format {}", view.name,
                format.empty() ? 0 : static_cast<int>(static_cast<std::uint8_t>(format[0])));
  out.newest_ = in.signed_whole();
  auto base = out.newest_ == never ? 0 : out.newest_;
  for (std::size_t i = 0; i < out.features_.size(); ++i)
    if (!decode_slot(view.features[i], out.features_[i], base, in))
      return fail(ec::corrupt, "cannot read a state of view {}: feature {} does not end in {} bytes",
                  view.name, view.features[i].name, bytes.size());
  if (!in.ok() || !in.done())
    return fail(ec::corrupt, "cannot read a state of view {}: {} bytes too many", view.name, in.left());
  return out;
}

std::size_t entity_state::bytes() const noexcept {
  auto total = sizeof *this + features_.capacity() * sizeof(slot);
  for (auto& each : features_) {
    total += each.tiles.capacity() * sizeof(tile);
    if (each.more) {
      total += sizeof(extra) + each.more->values.capacity() * sizeof(kept);
      for (auto& inner : each.more->tiles)
        total += sizeof(std::int64_t) + inner.sketch.bytes();
      for (auto& value : each.more->values)
        if (auto text = std::get_if<std::string>(&value.value); text && text->capacity() > 15)
          total += text->capacity();
    }
  }
  return total;
}

} // namespace troupe::feature_store
