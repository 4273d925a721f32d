#include "common/event/impression.hpp"

#include <algorithm>

namespace troupe {

namespace {

/// A whole number that is there and in range; 0 for any other.
std::uint64_t count_attribute(const wire::Record& from, std::string_view name) noexcept {
  const auto* found = find_attribute(from, name);
  if (!found || !(found->number() >= 1) || found->number() > 0x1p53)
    return 0;
  return static_cast<std::uint64_t>(found->number());
}

} // namespace

record impression::to_record() const {
  record out;
  out.id = fmt::format("imp:{}:{}", request_id, position);
  out.type = impression_type;
  out.user = user;
  out.item = item;
  out.event_time = shown_at;
  out.request_id = request_id;
  auto add = [&](std::string_view name, attribute_value value) {
    out.attributes.push_back({std::string{name}, std::move(value)});
  };
  add(shown_attribute::arm, arm);
  add(shown_attribute::degraded, degraded);
  add(shown_attribute::position, static_cast<double>(position));
  add(shown_attribute::propensity, propensity);
  add(shown_attribute::release, release);
  add(shown_attribute::routing_version, static_cast<double>(routing_version));
  return out;
}

std::optional<impression> impression::from_record(const wire::Record& from) {
  if (from.kind() != wire::RecordKind::event || text_of(from.type()) != impression_type)
    return std::nullopt;
  impression out;
  out.request_id = text_of(from.request_id());
  out.user = text_of(from.user());
  out.item = text_of(from.item());
  out.shown_at = from_micros(from.event_time());
  out.position = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(count_attribute(from, shown_attribute::position), UINT32_MAX));
  if (const auto* chance = find_attribute(from, shown_attribute::propensity))
    out.propensity = chance->number();
  out.arm = text_attribute(from, shown_attribute::arm);
  out.release = text_attribute(from, shown_attribute::release);
  out.routing_version = count_attribute(from, shown_attribute::routing_version);
  if (const auto* flag = find_attribute(from, shown_attribute::degraded))
    out.degraded = flag->number() != 0;
  return out;
}

} // namespace troupe
