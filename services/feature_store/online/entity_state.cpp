#include "services/feature_store/online/entity_state.hpp"

#include <algorithm>

// A state is its format, the time of its newest event if there is any, and of every feature the length of
// what follows, how much older its own newest event is, and what its operator writes; a length of 0 where no
// record counts for it.

namespace troupe::feature_store {

namespace {

auto broken(const feature_view& view, std::size_t feature) {
  return fail(ec::corrupt, "cannot read a state of view {}: feature {} does not end where it should",
              view.name, view.features[feature].name);
}

/// Of a state without events the format alone, with this bit.
constexpr std::uint8_t no_events = 0x80;

void write_head(std::int64_t newest, store::encoder& out) {
  out.octet(newest == never ? state_format | no_events : state_format);
  if (newest != never)
    out.signed_whole(newest);
}

/// Gives up where the format is another one.
std::int64_t read_head(store::decoder& in) {
  auto format = in.octet();
  if ((format & ~no_events) != state_format)
    in.give_up();
  return format & no_events ? never : in.signed_whole();
}

std::int64_t base_of(std::int64_t newest) noexcept {
  return newest == never ? 0 : newest;
}

/// What `features_that_take` has looked at.
bool is_of_type(const field_predicate& rule) noexcept {
  return rule.what.of == field::part::type && std::holds_alternative<std::string>(rule.equals);
}

} // namespace

std::vector<std::uint16_t> features_that_take(const feature_view& view, record_kind kind,
                                              std::string_view type) {
  bool event = kind == record_kind::event;
  std::vector<std::uint16_t> out;
  for (std::size_t i = 0; i < view.features.size(); ++i) {
    auto& def = view.features[i];
    bool right = std::all_of(def.where.begin(), def.where.end(), [&](auto& rule) {
      return !is_of_type(rule) || std::get<std::string>(rule.equals) == type;
    });
    if (def.op->of_entity() != event && right && (!event || def.op->takes_type(def, type)))
      out.push_back(static_cast<std::uint16_t>(i));
  }
  return out;
}

void entity_state::clear() noexcept {
  newest_ = never;
  for (auto& each : features_) {
    each.is_open = false;
    each.encoded = {};
    each.open.newest = never;
  }
}

expected<void> entity_state::open(const feature_view& view, std::string_view bytes) {
  store::decoder in{bytes};
  newest_ = read_head(in);
  for (std::size_t i = 0; i < features_.size(); ++i) {
    features_[i].is_open = false;
    features_[i].encoded = in.text();
    if (!in.ok())
      return broken(view, i);
  }
  if (!in.done())
    return fail(ec::corrupt, "cannot read a state of view {}: {} bytes too many", view.name, in.left());
  // What every feature's time is relative to changes with the newest event.
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& each = features_[i];
    each.open.newest = never;
    if (each.encoded.empty())
      continue;
    store::decoder head{each.encoded};
    each.open.newest = base_of(newest_) - head.signed_whole();
    if (!head.ok())
      return broken(view, i);
    each.encoded.remove_prefix(each.encoded.size() - head.left());
  }
  return {};
}

expected<slot*> entity_state::opened(const feature_view& view, std::size_t feature) {
  auto& of = features_[feature];
  if (of.is_open)
    return &of.open;
  auto newest = of.open.newest;
  of.open.clear();
  of.is_open = true;
  if (newest == never)
    return &of.open;
  of.open.newest = newest;
  store::decoder in{of.encoded};
  if (!view.features[feature].op->decode(view.features[feature], of.open, in) || !in.done())
    return broken(view, feature);
  return &of.open;
}

expected<void> entity_state::apply(const feature_view& view, const feature_event& from,
                                   std::span<const std::uint16_t> features) {
  if (from.kind == record_kind::event && from.event_time > newest_)
    newest_ = from.event_time;
  for (auto i : features) {
    auto& def = view.features[i];
    if (!std::all_of(def.where.begin(), def.where.end(),
                     [&](auto& rule) { return is_of_type(rule) || holds(from, rule); }))
      continue;
    TROUPE_TRY(into, opened(view, i));
    def.op->apply(def, from, newest_, *into);
  }
  return {};
}

/// Drops tiles that no reading will see any more, also where no record has changed the feature.
expected<void> entity_state::trim(const feature_view& view, std::size_t feature) {
  auto& def = view.features[feature];
  auto& of = features_[feature];
  if (newest_ == never || !def.hop.count())
    return {};
  auto first = def.op->first_tile(def, newest_);
  if (!of.is_open) {
    auto oldest = of.encoded.empty() ? std::nullopt : def.op->oldest_tile(def, of.open.newest, of.encoded);
    if (!oldest || *oldest >= first)
      return {};
  }
  TROUPE_TRY(open, opened(view, feature));
  if (open->broken)
    return broken(view, feature);
  if (open->older_tiles > 0 && open->oldest >= first)
    return {};
  if (!def.op->open_older(*open))
    return broken(view, feature);
  auto drop = [first](auto& tiles) { tiles.erase(tiles.begin(), tiles_from(tiles, first)); };
  drop(open->tiles);
  drop(open->seen);
  return {};
}

expected<void> entity_state::encode(const feature_view& view, std::string& out, form as) {
  state_.clear();
  write_head(newest_, state_);
  for (std::size_t i = 0; i < features_.size(); ++i) {
    if (as == form::content)
      TROUPE_CHECK(opened(view, i));
    TROUPE_CHECK(trim(view, i));
    auto& each = features_[i];
    slot_.clear();
    if (each.open.newest != never) {
      slot_.signed_whole(base_of(newest_) - each.open.newest);
      if (each.is_open)
        view.features[i].op->encode(view.features[i], each.open, as, slot_);
      else
        slot_.raw(each.encoded);
    }
    state_.text(slot_.bytes());
  }
  out += state_.bytes();
  return {};
}

state_reader::state_reader(const feature_view& view, std::string_view bytes)
    : view_{view}, in_{bytes}, newest_{read_head(in_)} {}

bool state_reader::read(std::uint32_t feature, const reading& when, feature_value& out) {
  out.status = status::missing;
  out.age_us = -1;
  out.number = 0;
  out.words.clear();
  for (; next_ < feature; ++next_)
    static_cast<void>(in_.text());
  ++next_;
  auto encoded = in_.text();
  if (encoded.empty())
    return in_.ok();
  auto& def = view_.features[feature];
  store::decoder in{encoded};
  auto newest = base_of(newest_) - in.signed_whole();
  return when.at < newest_ ? value_of(def, in, newest, {def, newest_}, out)
                           : value_of(def, in, newest, when, out);
}

bool state_reader::value_of(const feature_definition& def, store::decoder& in, std::int64_t newest,
                            const reading& when, feature_value& out) const {
  if (newest < when.since)
    return in.ok();
  bool present = def.op->read(def, in, newest, when, out.number, out.words);
  if (!present || !in.ok()) {
    out.number = 0;
    out.words.clear();
    return in.ok();
  }
  out.age_us = std::max<std::int64_t>(0, when.at - newest);
  out.status = view_.ttl && out.age_us > view_.ttl->count() ? status::stale : status::present;
  if (out.status == status::stale) {
    out.number = 0;
    out.words.clear();
  }
  return true;
}

expected<void> state_reader::why(std::uint32_t feature) const {
  return broken(view_, feature);
}

std::int64_t newest_of(std::string_view state) {
  store::decoder in{state};
  auto newest = read_head(in);
  return in.ok() ? newest : never;
}

} // namespace troupe::feature_store
