#include "services/cli/synthetic_data/preference_model.hpp"

#include <cmath>

namespace troupe::synthetic_data {

namespace {

// Numbers of the random streams; each thing that is drawn has its own.
enum stream : std::uint64_t {
  user_taste = 1,
  user_new_taste,
  item_nature,
  user_face,
  item_face,
  value_draws
};

constexpr double attraction_bias = -2.0;

std::uint64_t stream_of(stream kind, std::uint64_t index) noexcept {
  return (index << 8) | static_cast<std::uint64_t>(kind);
}

constexpr std::array countries{"DE", "FR", "IN", "US", "BR", "JP", "NG", "PL", "VN", "MX"};
constexpr std::array genres{"action",  "comedy",  "crime",   "documentary",
                            "fantasy", "history", "romance", "thriller"};
constexpr std::array words{"Silent", "Golden", "Señor", "Broken", "Étoile", "Winter", "Last", "Ōkami"};
constexpr std::array nouns{"River",  "Harbour", "Garden",   "Machine",
                           "Straße", "Letter",  "Mountain", "Promise"};

bool within(double x, double low, double high) {
  return x >= low && x <= high;
}

} // namespace

expected<void> settings::validate() const {
  auto refuse = [](std::string_view key, auto value, std::string_view allowed) {
    return fail(ec::invalid_argument, "cannot generate data: {} is {}, allowed is {}", key, value, allowed);
  };
  if (users < 1 || users > 1'000'000'000)
    return refuse("users", users, "1 to 1000000000");
  if (items < 1 || items > 100'000'000)
    return refuse("items", items, "1 to 100000000");
  if (events > 1'000'000'000'000)
    return refuse("events", events, "0 to 1000000000000");
  if (!within(item_skew, 0.01, 5))
    return refuse("item-skew", item_skew, "0.01 to 5");
  if (!within(user_skew, 0.01, 5))
    return refuse("user-skew", user_skew, "0.01 to 5");
  if (!within(exploration, 0, 1))
    return refuse("exploration", exploration, "0 to 1");
  if (slate < 1 || slate > 100)
    return refuse("slate", slate, "1 to 100");
  if (!within(late, 0, 1))
    return refuse("late", late, "0 to 1");
  if (drift_at && !within(*drift_at, 0, 1))
    return refuse("drift-at", *drift_at, "0 to 1, a share of the span");
  if (span < std::chrono::seconds{1} || span > std::chrono::days{36'500})
    return refuse("span", to_duration_text(span), "1s to 36500d");
  if (mean_delay < std::chrono::microseconds{1} || mean_delay > std::chrono::days{365})
    return refuse("mean-delay", to_duration_text(mean_delay), "1us to 365d");
  return {};
}

preference_model::preference_model(settings config)
    : settings_{config}, popularity_{config.items, config.item_skew},
      activity_{config.users, config.user_skew}, item_of_rank_{config.items, random::mix(config.seed + 1)},
      item_of_rank_drifted_{config.items, random::mix(config.seed + 2)}, user_of_rank_{
                                                                             config.users,
                                                                             random::mix(config.seed + 3)} {
  if (config.drift_at)
    drift_time_ = config.start + std::chrono::microseconds{static_cast<std::int64_t>(
                                     *config.drift_at * static_cast<double>(config.span.count()))};
}

preference_model::vector preference_model::user_factors(std::uint64_t user, bool drifted) const noexcept {
  random source{settings_.seed, stream_of(drifted ? user_new_taste : user_taste, user)};
  vector out;
  for (auto& x : out)
    x = source.normal();
  return out;
}

preference_model::vector preference_model::item_factors(std::uint64_t item) const noexcept {
  random source{settings_.seed, stream_of(item_nature, item)};
  vector out;
  for (auto& x : out)
    x = source.normal();
  return out;
}

double preference_model::quality(std::uint64_t item) const noexcept {
  random source{~settings_.seed, stream_of(item_nature, item)};
  return source.normal();
}

double preference_model::affinity(std::uint64_t user, std::uint64_t item, timestamp at) const noexcept {
  auto taste = user_factors(user, drifted(at));
  auto nature = item_factors(item);
  double dot = 0;
  for (std::size_t i = 0; i < factors; ++i)
    dot += taste[i] * nature[i];
  return quality(item) + dot / std::sqrt(static_cast<double>(factors));
}

double preference_model::click_probability(std::uint64_t user, std::uint64_t item, unsigned position,
                                           timestamp at) const noexcept {
  return examination(position) * sigmoid(attraction_bias + affinity(user, item, at));
}

double preference_model::propensity(std::uint64_t item, timestamp at) const noexcept {
  auto& ranks = drifted(at) ? item_of_rank_drifted_ : item_of_rank_;
  auto popular = popularity_.probability(ranks.backward(item) + 1);
  return (1 - settings_.exploration) * popular + settings_.exploration / static_cast<double>(settings_.items);
}

std::uint64_t preference_model::draw_item(random& source, timestamp at) const noexcept {
  if (source.uniform() < settings_.exploration)
    return source.below(settings_.items);
  auto& ranks = drifted(at) ? item_of_rank_drifted_ : item_of_rank_;
  return ranks.forward(popularity_.sample(source) - 1);
}

std::uint64_t preference_model::draw_user(random& source) const noexcept {
  return user_of_rank_.forward(activity_.sample(source) - 1);
}

double preference_model::policy_value(bool uniform, timestamp at, std::uint64_t draws) const noexcept {
  random source{settings_.seed, stream_of(value_draws, uniform)};
  double sum = 0;
  for (std::uint64_t i = 0; i < draws; ++i) {
    auto user = draw_user(source);
    auto item = uniform ? source.below(settings_.items) : draw_item(source, at);
    sum += click_probability(user, item, static_cast<unsigned>(1 + i % settings_.slate), at);
  }
  return draws == 0 ? 0 : sum / static_cast<double>(draws);
}

record preference_model::user_record(std::uint64_t user) const {
  random source{settings_.seed, stream_of(user_face, user)};
  record out;
  out.kind = record_kind::user;
  out.id = fmt::format("w{}-u{}", settings_.seed, user);
  out.user = user_id(user);
  out.event_time = settings_.start;
  out.attributes.push_back({"age", static_cast<double>(16 + source.below(64))});
  out.attributes.push_back({"country", std::string{countries[source.below(countries.size())]}});
  out.attributes.push_back({"premium", source.uniform() < 0.2});
  return out;
}

record preference_model::item_record(std::uint64_t item) const {
  random source{settings_.seed, stream_of(item_face, item)};
  record out;
  out.kind = record_kind::item;
  out.id = fmt::format("w{}-i{}", settings_.seed, item);
  out.item = item_id(item);
  out.event_time = settings_.start;
  // The genres are the signs of the strongest latent factors: content does tell something about taste.
  auto nature = item_factors(item);
  text_list labels;
  for (std::size_t i = 0; i < factors; ++i)
    if (nature[i] > 1)
      labels.emplace_back(genres[i]);
  if (labels.empty())
    labels.emplace_back("drama");
  out.attributes.push_back({"genres", std::move(labels)});
  out.attributes.push_back({"price", static_cast<double>(99 + 100 * source.below(50)) / 100});
  out.attributes.push_back({"title", fmt::format("{} {} {}", words[source.below(words.size())],
                                                 nouns[source.below(nouns.size())], item)});
  out.attributes.push_back({"year", static_cast<double>(1950 + source.below(76))});
  return out;
}

std::string preference_model::json() const {
  auto& s = settings_;
  auto end = s.start + s.span;
  auto drift = drift_time_ ? fmt::format("\"{}\"", to_rfc3339(*drift_time_)) : std::string{"null"};
  return fmt::format(
      R"j({{"seed":{},"users":{},"items":{},"events":{},"start":"{}","end":"{}","drift_time":{},)j"
      R"j("item_skew":{},"user_skew":{},"exploration":{},"slate":{},"late":{},)j"
      R"j("click_model":{{"name":"position-based","examination":"1/(1+0.5*(position-1))",)j"
      R"j("attraction":"sigmoid({}+quality+dot(user,item)/sqrt({}))","factors":{}}},)j"
      R"j("policy_value":{{"logging":{},"uniform":{},"logging_at_end":{},"uniform_at_end":{}}}}})j"
      "\n",
      s.seed, s.users, s.items, s.events, to_rfc3339(s.start), to_rfc3339(end), drift, s.item_skew,
      s.user_skew, s.exploration, s.slate, s.late, attraction_bias, factors, factors,
      policy_value(false, s.start), policy_value(true, s.start), policy_value(false, end),
      policy_value(true, end));
}

} // namespace troupe::synthetic_data
