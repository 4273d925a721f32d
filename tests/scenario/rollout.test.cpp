#include "tests/support/world.hpp"

#include "services/cli/world/truth.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <numeric>
#include <thread>

using namespace troupe::testing;

namespace {

const bool guarded = (end_after(400s), true);

constexpr int items = 100, users = 600;

/// Short times, so that a rollout takes seconds.
constexpr auto quick = R"(
[deployer.settings]
judge_interval = "100ms"
settle = "500ms"
ranker_poll = "100ms"
)";

troupe::world::settings world_of() {
  troupe::world::settings how;
  how.users = users;
  how.items = items;
  how.seed = 5;
  return how;
}

/// A model folder that ranks items by these scores.
std::filesystem::path popularity(const fleet& services, const std::string& name,
                                 const std::vector<float>& scores) {
  static_assert(std::endian::native == std::endian::little);
  auto folder = services.temp() / name;
  std::filesystem::create_directories(folder);
  std::string bytes, names;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    bytes.append(reinterpret_cast<const char*>(&scores[i]), sizeof scores[i]);
    names += "i" + std::to_string(i) + "\n";
  }
  std::string header = R"({"item_score":{"dtype":"F32","shape":[)" + std::to_string(scores.size()) +
                       R"(],"data_offsets":[0,)" + std::to_string(bytes.size()) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::uint64_t length = header.size();
  write_file(folder / "weights.safetensors",
             std::string{reinterpret_cast<const char*>(&length), 8} + header + bytes);
  write_file(folder / "items.txt", names);
  write_file(folder / "model.json",
             R"({"format":1,"kind":"popularity","items":)" + std::to_string(scores.size()) +
                 R"(,"users":0,"metrics":{},"weights":{"file":"weights.safetensors"}})");
  return folder;
}

/// A release of one model. `best`: which item of the world comes first when they stand in the order of their
/// quality, 0 for the best one.
std::string release(const fleet& services, const std::string& name, int best,
                    const std::string& model = "taste") {
  troupe::world::truth laws{world_of()};
  std::vector<int> order(items);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](int a, int b) {
    return laws.quality(static_cast<std::uint64_t>(a)) > laws.quality(static_cast<std::uint64_t>(b));
  });
  std::vector<float> scores(items);
  for (int place = 0; place < items; ++place)
    scores[static_cast<std::size_t>(order[static_cast<std::size_t>(place)])] =
        static_cast<float>(place >= best ? items - place : place - best);
  services.ask({"models", "register", popularity(services, name, scores).string(), "--name", model});
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

std::string arm_of(const fleet& services, const std::string& user) {
  return std::string{services.ask({"recommend", user}).at("release").as_string()};
}

/// Visitors that come and go until told to stop.
class crowd {
public:
  explicit crowd(const fleet& services)
      : thread_{[this, &services] {
          for (int seed = 1; !stop_; ++seed)
            services.troupe({"visit", "--quiet", "--visits", "400", "--parallel", "4", "--users",
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
  fleet services{"scenario_rollout", quick};
  configure(services, "serving");
  services.up();

  // The first one: nothing to compare it with.
  auto fair = release(services, "fair", 30);
  auto first = services.troupe({"rollouts", "start", "--release", "fair", "--follow"});
  CHECK_MESSAGE(first.code == 0, first.out, first.err);
  CHECK(state_of(shown(services)) == "done");
  CHECK(wait_until([&] { return arm_of(services, "u1") == fair; }, 10s));
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
    MESSAGE(second.out);
  }
  CHECK(wait_until([&] { return arm_of(services, "u1") == good; }, 10s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);

  // A bad one: its visitors click less.
  auto bad = release(services, "bad", 70);
  {
    crowd visitors{services};
    auto third = services.troupe(
        {"rollouts", "start", "--spec", spec.string(), "--release", "bad", "--baseline", "--follow"});
    CHECK_MESSAGE(third.code == 1, third.out, third.err);
    MESSAGE(third.out);
  }
  CHECK(state_of(shown(services)) == "rolled_back");
  CHECK(wait_until([&] { return arm_of(services, "u1") == good; }, 10s));
  CHECK(number(services.ask({"models", "show", "taste:production"}), "version") == 2);

  // Nobody comes: that proves nothing.
  services.ask({"rollouts", "start", "--spec", spec.string(), "--release", "bad"});
  REQUIRE(wait_until([&] { return state_of(shown(services)) == "running"; }, 10s));
  std::this_thread::sleep_for(4s);
  auto silent = shown(services);
  CHECK(state_of(silent) == "running");
  CHECK(number(silent, "step") == 1);
  for (auto& each : silent.at("decisions").as_array())
    if (each.at("action").as_string().empty())
      CHECK(each.at("verdict").as_string() == "not_enough_data");
  CHECK(state_of(services.ask({"rollouts", "abort", "--reason", "nobody comes"})) == "rolled_back");
  CHECK(services.down());
}
