#include "services/cli/simulate_command.hpp"

#include "services/cli/gateway_access.hpp"
#include "services/cli/traffic_statistics.hpp"
#include "services/cli/user_simulator.hpp"

#include "common/command_line/command_line.hpp"
#include "common/event/slate.hpp"
#include "common/http/router.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>

namespace troupe::cli {

namespace {

namespace json = boost::json;
using clock = std::chrono::steady_clock;

struct simulate_options {
  gateway_options gateway;
  synthetic_data::settings config;
  std::string held_out;
  std::uint64_t visits = 1'000;
  std::uint64_t visit_seed = 1;
  unsigned parallel = 4;
  unsigned n = 5;
  bool quiet = false;
};

struct traffic_totals {
  std::map<std::pair<std::string, std::string>, click_sums> arms; ///< By arm and release.
  std::uint64_t degraded = 0, failed = 0, unknown_items = 0;
  std::vector<std::uint32_t> latencies_us;
  std::string last_error;
};

/// Asks for a page, looks at it, clicks, tells. Who comes, and what he would click on, depends on the seeds
/// and the number of the visit only.
void simulate_visit(gateway_access& gateway, const user_simulator& who_comes, const simulate_options& given,
                    std::uint64_t number, traffic_totals& into, std::mutex& mutex) {
  synthetic_data::random source{given.visit_seed, number};
  auto name = who_comes.draw_user(source);
  auto began = clock::now();
  auto answer = gateway.call(
      "GET", fmt::format("/v1/users/{}/recommendations?n={}", http::percent_encode(name), given.n));
  auto us = static_cast<std::uint32_t>((clock::now() - began) / std::chrono::microseconds{1});
  auto fails = [&](const error& err) {
    std::lock_guard lock{mutex};
    ++into.failed;
    into.last_error = render(err);
  };
  if (!answer)
    return fails(answer.error());
  const auto* object = answer->if_object();
  const auto* found = object ? object->if_contains("items") : nullptr;
  const auto* items = found ? found->if_array() : nullptr;
  if (!items)
    return fails({ec::corrupt, "an answer has no items"});
  auto request = text_at(*answer, "request_id"), arm = text_at(*answer, "arm"),
       release = text_at(*answer, "release");
  const auto* reasons = object->if_contains("degraded");
  bool degraded = reasons && reasons->is_array() && !reasons->get_array().empty();
  json::array clicks;
  std::uint64_t unknown = 0;
  auto now = to_rfc3339(wall_now());
  for (std::size_t i = 0; i < items->size(); ++i) {
    auto id = text_at((*items)[i], "item");
    auto coin = source.uniform(); // One per position, whatever stands there.
    auto position = static_cast<unsigned>(i + 1);
    auto chance = who_comes.click_probability(name, id, position);
    if (!chance)
      ++unknown;
    if (!chance || coin >= *chance)
      continue;
    clicks.push_back({{"id", fmt::format("click:{}:{}", request, position)},
                      {"type", "click"},
                      {"user", name},
                      {"item", id},
                      {"event_time", now},
                      {"request_id", request},
                      {"attributes",
                       {{shown_attribute::arm, arm},
                        {shown_attribute::position, position},
                        {shown_attribute::release, release}}}});
  }
  auto clicked = clicks.size();
  if (clicked > 0)
    if (auto told = gateway.call("POST", "/v1/events", json::serialize(clicks)); !told)
      return fails(told.error());
  std::lock_guard lock{mutex};
  into.arms[{arm, release}].add(items->size(), clicked);
  into.degraded += degraded;
  into.unknown_items += unknown;
  into.latencies_us.push_back(us);
}

std::uint32_t at_share(const std::vector<std::uint32_t>& sorted, double share) {
  return sorted.empty() ? 0
                        : sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

void print(const context& context, const simulate_options& given, traffic_totals& all, double seconds) {
  std::ranges::sort(all.latencies_us);
  auto p50 = at_share(all.latencies_us, 0.5), p99 = at_share(all.latencies_us, 0.99);
  json::array arms;
  for (const auto& [key, sums] : all.arms) {
    arms.push_back({{"arm", key.first},
                    {"release", key.second},
                    {"visits", sums.visits},
                    {"impressions", sums.impressions},
                    {"clicks", sums.clicks},
                    {"click_rate", sums.rate()},
                    {"low", sums.rate() - sums.margin()},
                    {"high", sums.rate() + sums.margin()}});
    if (!context.json)
      fmt::print("{:<12} {:<12} {:>8} visits {:>9} shown {:>8} clicks   click rate {:.5f} +- {:.5f}\n",
                 key.first.empty() ? "(no arm)" : key.first, key.second.substr(0, 12), sums.visits,
                 sums.impressions, sums.clicks, sums.rate(), sums.margin());
  }
  json::array differences;
  for (auto a = all.arms.begin(); a != all.arms.end(); ++a)
    for (auto b = std::next(a); b != all.arms.end(); ++b) {
      auto apart = b->second.rate() - a->second.rate();
      auto margin = 1.959964 * std::sqrt(a->second.variance() + b->second.variance());
      differences.push_back({{"arm", b->first.first},
                             {"against", a->first.first},
                             {"difference", apart},
                             {"low", apart - margin},
                             {"high", apart + margin}});
      if (!context.json)
        fmt::print("{} - {}: {:+.5f}, 95 % interval {:+.5f} to {:+.5f}{}\n", b->first.first, a->first.first,
                   apart, apart - margin, apart + margin,
                   std::abs(apart) > margin ? "" : " (no difference can be told)");
    }
  if (context.json)
    fmt::print("{}\n", json::serialize(json::object{{"visits", given.visits},
                                                    {"failed", all.failed},
                                                    {"degraded", all.degraded},
                                                    {"unknown_items", all.unknown_items},
                                                    {"seconds", seconds},
                                                    {"p50_us", p50},
                                                    {"p99_us", p99},
                                                    {"arms", std::move(arms)},
                                                    {"differences", std::move(differences)}}));
  else
    fmt::print("{} visits in {:.1f} s, {} degraded, {} failed{}; answers p50 {:.1f} ms, p99 {:.1f} ms\n",
               given.visits, seconds, all.degraded, all.failed,
               all.failed > 0 ? " (last: " + all.last_error + ")" : "", p50 / 1e3, p99 / 1e3);
}

expected<void> simulate(context& context, const simulate_options& given) {
  TROUPE_CHECK(given.config.validate());
  std::unique_ptr<user_simulator> who_comes;
  if (given.held_out.empty()) {
    who_comes = simulate_synthetic_users(given.config);
  } else {
    TROUPE_TRY(made, simulate_held_out_users(given.held_out, {}));
    who_comes = std::move(made);
  }
  context::watch_interrupt();
  std::vector<gateway_access> gateways;
  for (unsigned i = 0; i < given.parallel; ++i) {
    TROUPE_TRY(made, gateway_access::open(context, given.gateway));
    gateways.push_back(std::move(made));
  }
  traffic_totals all;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{0}, ended{0};
  std::atomic<unsigned> running{given.parallel};
  auto began = clock::now();
  std::vector<std::thread> threads;
  for (auto& gateway : gateways)
    threads.emplace_back([&] {
      for (auto number = next++; number < given.visits && !context::interrupted(); number = next++) {
        simulate_visit(gateway, *who_comes, given, number, all, mutex);
        ++ended;
      }
      --running;
    });
  bool shown = !given.quiet && !context.json && stderr_is_terminal();
  auto seconds = [&] { return std::chrono::duration<double>(clock::now() - began).count(); };
  while (running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds{shown ? 250 : 20});
    if (shown) {
      auto rate = static_cast<double>(ended) / std::max(seconds(), 1e-3);
      fmt::print(stderr, "\r{:3}% {} of {} visits, {:.0f}/s, {:.0f} s left \033[K",
                 ended * 100 / std::max<std::uint64_t>(1, given.visits), ended.load(), given.visits, rate,
                 rate > 0 ? static_cast<double>(given.visits - ended) / rate : 0.0);
      std::fflush(stderr);
    }
  }
  for (auto& each : threads)
    each.join();
  if (shown)
    fmt::print(stderr, "\r\033[K");
  if (all.failed > 0 && all.arms.empty())
    return fail(ec::unavailable, "none of {} visits was answered; the last: {}", all.failed, all.last_error);
  print(context, given, all, seconds());
  if (all.failed > 0)
    context.say_no();
  if (context::interrupted())
    return fail(ec::canceled, "stopped after {} of {} visits", ended.load(), given.visits);
  return {};
}

} // namespace

void add_simulate_commands(command_line::command& app, context& context) {
  auto options = std::make_shared<simulate_options>();
  auto& config = options->config;
  auto* sub = app.add_command(
      "simulate",
      "Simulated users, those of `troupe generate` or with the tastes of held-out events, ask, look, click "
      "and tell; click rate per arm");
  sub->add_option("--held-out", options->held_out,
                  "Events that `troupe split` held out: their users come and like what they took there");
  sub->add_option("--visits", options->visits)
      ->check(command_line::between(1, 1'000'000'000))
      ->show_default();
  sub->add_option("--n", options->n, "Items on a page")->check(command_line::between(1, 100))->show_default();
  sub->add_option("--visit-seed", options->visit_seed, "Another seed: other visits of the same users")
      ->show_default();
  sub->add_option("--parallel", options->parallel, "Users at a time")
      ->check(command_line::between(1, 256))
      ->show_default();
  sub->add_option("--seed", config.seed, "As given to `troupe generate`")->show_default();
  sub->add_option("--users", config.users, "As given to `troupe generate`")->show_default();
  sub->add_option("--items", config.items, "As given to `troupe generate`")->show_default();
  sub->add_option("--item-skew", config.item_skew, "As given to `troupe generate`")->show_default();
  sub->add_option("--user-skew", config.user_skew, "As given to `troupe generate`")->show_default();
  sub->add_flag("--quiet", options->quiet, "No progress line");
  options->gateway.bind(*sub);
  context.command(*sub, [&context, options] { return simulate(context, *options); });
}

} // namespace troupe::cli
