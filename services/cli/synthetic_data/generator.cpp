#include "services/cli/synthetic_data/generator.hpp"

#include "common/event/slate.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::synthetic_data {

namespace {

constexpr double slates_per_session = 3;
constexpr double rating_share = 0.3;
constexpr std::array devices{"phone", "desktop", "tablet"};

std::chrono::microseconds seconds_of(double seconds) {
  return std::chrono::microseconds{static_cast<std::int64_t>(seconds * 1e6)};
}

/// More people are awake in the evening: between 0.4 at 08:00 and 1.6 at 20:00, linear between.
double rhythm(timestamp at) {
  constexpr std::int64_t day = 86'400'000'000;
  auto hour = static_cast<double>(((micros_of(at) % day) + day) % day) / 3.6e9;
  auto away = std::fabs(hour - 8);
  return 0.4 + (away > 12 ? 24 - away : away) / 10;
}

} // namespace

generator::generator(settings config)
    : preferences_{config}, clock_{config.seed, 0xc10c}, session_start_{config.start} {
  // About one item shown in eight is clicked, and a part of the clicks is rated.
  auto per_session = slates_per_session * (1 + config.slate * 0.15);
  auto sessions = std::max(1.0, static_cast<double>(config.events) / per_session);
  mean_gap_us_ = static_cast<double>(config.span.count()) / sessions;
}

std::optional<record> generator::next() {
  // An event may leave when no session still to come can arrive before it.
  while (!finished() && held_.size() < most_held - 2'048 &&
         (held_.empty() || held_.top().arrival >= session_start_))
    make_session();
  if (held_.empty())
    return std::nullopt;
  // The queue offers no way to move out of its top; the copy of the order is what matters to it.
  auto out = std::move(const_cast<held&>(held_.top()).event);
  held_.pop();
  return out;
}

void generator::hold(record event, random& source) {
  auto arrival = event.event_time;
  if (source.uniform() < preferences_.of().late) {
    auto delay = static_cast<double>(preferences_.of().mean_delay.count()) * source.exponential();
    arrival += std::chrono::microseconds{static_cast<std::int64_t>(delay)};
    ++counts_.late;
  }
  if (event.id.empty())
    event.id = fmt::format("w{}-e{}", preferences_.of().seed, order_);
  held_.push({arrival, order_++, std::move(event)});
  held_peak_ = std::max(held_peak_, held_.size());
}

void generator::make_session() {
  auto number = counts_.sessions++;
  random source{preferences_.of().seed, (number << 8) | 0xff};
  auto at = session_start_;
  session_start_ += std::chrono::microseconds{
      1 + static_cast<std::int64_t>(mean_gap_us_ * clock_.exponential() / rhythm(session_start_))};
  auto user = preferences_.draw_user(source);
  auto session = fmt::format("s{}", number);
  auto device = std::string{devices[source.below(devices.size())]};
  auto slates = 1 + source.below(static_cast<std::uint64_t>(2 * slates_per_session) - 1);
  auto event_of = [&](std::string_view type, std::uint64_t item, timestamp when) {
    record out;
    out.type = type;
    out.user = preference_model::user_id(user);
    out.item = preference_model::item_id(item);
    out.event_time = when;
    return out;
  };
  for (std::uint64_t slate = 0; slate < slates; ++slate) {
    if (finished())
      return;
    record shown;
    shown.kind = record_kind::slate;
    shown.request_id = fmt::format("w{}-r{}-{}", preferences_.of().seed, number, slate);
    shown.id = slate_id(shown.request_id);
    shown.type = impression_type;
    shown.user = preference_model::user_id(user);
    shown.event_time = at;
    shown.attributes = {{"device", device}, {"policy", std::string{"logging"}}, {"session", session}};
    std::vector<std::uint64_t> items;
    for (unsigned position = 1; position <= preferences_.of().slate; ++position) {
      items.push_back(preferences_.draw_item(source, at));
      shown.shown.push_back(
          {preference_model::item_id(items.back()), position, preferences_.propensity(items.back(), at)});
    }
    auto request = shown.request_id;
    hold(std::move(shown), source);
    ++counts_.slates;
    counts_.impressions += items.size();
    for (unsigned position = 1; position <= items.size(); ++position) {
      auto item = items[position - 1];
      if (source.uniform() >= preferences_.click_probability(user, item, position, at))
        continue;
      if (finished())
        return;
      auto clicked_at = at + seconds_of(1 + 10 * source.exponential());
      auto click = event_of("click", item, clicked_at);
      click.request_id = request;
      click.attributes = {{std::string{shown_attribute::position}, static_cast<double>(position)},
                          {"session", session}};
      hold(std::move(click), source);
      ++counts_.clicks;
      if (source.uniform() >= rating_share)
        continue;
      if (finished())
        return;
      auto rating = event_of("rating", item, clicked_at + seconds_of(30 + 300 * source.exponential()));
      auto liked = 3 + 0.8 * preferences_.affinity(user, item, at) + 0.5 * source.normal();
      rating.value = std::clamp(std::floor(liked + 0.5), 1.0, 5.0);
      rating.request_id = request;
      hold(std::move(rating), source);
      ++counts_.ratings;
    }
    at += seconds_of(5 + 60 * source.exponential());
  }
}

} // namespace troupe::synthetic_data
