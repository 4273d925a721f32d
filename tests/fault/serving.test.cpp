#include "tests/fault/fault.hpp"
#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"
#include "tests/support/known_release.hpp"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

using namespace troupe::testing;
using clock_type = std::chrono::steady_clock;

namespace {

const auto kills = from_environment("TROUPE_FAULT_SERVING_KILLS", 1); ///< Of each service.
const auto swaps = from_environment("TROUPE_FAULT_SWAPS", 10);

constexpr int items = 100, users = 200;

std::string ms(clock_type::duration span) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(span).count()) + " ms";
}

std::uint32_t micros_since(clock_type::time_point start) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(clock_type::now() - start).count());
}

/// What the load has seen. Times are those at which an answer was there.
struct story {
  std::mutex mutex;
  std::set<std::string> acknowledged;             ///< Ids of events.
  std::map<std::string, std::size_t> impressions; ///< Items shown by request id, where they are to be logged.
  std::vector<clock_type::time_point> degraded, failed, refused;
  std::vector<std::pair<clock_type::time_point, std::uint32_t>> latencies; ///< Of answers, in microseconds.
  std::vector<std::pair<clock_type::time_point, std::uint32_t>> writes;    ///< From the first attempt on.
  std::atomic<std::uint64_t> switched = 0; ///< Requests that the other gateway had to take.
  std::map<std::string, std::uint64_t> reasons;
  std::string last_failure;
};

/// Callers in a closed loop: each asks for a page, and tells of a click until that is acknowledged. There are
/// two gateways; one that does not answer is left for the other, as a balancer would do.
class load {
public:
  load(const fleet& services, story& into, unsigned callers) : services_{services}, into_{into} {
    for (unsigned i = 0; i < callers; ++i)
      threads_.emplace_back([this, i] { run(i); });
  }
  ~load() { stop(); }

  void stop() {
    stop_ = true;
    for (auto& each : threads_)
      if (each.joinable())
        each.join();
  }

private:
  struct connection {
    const fleet& services;
    story& into;
    unsigned at;
    std::optional<troupe::http::client> client{};

    /// Through the other gateway where this one does not answer; nothing when neither does.
    std::optional<troupe::http::response> ask(const std::string& method, const std::string& path,
                                              const std::string& body, std::string& why) {
      for (int attempt = 0; attempt < 2; ++attempt) {
        if (!client) {
          auto text = read_file(services.data() / "run" / ("gateway-" + std::to_string(at % 2) + ".port"));
          auto port = static_cast<std::uint16_t>(std::strtoul(text.c_str(), nullptr, 10));
          client.emplace(troupe::http::client_target{"127.0.0.1", port});
        }
        auto got = client->call(method, path, body, troupe::deadline::in(20s));
        if (got)
          return *got;
        why = got.error().text;
        client.reset();
        ++at;
        ++into.switched;
      }
      return std::nullopt;
    }
  };

  void run(unsigned number) {
    std::mt19937_64 source{fault_seed * 1'000 + number};
    connection to{services_, into_, number};
    for (std::uint64_t turn = 0; !stop_; ++turn) {
      auto user = "u" + std::to_string(source() % users);
      look(to, user);
      auto id = "load:" + std::to_string(round_) + ":" + std::to_string(number) + ":" + std::to_string(turn);
      auto body = R"([{"id":")" + id + R"(","type":"click","user":")" + user + R"(","item":"i)" +
                  std::to_string(source() % items) + R"(","event_time":")" +
                  troupe::to_rfc3339(troupe::wall_now()) + R"("}])";
      auto began = clock_type::now();
      while (!tell(to, id, body, began) && !stop_)
        std::this_thread::sleep_for(20ms);
    }
  }

  void look(connection& to, const std::string& user) {
    std::string why;
    auto began = clock_type::now();
    auto got = to.ask("GET", "/v1/users/" + user + "/recommendations?n=3", {}, why);
    auto now = clock_type::now();
    std::lock_guard lock{into_.mutex};
    if (!got || got->status != 200) {
      into_.failed.push_back(now);
      into_.last_failure = got ? got->body : why;
      return;
    }
    into_.latencies.emplace_back(now, micros_since(began));
    auto read = boost::json::parse(got->body);
    bool logged = true;
    for (auto& reason : read.at("degraded").as_array()) {
      std::string text{reason.as_string()};
      ++into_.reasons[text.substr(0, text.find(':'))];
      logged = logged && !text.starts_with("slate:");
    }
    if (!read.at("degraded").as_array().empty())
      into_.degraded.push_back(now);
    if (logged)
      into_.impressions[std::string{read.at("request_id").as_string()}] = read.at("items").as_array().size();
  }

  bool tell(connection& to, const std::string& id, const std::string& body, clock_type::time_point began) {
    std::string why;
    auto got = to.ask("POST", "/v1/events", body, why);
    std::lock_guard lock{into_.mutex};
    if (got && got->status == 200) {
      auto outcome = boost::json::parse(got->body).at("rows").at(0).at("outcome");
      CHECK_MESSAGE((outcome == "added" || outcome == "duplicate"), got->body);
      into_.acknowledged.insert(id);
      into_.writes.emplace_back(clock_type::now(), micros_since(began));
      return true;
    }
    into_.refused.push_back(clock_type::now());
    return false;
  }

  static inline std::atomic<std::uint64_t> rounds_{0};
  const std::uint64_t round_ = ++rounds_;
  const fleet& services_;
  story& into_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

std::size_t since(const std::vector<clock_type::time_point>& times, clock_type::time_point start) {
  return static_cast<std::size_t>(std::ranges::count_if(times, [&](auto at) { return at >= start; }));
}

/// The last of these after `start`, or `start`.
clock_type::time_point last_of(const std::vector<clock_type::time_point>& times,
                               clock_type::time_point start) {
  return times.empty() ? start : std::max(start, times.back());
}

/// The longest of those that ended after `start`.
clock_type::duration longest(const std::vector<std::pair<clock_type::time_point, std::uint32_t>>& all,
                             clock_type::time_point start) {
  std::uint32_t most = 0;
  for (auto& [at, us] : all)
    if (at >= start)
      most = std::max(most, us);
  return std::chrono::microseconds{most};
}

/// For so long, answers have come and nothing was degraded, failed or refused.
bool whole_for(std::chrono::milliseconds span, story& seen) {
  auto quiet_since = clock_type::now() - span;
  std::lock_guard lock{seen.mutex};
  return since(seen.degraded, quiet_since) == 0 && since(seen.failed, quiet_since) == 0 &&
         since(seen.refused, quiet_since) == 0 && !seen.latencies.empty() &&
         seen.latencies.back().first > quiet_since;
}

std::string release_of(const fleet& services, const std::string& name, float scale) {
  std::vector<float> scores(items);
  for (int i = 0; i < items; ++i)
    scores[static_cast<std::size_t>(i)] = scale * static_cast<float>((i * 37) % items);
  return popularity_release(services, name, scores);
}

void put_into_production(const fleet& services, const std::string& name) {
  auto done = services.troupe({"rollouts", "start", "--release", name, "--follow"});
  REQUIRE_MESSAGE(done.code == 0, done.out, done.err);
}

/// What the log holds under an id.
struct logged {
  int times = 0;
  std::size_t shown = 0; ///< Items, of a slate.
};

std::map<std::string, logged> read_log(const fleet& services) {
  std::map<std::string, logged> all;
  for (auto& line : log_lines(services)) {
    auto row = boost::json::parse(line);
    auto& to = all[std::string{row.at("id").as_string()}];
    ++to.times;
    if (auto* shown = row.as_object().if_contains("shown"))
      to.shown = shown->as_array().size();
  }
  return all;
}

/// Acknowledged events and the slate of every answer are in the log, each once.
void check_log(const fleet& services, story& seen) {
  std::map<std::string, logged> log;
  auto shown = [&](const std::string& request) {
    auto found = log.find("slate:" + request);
    return found == log.end() ? 0 : found->second.shown;
  };
  std::size_t missing = 0;
  wait_until(
      [&] {
        log = read_log(services);
        missing = 0;
        for (auto& [request, count] : seen.impressions)
          missing += shown(request) != count;
        return missing == 0;
      },
      30s);
  std::size_t lost = 0, twice = 0, slates = 0;
  for (auto& id : seen.acknowledged)
    lost += !log.contains(id);
  for (auto& [id, there] : log) {
    twice += there.times != 1;
    slates += id.starts_with("slate:");
  }
  say(std::to_string(seen.acknowledged.size()) + " acknowledged events, " + std::to_string(lost) + " lost; " +
      std::to_string(seen.impressions.size()) + " answers, " + std::to_string(missing) +
      " whose slates are not there whole; " + std::to_string(slates) + " slates and " +
      std::to_string(log.size()) + " records in the log, " + std::to_string(twice) + " of them twice");
  CHECK(lost == 0);
  CHECK(missing == 0);
  CHECK(twice == 0);
}

/// All eight services, two of them gateways, with some history.
void begin(fleet& services) {
  auto catalog = read_file(services.temp() / "catalog.toml");
  auto at = catalog.find("replicas = 1", catalog.find("\n[gateway]"));
  REQUIRE(at != std::string::npos);
  catalog.replace(at, 12, "replicas = 2");
  write_file(services.temp() / "catalog.toml", catalog);
  configure(services, "serving");
  services.up({"--longest-delay", "500ms"});
  auto world = services.temp() / "world";
  services.ask({"generate", "--quiet", "--out", world.string(), "--events", "5000", "--users",
                std::to_string(users), "--items", std::to_string(items)});
  ingest(services, world);
}

} // namespace

TEST_CASE(
    "each of the eight services killed with kill -9 under load: answers go on, flagged where they are less, "
    "nothing acknowledged is lost, impressions are in the log once") {
  say("kills of each service " + std::to_string(kills) + ", seed " + std::to_string(fault_seed) +
      " (TROUPE_FAULT_SEED)");
  fleet services{"fault-serving", quick_rollouts, fault_limit};
  begin(services);
  release_of(services, "first", 1);
  put_into_production(services, "first");
  story seen;
  load callers{services, seen, 4};
  REQUIRE(wait_until([&] { return whole_for(1s, seen); }, 60s));

  for (std::uint64_t round = 0; round < kills; ++round)
    for (auto* service : all_services) {
      auto pid = services.pid_of(service);
      REQUIRE_MESSAGE(pid.has_value(), service);
      auto switched = seen.switched.load();
      auto start = clock_type::now();
      ::kill(*pid, SIGKILL);
      auto back = [&] {
        auto pids = descendants(std::string{"troupe-"} + service);
        return std::ranges::find(pids, *pid) == pids.end() && services.ready_now();
      };
      CHECK_MESSAGE(wait_until(back, 60s), service);
      auto ready = clock_type::now();
      CHECK_MESSAGE(wait_until([&] { return whole_for(1s, seen); }, 60s), service);
      std::lock_guard lock{seen.mutex};
      auto recovered = std::max(
          {last_of(seen.degraded, start), last_of(seen.failed, start), last_of(seen.refused, start)});
      say(std::string{"killed "} + service + ": ready again after " + ms(ready - start) + "; " +
          std::to_string(since(seen.degraded, start)) + " degraded answers, " +
          std::to_string(since(seen.failed, start)) + " failed, " +
          std::to_string(since(seen.refused, start)) + " writes refused, the last of these after " +
          ms(recovered - start) + "; " + std::to_string(seen.switched - switched) +
          " requests taken by the other gateway; longest answer " + ms(longest(seen.latencies, start)) +
          ", longest write " + ms(longest(seen.writes, start)));
      CHECK_MESSAGE(since(seen.failed, start) == 0, service, ": ", seen.last_failure);
    }
  // A ranker that was killed may be back before its callers lose patience; one that hangs is not.
  auto hung = services.pid_of("ranker");
  REQUIRE(hung.has_value());
  auto begin_hang = clock_type::now();
  ::kill(*hung, SIGSTOP);
  CHECK_MESSAGE(wait_until(
                    [&] {
                      std::lock_guard lock{seen.mutex};
                      return since(seen.degraded, begin_hang) > 3;
                    },
                    20s),
                "answers without a ranker have to come, and to say so");
  ::kill(*hung, SIGCONT);
  CHECK(wait_until([&] { return whole_for(1s, seen); }, 60s));
  callers.stop();
  CHECK_MESSAGE(since(seen.failed, begin_hang) == 0, seen.last_failure);
  for (auto& [reason, count] : seen.reasons)
    say("degraded, " + reason + ": " + std::to_string(count));
  check_log(services, seen);
  CHECK(services.down());
}

TEST_CASE(
    "releases are swapped under load: no request fails, is refused or degraded, and the log has all of it") {
  fleet services{"fault-swaps", quick_rollouts, fault_limit};
  begin(services);
  for (int i = 0; i < 3; ++i)
    release_of(services, "swap" + std::to_string(i), i % 2 == 0 ? 1.0f + static_cast<float>(i) : -1);
  put_into_production(services, "swap0");
  story seen;
  load callers{services, seen, 4};
  REQUIRE(wait_until([&] { return whole_for(1s, seen); }, 60s));
  auto start = clock_type::now();
  caller http{services};
  auto spec = services.temp() / "swap.toml";
  write_file(spec, "strategy = 'blue-green'\npause = '1h'\n");
  for (std::uint64_t i = 1; i <= swaps; ++i) {
    auto name = "swap" + std::to_string(i % 3);
    services.ask({"rollouts", "start", "--spec", spec.string(), "--release", name});
    auto state = [&] {
      return std::string{http.good("GET", "/v1/rollouts/current").at("state").as_string()};
    };
    REQUIRE(wait_until([&] { return state() == "running"; }, 30s));
    http.good("POST", "/v1/rollouts/current/promote", R"({"reason":"swap under load"})");
    REQUIRE(wait_until([&] { return state() == "done"; }, 30s));
  }
  say(std::to_string(swaps) + " swaps in " + ms(clock_type::now() - start));
  callers.stop();

  CHECK_MESSAGE(since(seen.failed, start) == 0, seen.last_failure);
  CHECK(since(seen.refused, start) == 0);
  CHECK(since(seen.degraded, start) == 0);
  for (auto& [reason, count] : seen.reasons)
    say("degraded, " + reason + ": " + std::to_string(count));
  check_log(services, seen);
  CHECK(services.down());
}
