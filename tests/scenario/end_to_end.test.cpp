// The main job, driven by `troupe` and HTTP alone: from files to an answer that explains itself.
#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <thread>

using namespace troupe::testing;

namespace {

/// What to load, who visits, and what counts as an interaction.
struct main_job {
  fleet& services;
  std::vector<std::string> simulated_users;
  std::string types;
  std::string user;
  std::string rules{};

  std::filesystem::path file(const std::string& name, const std::string& content) const {
    auto path = services.temp() / name;
    write_file(path, content);
    return path;
  }

  /// Trains on the log and registers under `name`; gives the last status.
  json train(const std::string& name, const std::string& config, const std::string& run = {}) const {
    auto order = file(name + ".toml",
                      config + "\n[run]\nname = \"" + name + "\"\nevent_types = " + types + "\n" + run);
    return boost::json::parse(services.troupe({"--json", "train", order.string(), "--follow"}, 240s).out);
  }

  void release(const std::string& name, std::vector<std::string> models, bool skip_gate = false) const {
    std::vector<std::string> words{"releases", "build", "--name", name};
    for (auto& each : models)
      words.insert(words.end(), {"--model", each});
    if (skip_gate)
      words.emplace_back("--skip-gate");
    if (!rules.empty())
      words.insert(words.end(), {"--rules", file("rules.toml", rules).string()});
    services.ask(words);
    CHECK(services.troupe({"releases", "verify", name}).code == 0);
  }

  json visit(int visits, int seed) const {
    std::vector<std::string> words{"simulate",   "--quiet", "--visits",     std::to_string(visits),
                                   "--n",        "10",      "--visit-seed", std::to_string(seed),
                                   "--parallel", "4"};
    words.insert(words.end(), simulated_users.begin(), simulated_users.end());
    return services.ask(words, 240s);
  }

  /// Rolls out while simulated users come and go; the rollout when it is over.
  json roll_out(const std::string& name, const std::string& spec) const {
    std::atomic<bool> over{false};
    std::thread crowd{[&] {
      for (int seed = 1; !over; ++seed)
        visit(1'000, seed);
    }};
    auto path = file("rollout-" + name + ".toml", spec);
    services.troupe({"rollouts", "start", "--spec", path.string(), "--release", name, "--follow"}, 240s);
    over = true;
    crowd.join();
    return services.ask({"rollouts", "show", "current"});
  }
};

constexpr auto canary = "strategy = 'canary'\nsteps = [30, 100]\npause = '1s'\n[verdict]\nmin_sample = 300\n"
                        "click_margin = 0.3\n";

/// Training to promotion by `spec`, and what is shown afterwards; gives the rollout.
json personal_release(const main_job& job, const std::string& spec) {
  auto popular = job.train("popular", "model = \"popularity\"");
  REQUIRE_MESSAGE(text(popular, "state") == "done", boost::json::serialize(popular));
  job.release("popular", {"popular"});
  CHECK(job.services.troupe({"rollouts", "start", "--release", "popular", "--follow"}, 60s).code == 0);

  write_file(job.services.data() / "gate.toml",
             "[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\nwithin = 0.05\n");
  auto ease = job.train("ease", "model = \"ease\"\nease.l2 = 300.0");
  REQUIRE_MESSAGE(text(ease, "state") == "done", boost::json::serialize(ease));
  auto& metrics = ease.at("metrics");
  CHECK(metrics.at("ndcg_at_10").to_number<double>() >
        metrics.at("popularity_ndcg_at_10").to_number<double>());
  auto beside = job.train("item_knn", "model = \"item_knn\"");
  REQUIRE_MESSAGE(text(beside, "state") == "done", boost::json::serialize(beside));
  job.release("personal", {"ease=0.8", "item_knn=0.2"});
  auto rollout = job.roll_out("personal", spec);
  CHECK_MESSAGE(text(rollout, "state") == "done", boost::json::serialize(rollout));
  CHECK(!rollout.at("decisions").as_array().empty());

  caller outside{job.services};
  auto answer = outside.good("GET", "/v1/users/" + job.user + "/recommendations?n=5&explain=true");
  REQUIRE(answer.at("items").as_array().size() == 5);
  CHECK(answer.at("degraded").as_array().empty());
  for (auto& each : answer.at("items").as_array()) {
    CHECK(!text(each, "title").empty());
    CHECK(!each.at("sources").as_array().empty());
    CHECK(each.at("models").as_object().size() == 2);
  }
  auto filtered = [&](const std::string& attribute) {
    return R"({"user":"u","filters":[{"attribute":")" + attribute + R"(","op":"contains","value":"x"}]})";
  };
  outside.good("POST", "/v1/recommendations", filtered("genres"));
  CHECK(outside.bad("POST", "/v1/recommendations", filtered("colour")) == 400);
  auto inspected = outside.good("GET", "/v1/requests/" + text(answer, "request_id"));
  CHECK(inspected.at("arm") == answer.at("arm"));
  CHECK(inspected.at("release") == answer.at("release"));
  CHECK(!inspected.at("stages").as_array().empty());
  CHECK(!inspected.at("features").as_array().empty());
  return rollout;
}

/// What somebody just took is not shown again: without the token of the write, some seconds later.
void new_event_changes_the_answer(const main_job& job) {
  caller outside{job.services};
  auto path = "/v1/users/" + job.user + "/recommendations?n=5";
  auto first = text(outside.good("GET", path).at("items").at(0), "item");
  outside.good("POST", "/v1/events",
               R"([{"type":"click","user":")" + job.user + R"(","item":")" + first + R"("}])");
  CHECK(wait_until(
      [&] {
        auto items = outside.good("GET", path).at("items").as_array();
        return std::ranges::none_of(items, [&](auto& each) { return text(each, "item") == first; });
      },
      5s));
}

/// A model that ranks at random is stopped by the gate; past the gate, its release is rolled back by what
/// simulated users do.
void bad_release_is_stopped(const main_job& job) {
  constexpr auto random =
      "model = \"bpr\"\n[bpr]\nepochs = 1\nlearning_rate = 1e-9\nlast_learning_rate = 0.0";
  write_file(job.services.data() / "gate.toml", "[[check]]\nmetric = 'ndcg_at_10'\nat_least = 0.04\n");
  auto stopped = job.train("random", random);
  CHECK_MESSAGE(text(stopped, "error").find("ndcg_at_10 is 0.") != std::string::npos,
                boost::json::serialize(stopped));
  CHECK_MESSAGE(text(stopped, "error").find("0.04") != std::string::npos, boost::json::serialize(stopped));
  CHECK(job.services.troupe({"models", "show", "random"}).code == 1);

  auto let_in = job.train("random", random, "skip_gate = true\n");
  CHECK(text(let_in, "error").empty());
  job.release("random", {"random"}, true);
  auto before = job.services.ask({"routing"});
  auto rollout = job.roll_out("random", canary);
  CHECK_MESSAGE(text(rollout, "state") == "rolled_back", boost::json::serialize(rollout));
  CHECK_MESSAGE(text(rollout, "reason").find("click_rate") != std::string::npos, text(rollout, "reason"));
  auto after = job.services.ask({"routing"});
  CHECK(after.at("arms").at(0).at("release") == before.at("arms").at(0).at("release"));
}

/// A data set of real ratings: the last of each user are held out, and are what simulated users want.
void real_ratings(const std::string& folder, const std::string& sample, const std::string& mapping,
                  const std::string& schema) {
  auto data = data_set(folder + "/" + sample);
  if (!data)
    return;
  fleet services{"scenario_end_to_end_" + mapping, quick_rollouts};
  configure(services, "ratings", schema);
  std::filesystem::copy_file(source_dir() / "services/feature_store/views/serving.toml",
                             services.data() / "views" / "serving.toml");
  services.up();
  auto parts = services.ask({"split", data->parent_path().string(), "--mapping", mapping, "--out",
                             (services.temp() / "parts").string()});
  ingest(services, text(parts, "train"));
  auto training = (services.temp() / "training").string();
  services.ask({"training-set", "build",
                (source_dir() / "services/feature_store/training/ratings.toml").string(), "--out", training},
               240s);
  CHECK(services.troupe({"training-set", "verify", training}, 60s).code == 0);

  main_job job{services, {"--held-out", text(parts, "held_out")}, R"(["rating", "click"])", "1"};
  personal_release(job, canary);
  new_event_changes_the_answer(job);
  bad_release_is_stopped(job);
  CHECK(services.down());
}

} // namespace

TEST_CASE(
    "a generated world goes all the way: the personal release beats popularity in an A/B rollout that the "
    "deployer judges") {
  fleet services{"scenario_end_to_end_generated", quick_rollouts};
  configure(services, "serving");
  services.up();
  auto world = services.temp() / "world";
  services.ask({"generate", "--quiet", "--out", world.string(), "--users", "3000", "--items", "150",
                "--events", "600000", "--exploration", "0.8", "--seed", "7"});
  ingest(services, world);
  // These simulated users never tire of an item, and are shown again what they like.
  main_job job{services,
               {"--users", "3000", "--items", "150", "--seed", "7"},
               R"(["click", "rating"])",
               "u1",
               "[seen]\nfilter = false\n"};
  auto rollout =
      personal_release(job, "strategy = 'ab'\nsteps = [50]\npause = '1s'\n[verdict]\nmin_sample = 500\n");
  bool judged = false;
  for (auto& each : rollout.at("decisions").as_array())
    if (text(each, "metric") == "click_rate" && text(each, "verdict") == "pass") {
      judged = true;
      MESSAGE("click rate: ", text(each, "reason"));
    }
  CHECK(judged);
  CHECK(services.down());
}

TEST_CASE("MovieLens 100K goes all the way; a bad model is stopped by the gate, and past it by the canary") {
  real_ratings("ml-100k", "u.data", "movielens-100k", "movielens");
}

TEST_CASE("MovieTweetings goes all the way; a bad model is stopped by the gate, and past it by the canary") {
  real_ratings("movietweetings-100k", "ratings.dat", "movietweetings", "movietweetings");
}
