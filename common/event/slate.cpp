#include "common/event/slate.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <cmath>

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

std::string slate_id(std::string_view request) {
  constexpr std::size_t max_id = 256; // As `check` has it; a request may be four times as long.
  auto id = fmt::format("slate:{}", request);
  return id.size() <= max_id ? id : fmt::format("slate:{}", to_hex(hash_wide(request)));
}

expected<std::uint32_t> position_of(double number) {
  if (number >= 0 && number <= 0xffff'ffffu && std::floor(number) == number)
    return static_cast<std::uint32_t>(number);
  return fail(ec::invalid_argument, "position is {}, not a place from 1, nor 0 where it is not known",
              number);
}

expected<void> check_propensity(double chance) {
  if (chance > 0 && chance <= 1)
    return {};
  return fail(ec::invalid_argument, "propensity {} is not above 0 and up to 1", chance);
}

expected<void> check_positions(std::vector<std::uint32_t>& places) {
  std::ranges::sort(places);
  if (auto twice = std::ranges::adjacent_find(places); twice != places.end())
    return fail(ec::invalid_argument, "shown has position {} twice", *twice);
  return {};
}

record slate::to_record() && {
  record out;
  out.kind = record_kind::slate;
  out.id = slate_id(request_id);
  out.type = impression_type;
  out.user = std::move(user);
  out.event_time = shown_at;
  out.request_id = std::move(request_id);
  out.attributes = std::move(context);
  auto add = [&](std::string_view name, attribute_value value) {
    out.attributes.push_back({std::string{name}, std::move(value)});
  };
  if (!arm.empty())
    add(shown_attribute::arm, std::move(arm));
  if (degraded)
    add(shown_attribute::degraded, true);
  if (!release.empty())
    add(shown_attribute::release, std::move(release));
  if (routing_version != 0)
    add(shown_attribute::routing_version, static_cast<double>(routing_version));
  out.shown = std::move(items);
  normalise(out);
  return out;
}

std::optional<slate> slate::from_record(const wire::Record& from) {
  bool page = from.kind() == wire::RecordKind::slate;
  if (!page && (from.kind() != wire::RecordKind::event || text_of(from.type()) != impression_type))
    return std::nullopt;
  slate out;
  out.request_id = text_of(from.request_id());
  out.user = text_of(from.user());
  out.shown_at = from_micros(from.event_time());
  auto copy = troupe::to_record(from);
  for (auto& each : copy.attributes) {
    if (each.name == shown_attribute::arm)
      out.arm = text_attribute(from, each.name);
    else if (each.name == shown_attribute::release)
      out.release = text_attribute(from, each.name);
    else if (each.name == shown_attribute::routing_version)
      out.routing_version = count_attribute(from, each.name);
    else if (each.name == shown_attribute::degraded)
      out.degraded = find_attribute(from, each.name)->number() != 0;
    else if (page || (each.name != shown_attribute::position && each.name != shown_attribute::propensity))
      out.context.push_back(std::move(each));
  }
  if (page) {
    out.items = std::move(copy.shown);
    return out;
  }
  auto& only = out.items.emplace_back();
  only.item = std::move(copy.item);
  only.position = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(count_attribute(from, shown_attribute::position), UINT32_MAX));
  if (const auto* chance = find_attribute(from, shown_attribute::propensity))
    only.propensity = chance->number();
  return out;
}

} // namespace troupe
