#include "services/feature_store/online/entity_state.hpp"

#include <algorithm>

namespace troupe::feature_store {

void entity_state::apply(const feature_view& view, const feature_event& from) {
  bool event = from.kind == record_kind::event;
  if (event && from.event_time > newest_)
    newest_ = from.event_time;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& def = view.features[i];
    if (def.op->of_entity() == event)
      continue;
    if (std::all_of(def.where.begin(), def.where.end(), [&](auto& rule) { return holds(from, rule); }))
      def.op->apply(def, from, newest_, features_[i]);
  }
}

void entity_state::trim(const feature_view& view) {
  if (newest_ == never)
    return;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& def = view.features[i];
    if (!def.hop.count())
      continue;
    auto first = def.op->first_tile(def, newest_);
    auto old = [&](auto& each) { return each.index < first; };
    std::erase_if(features_[i].tiles, old);
    if (features_[i].more)
      std::erase_if(features_[i].more->tiles, old);
  }
}

status entity_state::freshness(const feature_view& view, const slot& from, std::int64_t at,
                               std::int64_t& age_us) const {
  age_us = std::max<std::int64_t>(0, at - from.newest);
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
  auto first = def.op->first_tile(def, at);
  if (def.hop.count() && floor_div(from.newest, def.hop.count()) < first)
    return status::missing;
  double value = 0;
  if (!def.op->fold(def, from, first, at, value))
    return status::missing;
  auto is = freshness(view, from, at, age_us);
  if (is == status::present)
    number = value;
  return is;
}

void entity_state::read(const feature_view& view, std::uint32_t feature, std::int64_t at,
                        feature_value& out) {
  auto& def = view.features[feature];
  out.text.clear();
  out.list.clear();
  out.status = read_number(view, feature, at, out.number, out.age_us);
  if (out.status == status::present && def.type != value_type::number)
    def.op->fold_words(def, features_[feature], def.op->first_tile(def, std::max(at, newest_)), out);
}

std::string entity_state::encode(const feature_view& view, form as) {
  trim(view);
  store::encoder out;
  out.octet(state_format);
  out.signed_whole(newest_);
  auto base = newest_ == never ? 0 : newest_;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    auto& from = features_[i];
    out.whole(from.newest != never);
    if (from.newest == never)
      continue;
    out.signed_whole(base - from.newest);
    view.features[i].op->encode(view.features[i], from, base, as, out);
  }
  return out.take();
}

expected<entity_state> entity_state::decode(const feature_view& view, std::string_view bytes) {
  store::decoder in{bytes};
  entity_state out{view};
  if (auto format = in.octet(); format != state_format)
    return fail(ec::unsupported_version, "cannot read a state of view {}: format {}", view.name, format);
  out.newest_ = in.signed_whole();
  auto base = out.newest_ == never ? 0 : out.newest_;
  for (std::size_t i = 0; i < out.features_.size(); ++i) {
    auto& into = out.features_[i];
    bool good = true;
    if (in.whole() != 0) {
      into.newest = base - in.signed_whole();
      good = view.features[i].op->decode(view.features[i], into, base, in);
    }
    if (!good || !in.ok())
      return fail(ec::corrupt, "cannot read a state of view {}: feature {} does not end in {} bytes",
                  view.name, view.features[i].name, bytes.size());
  }
  if (!in.done())
    return fail(ec::corrupt, "cannot read a state of view {}: {} bytes too many", view.name, in.left());
  return out;
}

std::size_t entity_state::bytes() const noexcept {
  auto total = sizeof *this + features_.capacity() * sizeof(slot);
  for (auto& each : features_) {
    total += each.tiles.capacity() * sizeof(tile);
    if (each.more) {
      total += sizeof(slot::extra) + each.more->values.capacity() * sizeof(kept_value);
      for (auto& inner : each.more->tiles)
        total += sizeof(distinct_tile) + inner.seen.bytes();
      for (auto& value : each.more->values)
        if (auto* text = std::get_if<std::string>(&value.value); text && text->capacity() > 15)
          total += text->capacity();
    }
  }
  return total;
}

} // namespace troupe::feature_store
