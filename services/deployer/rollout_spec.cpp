#include "services/deployer/rollout_spec.hpp"

#include "common/core/time.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace troupe::deployer {

namespace {

constexpr std::array<std::string_view, 5> names{"canary", "ab", "shadow", "blue-green", "rolling"};

unexpected<error> wrong(const toml::node& at, std::string_view key, std::string_view what) {
  return fail(ec::invalid_argument, "line {} of the rollout: {} {}", at.source().begin.line, key, what);
}

expected<void> read(const toml::node& from, std::string_view key, double least, double most, double& to) {
  auto value = from.value<double>();
  if (!value || !(*value >= least && *value <= most))
    return wrong(from, key, fmt::format("must be a number, {} to {}", least, most));
  to = *value;
  return {};
}

expected<void> read(const toml::node& from, std::string_view key, bool& to) {
  auto value = from.value<bool>();
  if (!value)
    return wrong(from, key, "must be true or false");
  to = *value;
  return {};
}

expected<void> read(const toml::node& from, std::string_view key, std::string& to) {
  auto value = from.value<std::string>();
  if (!value || value->empty() || value->size() > 256)
    return wrong(from, key, "must be a text of 1 to 256 bytes");
  to = *value;
  return {};
}

expected<void> read(const toml::node& from, std::string_view key, std::chrono::microseconds most,
                    std::chrono::microseconds& to) {
  auto value = from.value<std::string>();
  auto span = value ? parse_duration(*value)
                    : expected<std::chrono::microseconds>{fail(ec::invalid_argument, "not a text")};
  if (!span || *span > most)
    return wrong(from, key,
                 fmt::format("must be a duration such as \"30s\", at most {}", to_duration_text(most)));
  to = *span;
  return {};
}

expected<void> read_steps(const toml::node& from, std::vector<double>& to) {
  auto* list = from.as_array();
  if (list == nullptr || list->empty() || list->size() > 100)
    return wrong(from, "steps", "must be a list of 1 to 100 percentages");
  for (auto& each : *list) {
    double percent = 0;
    TROUPE_CHECK(read(each, "steps", 0.01, 100, percent));
    if (!to.empty() && percent / 100 <= to.back())
      return wrong(each, "steps", "must grow");
    to.push_back(percent / 100);
  }
  return {};
}

expected<void> read_verdict(const toml::table& from, verdict_rules& to) {
  for (auto&& [name, node] : from) {
    std::string_view key{name};
    if (key == "min_sample") {
      auto value = node.value<std::int64_t>();
      if (!value || *value < 1 || *value > 1'000'000'000)
        return wrong(node, key, "must be a whole number, 1 to 1000000000");
      to.min_sample = static_cast<std::uint64_t>(*value);
    } else if (key == "alpha")
      TROUPE_CHECK(read(node, key, 1e-9, 0.5, to.alpha));
    else if (key == "error_rate")
      TROUPE_CHECK(read(node, key, 1e-6, 0.999, to.error_rate));
    else if (key == "degraded")
      TROUPE_CHECK(read(node, key, 1e-6, 0.999, to.degraded));
    else if (key == "p50" || key == "p95" || key == "p99")
      TROUPE_CHECK(read(node, key, std::chrono::hours{1},
                        key == "p50"   ? to.p50
                        : key == "p95" ? to.p95
                                       : to.p99));
    else if (key == "click_rate")
      TROUPE_CHECK(read(node, key, to.click_rate));
    else if (key == "click_margin")
      TROUPE_CHECK(read(node, key, 0.001, 0.999, to.click_margin));
    else if (key == "overlap")
      TROUPE_CHECK(read(node, key, 0, 1, to.overlap));
    else if (key == "rank_correlation")
      TROUPE_CHECK(read(node, key, -1, 1, to.rank_correlation));
    else
      return wrong(node, key,
                   "is no key of [verdict]: it has min_sample, alpha, error_rate, degraded, p50, p95, p99, "
                   "click_rate, click_margin, overlap, rank_correlation");
  }
  return {};
}

/// What a strategy does where nothing else is asked for.
void set_defaults(rollout_spec& to) {
  using namespace std::chrono_literals;
  switch (to.strategy) {
  case strategy::canary:
    to.steps = {0.05, 0.25, 0.5, 1};
    break;
  case strategy::ab:
    to.steps = {0.5};
    break;
  case strategy::shadow:
    break;
  case strategy::blue_green:
    to.steps = {1};
    to.pause = 10min;
    to.verdict.click_rate = false; // Nobody is left to compare with.
    break;
  case strategy::rolling: // Its steps are the replicas.
    to.pause = 10s;
    to.verdict.click_rate = false;
    break;
  }
}

} // namespace

std::string_view to_string(strategy from) noexcept {
  return names[static_cast<std::size_t>(from)];
}

expected<rollout_spec> rollout_spec::parse(std::string_view text) {
  rollout_spec made;
  try {
    auto root = toml::parse(text, std::string{"rollout"});
    if (auto* node = root.get("strategy")) {
      std::string name;
      TROUPE_CHECK(read(*node, "strategy", name));
      auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end())
        return wrong(*node, "strategy", "must be canary, ab, shadow, blue-green or rolling");
      made.strategy = static_cast<deployer::strategy>(found - names.begin());
    }
    set_defaults(made);
    for (auto&& [name, node] : root) {
      std::string_view key{name};
      if (key == "strategy")
        continue;
      if (key == "release")
        TROUPE_CHECK(read(node, key, made.release));
      else if (key == "steps") {
        made.steps.clear();
        TROUPE_CHECK(read_steps(node, made.steps));
      } else if (key == "pause")
        TROUPE_CHECK(read(node, key, std::chrono::hours{24 * 30}, made.pause));
      else if (key == "baseline")
        TROUPE_CHECK(read(node, key, made.baseline));
      else if (key == "salt")
        TROUPE_CHECK(read(node, key, made.salt));
      else if (key == "give_up")
        TROUPE_CHECK(read(node, key, std::chrono::hours{24 * 365}, made.give_up));
      else if (key == "prepare_timeout")
        TROUPE_CHECK(read(node, key, std::chrono::hours{24}, made.prepare_timeout));
      else if (key == "verdict" && node.is_table())
        TROUPE_CHECK(read_verdict(*node.as_table(), made.verdict));
      else
        return wrong(
            node, key,
            "is no key of a rollout: it has strategy, release, steps, pause, baseline, salt, give_up, "
            "prepare_timeout and the table [verdict]");
    }
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "line {} of the rollout: {}", err.source().begin.line,
                err.description());
  }
  if (made.release.empty())
    return fail(ec::invalid_argument, "the rollout does not name its release");
  auto one_step = made.strategy == strategy::ab || made.strategy == strategy::blue_green;
  if (one_step && made.steps.size() != 1)
    return fail(ec::invalid_argument, "a rollout by {} has one step", to_string(made.strategy));
  if (made.strategy == strategy::ab && made.steps[0] >= 1)
    return fail(ec::invalid_argument, "an A/B rollout needs users in both arms: steps below 100");
  if (made.strategy == strategy::blue_green && made.steps[0] < 1)
    return fail(ec::invalid_argument, "a blue-green rollout moves everybody at once: steps = [100]");
  if ((made.strategy == strategy::shadow || made.strategy == strategy::rolling) && !made.steps.empty())
    return fail(ec::invalid_argument, "a rollout by {} has no steps to give", to_string(made.strategy));
  if (made.strategy == strategy::ab && !made.verdict.click_rate)
    return fail(ec::invalid_argument, "an A/B rollout is judged by its click rate; leave click_rate on");
  if (made.baseline && made.strategy != strategy::canary)
    return fail(ec::invalid_argument, "only a canary has a baseline arm");
  if (made.strategy == strategy::blue_green && made.verdict.click_rate)
    return fail(ec::invalid_argument,
                "click_rate cannot be judged: blue-green leaves nobody to compare with");
  return made;
}

} // namespace troupe::deployer
