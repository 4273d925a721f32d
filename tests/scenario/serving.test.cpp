#include "tests/support/input.hpp"
#include "tests/support/known_release.hpp"

#include "common/core/time.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <string>
#include <vector>

using namespace troupe::testing;

namespace {

/// A release in which item i<n> has the score scale * n: the order of the answer is known.
std::string scaled_release(const fleet& services, const std::string& name, float scale) {
  std::vector<float> scores(100);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = scale * static_cast<float>(i);
  return popularity_release(services, name, scores);
}

bool is_ready(const fleet& services, const std::string& id) {
  auto text = boost::json::serialize(services.ask({"rankers"}));
  return text.find(R"("id":")" + id + R"(","state":"ready")") != std::string::npos;
}

/// The items of an answer, best first, and what it says was wrong.
std::vector<std::string> shown(const json& answer, std::string* degraded = nullptr) {
  std::vector<std::string> names;
  for (auto& each : answer.at("items").as_array())
    names.emplace_back(each.at("item").as_string());
  if (degraded != nullptr)
    *degraded = boost::json::serialize(answer.at("degraded"));
  return names;
}

} // namespace

TEST_CASE("a registered release is fetched, verified and served; live items change the next answer; all "
          "survives kill -9") {
  fleet services{"scenario_serving"};
  configure(services, "serving");
  services.up();
  auto world = services.temp() / "world";
  services.ask({"generate", "--quiet", "--out", world.string(), "--events", "2000", "--users", "50",
                "--items", "100"});
  ingest(services, world);
  auto first = scaled_release(services, "rising", 1);
  auto second = scaled_release(services, "falling", -1);
  // Rules by an attribute that nothing reads make no release.
  auto colours = services.temp() / "colours.toml";
  write_file(colours, "[[rule]]\nkind = 'filter'\nattribute = 'colour'\ntext = 'red'\n");
  auto refused = services.troupe(
      {"releases", "build", "--name", "red", "--model", "rising", "--rules", colours.string()});
  CHECK(refused.code == 1);
  CHECK_MESSAGE(refused.err.find("genres") != std::string::npos, refused.err);
  services.ask({"rankers", "prepare", first, second});
  REQUIRE(wait_until([&] { return is_ready(services, first) && is_ready(services, second); }, 30s));
  std::vector<std::string> nobody{"rankers", "recommend", "nobody", "-n", "3", "--release", first};
  REQUIRE(wait_until([&] { return shown(services.ask(nobody)).size() == 3; }, 20s));

  CHECK(shown(services.ask(nobody)) == std::vector<std::string>{"i99", "i98", "i97"});
  CHECK(shown(services.ask({"rankers", "recommend", "nobody", "-n", "2", "--release", second})) ==
        std::vector<std::string>{"i0", "i1"});

  // A title that is hidden, and a click: both change the next answers.
  auto news = services.temp() / "news.jsonl";
  write_file(news, R"({"kind":"item","id":"n1","item":"i99","attributes":{"title":"T","hidden":true}})"
                   "\n"
                   R"({"kind":"event","id":"n2","type":"click","user":"nobody","item":"i98","event_time":")" +
                       troupe::to_rfc3339(troupe::wall_now()) + "\"}\n");
  ingest(services, news);
  CHECK(wait_until(
      [&] {
        return shown(services.ask(nobody)) == std::vector<std::string>{"i97", "i96", "i95"};
      },
      20s));

  // What it was told to hold is held again after kill -9, from disk.
  auto pid = services.pid_of("ranker");
  REQUIRE(pid.has_value());
  ::kill(*pid, SIGKILL);
  REQUIRE(wait_until([&] { return services.pid_of("ranker").value_or(*pid) != *pid && services.ready_now(); },
                     30s));
  REQUIRE(wait_until([&] { return is_ready(services, first); }, 20s));
  CHECK(wait_until(
      [&] {
        return shown(services.ask(nobody)) == std::vector<std::string>{"i97", "i96", "i95"};
      },
      20s));

  // Without the feature store it answers on, and says what is missing.
  auto features = services.pid_of("feature-store");
  REQUIRE(features.has_value());
  ::kill(*features, SIGSTOP);
  std::string degraded;
  auto alone = shown(services.ask({"rankers", "recommend", "somebody else", "-n", "3", "--release", first}),
                     &degraded);
  ::kill(*features, SIGCONT);
  CHECK(alone.size() == 3);
  CHECK_MESSAGE(degraded.find("features:") != std::string::npos, degraded);
  CHECK(services.down());
}

TEST_CASE("a release whose bytes are not those of its manifest is refused, and the one before serves on") {
  fleet services{"scenario_serving_broken"};
  configure(services, "serving");
  services.up();
  auto good = scaled_release(services, "good", 1);
  services.ask({"rankers", "prepare", good});
  REQUIRE(wait_until([&] { return is_ready(services, good); }, 30s));
  auto bad = scaled_release(services, "bad", 2);
  // One bit of the registry's copy turns.
  auto shown_release = services.ask({"releases", "show", bad});
  auto hash = std::string{
      shown_release.at("manifest").at("files").at("models/bad/weights.safetensors").at("sha256").as_string()};
  auto blob = services.data() / "registry-0/blobs" / hash.substr(0, 2) / hash.substr(2);
  auto bytes = read_file(blob);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(blob, bytes);

  services.ask({"rankers", "prepare", good, bad});
  CHECK(wait_until(
      [&] {
        auto text = boost::json::serialize(services.ask({"rankers"}));
        return text.find(R"("id":")" + bad + R"(","state":"failed")") != std::string::npos;
      },
      30s));
  CHECK(is_ready(services, good));
  CHECK(services.troupe({"releases", "verify", "bad"}).code == 1);
  CHECK(services.down());
}
