#include "tests/support/input.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>

using namespace troupe::testing;

namespace {

/// Waits until a run has ended; what it says then.
json end_of(const fleet& services, const std::string& run) {
  json now;
  REQUIRE(wait_until(
      [&] {
        now = services.ask({"train", "status", run});
        return text(now, "state") == "done" || text(now, "state") == "failed";
      },
      180s));
  return now;
}

std::string weights(const json& status) {
  return text(status.at("manifest").at("weights"), "sha256");
}

std::filesystem::path order(const fleet& services, const std::string& name, const std::string& toml) {
  auto file = services.temp() / (name + ".toml");
  write_file(file, toml);
  return file;
}

/// Starts it, with a generated world of so many events.
void begin(fleet& services, std::uint64_t events) {
  configure(services, "interactions");
  services.up();
  auto world = services.temp() / "world";
  generate(services, world, events);
  ingest(services, world);
}

} // namespace

TEST_CASE(
    "models are trained on the log, measured, registered, verified and reproduced; kill -9 of the trainer "
    "costs nothing") {
  fleet services{"scenario_training"};
  begin(services, 60'000);

  auto configs = source_dir() / "services" / "trainer" / "configs";
  auto ease = services.ask({"train", (configs / "ease.toml").string(), "--run", "ease-1", "--follow"}, 120s);
  REQUIRE_MESSAGE(text(ease, "state") == "done", boost::json::serialize(ease));
  CHECK(text(ease, "error").empty());
  auto& metrics = ease.at("metrics");
  CHECK(metrics.at("ndcg_at_10").to_number<double>() > 0.1);
  CHECK(metrics.at("popularity_ndcg_at_10").to_number<double>() > 0.1);
  CHECK(text(ease.at("manifest").at("data"), "split") == "leave-last-out");
  CHECK(number(services.ask({"models", "verify", "ease"}), "right") == 3);
  auto again = services.ask({"reproduce", "ease:1"}, 120s);
  CHECK(again.at("equal").as_bool());
  CHECK(again.at("same_binary").as_bool());

  // Long enough to be killed in the middle; what was begun is trained to its end by the next life.
  auto config = order(services, "ials", "model = \"ials\"\nials.dimensions = 32\nials.iterations = 600\n");
  auto following =
      services.start({"train", config.string(), "--run", "ials-1", "--follow"}, services.temp() / "out");
  REQUIRE(wait_until(
      [&] {
        auto now = services.troupe({"--json", "train", "status", "ials-1"});
        return now.out.find("\"stage\":\"fitting\"") != std::string::npos;
      },
      60s));
  auto killed = services.pid_of("trainer");
  REQUIRE(killed.has_value());
  ::kill(*killed, SIGKILL);
  REQUIRE(wait_until(
      [&] { return services.pid_of("trainer").value_or(*killed) != *killed && services.ready_now(); }, 30s));
  auto ials = end_of(services, "ials-1");
  CHECK_MESSAGE(text(ials, "state") == "done", boost::json::serialize(ials));
  CHECK(number(services.ask({"models", "verify", "ials"}), "right") == 4);

  // A release from its hash alone: both models are trained again, and what they make has that hash again.
  auto rules = services.temp() / "rules.toml";
  write_file(rules, "[candidates]\nsources = [{name = 'popular', n = 100}]\n");
  auto release = services.ask({"releases", "build", "--name", "spring", "--model", "ease=0.7", "--model",
                               "ials=0.3", "--rules", rules.string()});
  auto rebuilt = services.ask({"reproduce", text(release, "id")}, 240s);
  CHECK_MESSAGE(rebuilt.at("equal").as_bool(), boost::json::serialize(rebuilt));
  CHECK(text(rebuilt, "rebuilt") == text(release, "id"));
  REQUIRE(rebuilt.at("models").as_array().size() == 2);
  for (auto& each : rebuilt.at("models").as_array())
    CHECK_MESSAGE(each.at("equal").as_bool(), boost::json::serialize(each));
  CHECK(services.troupe({"reproduce", "winter"}).err.find("neither a model nor a release") !=
        std::string::npos);

  auto refused = services.troupe(
      {"train", order(services, "wrong", "model = \"ease\"\nease.l3 = 1\n").string(), "--follow"});
  CHECK(refused.code == 1);
  CHECK_MESSAGE(refused.out.find("ease.l2") != std::string::npos, refused.out);
  CHECK(services.down());
}

TEST_CASE(
    "a rank that is killed is noticed, the run resumes, and the weights are those of an undisturbed run") {
  fleet services{"scenario_training_ranks"};
  begin(services, 7'000); // Of them 4,000 slates of five items.
  auto config = order(services, "sasrec",
                      "model = \"sasrec\"\n[sasrec]\ndimensions = 16\nfeed = 32\nlength = 20\nepochs = 12\n"
                      "softmax = \"sampled\"\nnegatives = 64\ncheckpoint_every = \"1s\"\n"
                      "[run]\nranks = 2\nevent_types = [\"impression\"]\n");

  services.ask({"train", config.string(), "--run", "undisturbed"});
  auto undisturbed = end_of(services, "undisturbed");
  REQUIRE_MESSAGE(text(undisturbed, "state") == "done", boost::json::serialize(undisturbed));
  services.ask({"train", config.string(), "--run", "killed"});
  REQUIRE(wait_until(
      [&] {
        auto folder = services.data() / "trainer-0" / "runs" / "killed" / "checkpoints" / "measured";
        return std::filesystem::exists(folder) && !std::filesystem::is_empty(folder);
      },
      60s));
  auto ranks = descendants("troupe-trainer-worker");
  REQUIRE(ranks.size() == 2);
  ::kill(ranks[1], SIGKILL);
  auto resumed = end_of(services, "killed");

  REQUIRE_MESSAGE(text(resumed, "state") == "done", boost::json::serialize(resumed));
  CHECK(number(resumed, "restarts") == 1);
  CHECK(number(undisturbed, "restarts") == 0);
  CHECK(weights(resumed) == weights(undisturbed));
  CHECK(services.ask({"reproduce", "sasrec:1"}, 180s).at("equal").as_bool());
  CHECK(services.down());
}

TEST_CASE(
    "a DCN is trained on a training set that its manifest names, reproduced from it, and not from another") {
  fleet services{"scenario_training_rows"};
  begin(services, 20'000);
  auto set = services.temp() / "rows";
  auto spec = source_dir() / "services" / "feature_store" / "training" / "interactions.toml";
  // Clicks have no value: how much the user had been shown is the label.
  services.ask({"training-set", "build", spec.string(), "--out", set.string()}, 120s);
  auto config = order(services, "dcn",
                      "model = \"dcn\"\n[dcn]\nepochs = 1\nlabel = "
                      "\"user_activity.impressions_7d\"\npositive_at_least = 8\ntraining_set = \"" +
                          set.string() + "\"\n");

  services.ask({"train", config.string(), "--run", "dcn-1"});
  auto dcn = end_of(services, "dcn-1");

  REQUIRE_MESSAGE(text(dcn, "state") == "done", boost::json::serialize(dcn));
  CHECK_MESSAGE(text(dcn, "error").empty(), text(dcn, "error"));
  auto& data = dcn.at("manifest").at("data");
  CHECK(text(data, "source") == "training-set");
  CHECK(text(data, "path") == set.string());
  CHECK(data.at("views").as_object().size() == 2);
  CHECK(!std::filesystem::exists(services.data() / "trainer-0" / "runs" / "dcn-1" / "interactions.parquet"));
  CHECK(services.ask({"reproduce", "dcn:1"}, 120s).at("equal").as_bool());
  std::filesystem::remove_all(set);
  auto gone = services.troupe({"reproduce", "dcn:1"});
  CHECK(gone.code == 1);
  CHECK_MESSAGE(gone.err.find("manifest.json") != std::string::npos, gone.err);
  CHECK(services.down());
}

TEST_CASE("a DCN is trained on a training set by name, through kill -9 of trainer and feature store, and "
          "reproduced") {
  fleet services{"scenario_training_set_by_name"};
  begin(services, 20'000);
  auto spec = source_dir() / "services" / "feature_store" / "training" / "interactions.toml";
  auto built = services.ask({"training-set", "build", spec.string()}, 120s);
  auto hash = text(built, "content_sha256");
  auto kept = services.ask({"training-set", "list"}).at("training_sets");
  REQUIRE(kept.as_array().size() == 1);
  CHECK(text(kept.at(0), "name") == "clicks");
  CHECK(text(kept.at(0), "content_sha256") == hash);
  CHECK(number(kept, "rows") == number(built, "rows"));
  auto config = order(services, "dcn",
                      "model = \"dcn\"\n[dcn]\nepochs = 1\nlabel = "
                      "\"user_activity.impressions_7d\"\npositive_at_least = 8\ntraining_set = \"clicks\"\n");

  // A feature store that answers nobody is waited for; then both die, and the run goes on.
  auto store = services.pid_of("feature-store"), trainer = services.pid_of("trainer");
  REQUIRE((store && trainer));
  ::kill(*store, SIGSTOP);
  services.ask({"train", config.string(), "--run", "dcn-1"});
  REQUIRE(wait_until(
      [&] {
        return text(services.ask({"train", "status", "dcn-1"}), "stage") == "waiting for the training set";
      },
      60s));
  ::kill(*trainer, SIGKILL);
  ::kill(*store, SIGKILL);
  REQUIRE(wait_until(
      [&] { return services.pid_of("trainer").value_or(*trainer) != *trainer && services.ready_now(); },
      60s));
  auto dcn = end_of(services, "dcn-1");

  REQUIRE_MESSAGE(text(dcn, "state") == "done", boost::json::serialize(dcn));
  CHECK_MESSAGE(text(dcn, "error").empty(), text(dcn, "error"));
  auto& data = dcn.at("manifest").at("data");
  CHECK(text(data, "name") == "clicks");
  CHECK(text(data, "sha256") == hash);
  CHECK(data.at("views").as_object().size() == 2);
  CHECK(services.ask({"reproduce", "dcn:1"}, 120s).at("equal").as_bool());

  // Another content by the same name, and no copy left: the error says both. The content of then: equal
  // again.
  auto earlier = data.at("log_offsets").as_array();
  for (auto& each : earlier)
    each = each.to_number<std::int64_t>() / 2;
  write_file(services.temp() / "half.toml",
             fmt::format("offsets = {}\n{}", boost::json::serialize(earlier), read_file(spec)));
  auto half = services.ask({"training-set", "build", (services.temp() / "half.toml").string()}, 120s);
  auto copies = services.data() / "trainer-0" / "training-sets";
  CHECK(std::filesystem::exists(copies / hash / "manifest.json"));
  std::filesystem::remove_all(copies);
  auto other = services.troupe({"reproduce", "dcn:1"});
  CHECK(other.code == 1);
  for (auto& part : {hash, text(half, "content_sha256")})
    CHECK_MESSAGE(other.err.find(part) != std::string::npos, other.err);
  write_file(
      services.temp() / "then.toml",
      fmt::format("offsets = {}\n{}", boost::json::serialize(data.at("log_offsets")), read_file(spec)));
  auto then = services.ask({"training-set", "build", (services.temp() / "then.toml").string(), "--out",
                            (services.temp() / "then").string()},
                           120s);
  CHECK(text(then, "content_sha256") == hash);
  CHECK(services.ask({"training-set", "verify", (services.temp() / "then").string()}).at("same").as_bool());
  CHECK(services.ask({"reproduce", "dcn:1"}, 120s).at("equal").as_bool());

  services.ask({"training-set", "fetch", "clicks", "--out", (services.temp() / "fetched").string()});
  CHECK(read_file(services.temp() / "fetched" / "manifest.json") ==
        read_file(services.temp() / "then" / "manifest.json"));
  services.ask({"training-set", "remove", "clicks"});
  CHECK(services.ask({"training-set", "list"}).at("training_sets").as_array().empty());
  CHECK(services.troupe({"training-set", "fetch", "clicks", "--out", "x"}).code == 1);
  CHECK(services.down());
}
