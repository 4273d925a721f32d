#include "tests/support/input.hpp"
#include "tests/support/known_release.hpp"

#include "services/cli/synthetic_data/preference_model.hpp"

#include "common/http/client.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <thread>

using namespace troupe::testing;

namespace {

constexpr int items = 100, users = 600;

troupe::synthetic_data::settings synthetic_settings() {
  troupe::synthetic_data::settings config;
  config.users = users;
  config.items = items;
  config.seed = 5;
  return config;
}

/// A release of one model. `best`: which item of the world comes first when they stand in the order of their
/// quality, 0 for the best one.
std::string release(const fleet& services, const std::string& name, int best,
                    const std::string& model = "taste") {
  troupe::synthetic_data::preference_model laws{synthetic_settings()};
  std::vector<int> order(items);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](int a, int b) {
    return laws.quality(static_cast<std::uint64_t>(a)) > laws.quality(static_cast<std::uint64_t>(b));
  });
  std::vector<float> scores(items);
  for (int place = 0; place < items; ++place)
    scores[static_cast<std::size_t>(order[static_cast<std::size_t>(place)])] =
        static_cast<float>(place >= best ? items - place : place - best);
  services.ask({"models", "register", popularity_model(services, name, scores).string(), "--name", model});
  auto rules = services.temp() / "rules.toml";
  write_file(rules, "[candidates]\nsources = [{name = 'popular', n = 100}]\n[seen]\nfilter = false\n");
  auto registered = services.ask({"models", "show", model});
  auto made =
      services.ask({"releases", "build", "--name", name, "--model",
                    model + ":" + std::to_string(number(registered, "version")), "--rules", rules.string()});
  return std::string{made.at("id").as_string()};
}

json shown(const fleet& services, const std::string& id = "current") {
  return services.ask({"rollouts", "show", id});
}

std::string state_of(const json& rollout) {
  return std::string{rollout.at("state").as_string()};
}

/// The steps of a rollout at which the click rate had this verdict.
std::set<std::int64_t> judged_by_clicks(const json& rollout, std::string_view verdict) {
  std::set<std::int64_t> steps;
  for (auto& each : rollout.at("decisions").as_array())
    if (text(each, "metric") == "click_rate" && text(each, "verdict") == verdict)
      steps.insert(number(each, "step"));
  return steps;
}

std::string release_of(const fleet& services, const std::string& user) {
  return std::string{services.ask({"recommend", user}).at("release").as_string()};
}

/// Visitors that come and go until told to stop.
class crowd {
public:
  explicit crowd(const fleet& services)
      : thread_{[this, &services] {
          for (int seed = 1; !stop_; ++seed)
            services.troupe({"simulate", "--quiet", "--visits", "400", "--parallel", "4", "--users",
                             std::to_string(users), "--items", std::to_string(items), "--seed", "5",
                             "--visit-seed", std::to_string(seed)});
        }} {}
  ~crowd() {
    stop_ = true;
    thread_.join();
  }

private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

} // namespace

TEST_CASE("releases are promoted and rolled back by what their visitors do, and never by silence") {
  fleet services{"scenario_rollout", quick_rollouts};
  configure(services, "serving");
  services.up();

  // The first one: nothing to compare it with.
  auto fair = release(services, "fair", 30);
  auto first = services.troupe({"rollouts", "start", "--release", "fair", "--follow"});
  CHECK_MESSAGE(first.code == 0, first.out, first.err);
  CHECK(state_of(shown(services)) == "done");
  CHECK(wait_until([&] { return release_of(services, "u1") == fair; }, 10s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 1);

  // A better one, by canary.
  auto good = release(services, "good", 0);
  auto spec = services.temp() / "canary.toml";
  write_file(spec, "strategy = 'canary'\nsteps = [20, 50, 100]\npause = '1s'\n"
                   "[verdict]\nmin_sample = 150\nclick_margin = 0.3\n");
  {
    crowd visitors{services};
    auto second =
        services.troupe({"rollouts", "start", "--spec", spec.string(), "--release", "good", "--follow"});
    CHECK_MESSAGE(second.code == 0, second.out, second.err);
  }
  // Each step by its clicks.
  auto passed = judged_by_clicks(shown(services), "pass");
  CHECK((passed.contains(1) && passed.contains(2))); // At the third nobody is left to compare with.
  CHECK(wait_until([&] { return release_of(services, "u1") == good; }, 10s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);

  // A bad one: its visitors click less.
  auto bad = release(services, "bad", 70);
  {
    crowd visitors{services};
    auto third = services.troupe(
        {"rollouts", "start", "--spec", spec.string(), "--release", "bad", "--baseline", "--follow"});
    CHECK_MESSAGE(third.code == 1, third.out, third.err);
  }
  CHECK(judged_by_clicks(shown(services), "fail") == std::set<std::int64_t>{number(shown(services), "step")});
  CHECK(state_of(shown(services)) == "rolled_back");
  CHECK(wait_until([&] { return release_of(services, "u1") == good; }, 10s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);

  // Nobody comes: that proves nothing.
  services.ask({"rollouts", "start", "--spec", spec.string(), "--release", "bad"});
  REQUIRE(wait_until([&] { return state_of(shown(services)) == "running"; }, 10s));
  outcome followed;
  std::thread follower{[&] { followed = services.troupe({"rollouts", "follow"}); }};
  std::this_thread::sleep_for(4s);
  auto silent = shown(services);
  CHECK(number(silent.at("arms").at(0), "needed") == 150);
  CHECK(state_of(silent) == "running");
  CHECK(number(silent, "step") == 1);
  for (auto& each : silent.at("decisions").as_array())
    if (each.at("action").as_string().empty())
      CHECK(each.at("verdict").as_string() == "not_enough_data");
  // Over HTTP, as a dashboard would.
  auto port = static_cast<std::uint16_t>(std::stoi(read_file(services.data() / "run" / "gateway-0.port")));
  troupe::http::client http{{"127.0.0.1", port}};
  auto answer =
      http.call("POST", "/v1/rollouts/" + std::string{silent.at("rollout_id").as_string()} + "/abort",
                R"({"reason":"nobody comes"})", troupe::deadline::in(10s), {});
  REQUIRE(answer);
  CHECK_MESSAGE(answer->status == 200, answer->body);
  CHECK(state_of(boost::json::parse(answer->body)) == "rolled_back");
  CHECK(shown(services).at("decisions").as_array().back().at("reason").as_string() == "nobody comes");
  // Who followed it was told what it waited for.
  follower.join();
  CHECK(followed.code == 1);
  auto told = [&](const char* what) { return followed.err.find(what) != std::string::npos; };
  CHECK_MESSAGE(told("canary has 0 of 150 answers, production has 0 of 150 answers"), followed.err);
  CHECK_MESSAGE(told("to decide by hand: troupe rollouts promote"), followed.err);
  CHECK(services.down());
}

TEST_CASE("kill -9 of the deployer at every step: the rollout goes on from its journal to the same end") {
  fleet services{"scenario_rollout_kill", quick_rollouts};
  configure(services, "serving");
  services.up();
  auto fair = release(services, "fair", 30);
  REQUIRE(services.troupe({"rollouts", "start", "--release", "fair", "--follow"}).code == 0);
  auto good = release(services, "good", 0);
  auto spec = services.temp() / "canary.toml";
  write_file(spec, "steps = [20, 50, 100]\npause = '2s'\nbaseline = true\n"
                   "[verdict]\nmin_sample = 150\nclick_margin = 0.3\n");
  crowd visitors{services};
  auto kill = [&] {
    auto pid = services.pid_of("deployer");
    REQUIRE(pid.has_value());
    ::kill(*pid, SIGKILL);
    REQUIRE(wait_until([&] { return services.pid_of("deployer").value_or(*pid) != *pid; }, 30s));
    REQUIRE(wait_until([&] { return services.troupe({"rollouts", "show"}).code == 0; }, 30s));
  };
  auto place = [](const json& rollout) { return std::pair{number(rollout, "step"), state_of(rollout)}; };

  services.ask({"rollouts", "start", "--spec", spec.string(), "--release", "good", "--id", "killed"});
  kill();
  std::set<std::pair<std::int64_t, std::string>> killed_at;
  std::int64_t furthest = 0;
  auto registry = *services.pid_of("registry");
  bool over = wait_until(
      [&] {
        auto now = shown(services, "killed");
        if (state_of(now) == "done")
          return true;
        REQUIRE(state_of(now) != "rolled_back");
        REQUIRE(state_of(now) != "failed");
        CHECK(number(now, "step") >= furthest); // No step is taken back by a kill.
        furthest = number(now, "step");
        if (furthest == 3)
          ::kill(registry, SIGSTOP); // So that it is promoting for a while.
        if (killed_at.insert(place(now)).second) {
          kill();
          CHECK(number(shown(services, "killed"), "step") >= furthest);
        }
        if (state_of(now) == "promoting")
          ::kill(registry, SIGCONT);
        return false;
      },
      150s);
  ::kill(registry, SIGCONT);

  CHECK(over);
  for (std::int64_t step : {1, 2, 3})
    CHECK(killed_at.contains({step, "running"}));
  CHECK(killed_at.contains({3, "promoting"}));
  CHECK(wait_until([&] { return release_of(services, "u1") == good; }, 20s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);
  // The same start again is the same rollout.
  CHECK(state_of(services.ask({"rollouts", "start", "--spec", spec.string(), "--release", "good", "--id",
                               "killed"})) == "done");
}

TEST_CASE("abort works in every state, also while rankers, gateway and registry are down") {
  fleet services{"scenario_rollout_abort", quick_rollouts};
  configure(services, "serving");
  services.up();
  auto fair = release(services, "fair", 30);
  REQUIRE(services.troupe({"rollouts", "start", "--release", "fair", "--follow"}).code == 0);
  release(services, "good", 0);
  auto begin = [&](const std::string& id, const std::string& state) {
    services.ask({"rollouts", "start", "--release", "good", "--id", id});
    REQUIRE(wait_until([&] { return state_of(shown(services)) == state; }, 20s));
  };
  auto signal = [&](std::vector<const char*> names, int what) {
    for (auto* each : names)
      ::kill(*services.pid_of(each), what);
  };
  auto aborted = [&](const std::string& id) {
    signal({"ranker", "gateway", "registry"}, SIGSTOP);
    auto began = std::chrono::steady_clock::now();
    auto state = state_of(services.ask({"rollouts", "abort", id, "--reason", "enough"}));
    CHECK(std::chrono::steady_clock::now() - began < 3s);
    auto table = services.ask({"routing"});
    REQUIRE(table.at("arms").as_array().size() == 1);
    CHECK(table.at("arms").at(0).at("release").as_string() == fair);
    CHECK((state == "rolled_back" || state == "aborting"));
    CHECK(state_of(services.ask({"rollouts", "abort", id})) == state); // Twice is once.
    signal({"ranker", "gateway", "registry"}, SIGCONT);
    CHECK(wait_until([&] { return state_of(shown(services, id)) == "rolled_back"; }, 20s));
    CHECK(wait_until([&] { return release_of(services, "u1") == fair; }, 20s));
    CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 1);
  };

  signal({"ranker"}, SIGSTOP);
  begin("preparing", "preparing");
  aborted("preparing");
  begin("running", "running");
  aborted("running");
  begin("paused", "running");
  CHECK(state_of(services.ask({"rollouts", "pause", "paused"})) == "paused");
  aborted("paused");
  begin("promoting", "running");
  signal({"registry"}, SIGSTOP);
  CHECK(state_of(services.ask({"rollouts", "promote", "promoting"})) == "promoting");
  aborted("promoting");
  begin("done", "running");
  services.ask({"rollouts", "promote", "done", "--reason", "the editors want it"});
  REQUIRE(wait_until([&] { return state_of(shown(services)) == "done"; }, 20s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);
  aborted("done");
  CHECK(services.troupe({"rollouts", "follow", "done"}).code == 1);
  CHECK(services.troupe({"rollouts", "abort", "first-of-all"}).code == 1);
  CHECK(services.down());
}

TEST_CASE("a release with a broken file fails before any user sees it; two rankers, shadow, A/B, rolling and "
          "blue-green") {
  fleet services{"scenario_rollout_ways", quick_rollouts};
  configure(services, "serving");
  auto catalog = read_file(services.temp() / "catalog.toml");
  auto ranker = catalog.find("replicas = 1", catalog.find("[ranker]"));
  catalog.replace(ranker, 12, "replicas = 2");
  write_file(services.temp() / "catalog.toml", catalog);
  services.up();
  auto fair = release(services, "fair", 30);
  REQUIRE(services.troupe({"rollouts", "start", "--release", "fair", "--follow"}).code == 0);
  auto good = release(services, "good", 0);
  auto start = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"rollouts", "start", "--follow"};
    words.insert(words.end(), more.begin(), more.end());
    return services.troupe(words);
  };
  auto at_all = [&](const std::string& id) {
    return wait_until([&] { return release_of(services, "u1") == id; }, 20s);
  };

  // One bit of the registry's copy turns.
  auto bad = release(services, "broken", 50);
  auto manifest = services.ask({"releases", "show", bad}).at("manifest");
  std::string hash{manifest.at("files").at("models/taste/weights.safetensors").at("sha256").as_string()};
  auto blob = services.data() / "registry-0/blobs" / hash.substr(0, 2) / hash.substr(2);
  auto bytes = read_file(blob);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(blob, bytes);
  auto before = number(services.ask({"routing"}), "version");
  auto broken = start({"--release", "broken"});
  CHECK(broken.code == 1);
  CHECK(state_of(shown(services)) == "failed");
  CHECK(number(services.ask({"routing"}), "version") == before);

  crowd visitors{services};
  // A shadow is compared and not shown. This one shows other items altogether: only who says so lets it pass.
  auto other = start({"--release", "good", "--strategy", "shadow", "--pause", "1s", "--min-sample", "100"});
  CHECK_MESSAGE(other.code == 1, other.out, other.err);
  CHECK(other.out.find("overlap") != std::string::npos);
  auto no_overlap = services.temp() / "shadow.toml";
  write_file(no_overlap, "strategy = 'shadow'\npause = '1s'\n[verdict]\nmin_sample = 100\noverlap = 0.0\n");
  auto shadow = start({"--release", "good", "--spec", no_overlap.string()});
  CHECK_MESSAGE(shadow.code == 0, shadow.out, shadow.err);
  CHECK(shadow.out.find("overlap") != std::string::npos);
  CHECK(at_all(fair));
  // A/B: the better arm wins.
  auto ab = start({"--release", "good", "--strategy", "ab", "--pause", "1s", "--min-sample", "200"});
  CHECK_MESSAGE(ab.code == 0, ab.out, ab.err);
  CHECK(at_all(good));
  // Rolling: ranker by ranker, then half of the users, then all.
  auto rolling =
      start({"--release", "fair", "--strategy", "rolling", "--pause", "1s", "--min-sample", "100"});
  CHECK_MESSAGE(rolling.code == 0, rolling.out, rolling.err);
  CHECK(rolling.out.find("next ranker") != std::string::npos);
  CHECK(number(shown(services), "steps") == 2);
  CHECK(at_all(fair));
  // Blue-green: all at once, and back by command after it was done.
  auto blue_green =
      start({"--release", "good", "--strategy", "blue-green", "--pause", "1s", "--min-sample", "100"});
  CHECK_MESSAGE(blue_green.code == 0, blue_green.out, blue_green.err);
  CHECK(at_all(good));
  CHECK(wait_until([&] { return state_of(services.ask({"rollouts", "abort"})) == "rolled_back"; }, 20s));
  CHECK(at_all(fair));
}
