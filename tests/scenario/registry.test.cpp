#include "tests/support/input.hpp"

#include <boost/json/parse.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <random>

using namespace troupe::testing;

namespace {

/// A model folder whose weights do not compress, so that sending them takes many parts.
std::filesystem::path model_folder(const fleet& services, const std::string& name, double ndcg,
                                   std::size_t bytes) {
  auto folder = services.temp() / name;
  std::filesystem::create_directories(folder);
  std::string weights(bytes, '\0');
  std::mt19937_64 random{bytes};
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    auto number = random();
    std::copy_n(reinterpret_cast<const char*>(&number), 8, weights.begin() + static_cast<std::ptrdiff_t>(at));
  }
  write_file(folder / "weights.safetensors", weights);
  write_file(folder / "items.txt", "i1\ni2\n");
  write_file(folder / "model.json", R"({"format":1,"kind":"ease","metrics":{"ndcg_at_10":)" +
                                        std::to_string(ndcg) + R"(},"data":{"split":"leave-one-out"}})");
  return folder;
}

} // namespace

TEST_CASE("models become versions and a release; the gate stops a bad one; all of it survives kill -9") {
  fleet services{"scenario_registry"};
  configure(services, "interactions");
  services.up();
  auto folder = model_folder(services, "good", 0.41, 3'000'000);

  auto first = services.ask({"models", "register", folder.string(), "--name", "ease"});
  CHECK(number(first, "version") == 1);
  CHECK(services.ask({"models", "register", folder.string(), "--name", "ease"}) == first);
  services.ask({"models", "alias", "ease:1", "--set", "production"});
  auto release = services.ask({"releases", "build", "--name", "first", "--model", "ease:production=0.7"});

  write_file(services.data() / "gate.toml", "[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\n");
  auto bad = model_folder(services, "bad", 0.2, 1'000);
  auto stopped = services.troupe({"models", "register", bad.string(), "--name", "ease"});
  CHECK(stopped.code == 1);
  CHECK_MESSAGE(stopped.err.find("ndcg_at_10 is 0.2, below 0.41") != std::string::npos, stopped.err);
  CHECK(number(services.ask({"models", "register", bad.string(), "--name", "ease", "--skip-gate"}),
               "version") == 2);

  // What differs between two versions: each leaf of their manifests, then and now; nothing else.
  auto differs = services.ask({"models", "diff", "ease:1", "ease:2"}).as_object();
  CHECK(differs.at("metrics.ndcg_at_10") == boost::json::array{"4.1E-1", "2E-1"});
  CHECK(differs.at("files.weights.safetensors.bytes") == boost::json::array{"3000000", "1000"});
  CHECK(differs.contains("files.weights.safetensors.sha256"));
  CHECK(!differs.contains("kind"));
  CHECK(!differs.contains("files.items.txt.sha256"));
  CHECK(services.ask({"models", "diff", "ease:1", "ease:1"}).as_object().empty());
  CHECK(services.troupe({"models", "diff", "ease:1", "ease:9"}).code == 1);

  // A kind that no ranker serves is not registered, whatever its files.
  auto foreign = model_folder(services, "foreign", 0.9, 1'000);
  write_file(foreign / "model.json", R"({"format":1,"kind":"random_forest","metrics":{"ndcg_at_10":0.9}})");
  auto unknown = services.troupe({"models", "register", foreign.string(), "--name", "forest"});
  CHECK(unknown.code == 1);
  CHECK_MESSAGE(unknown.err.find("the kinds are bpr, dcn, ease") != std::string::npos, unknown.err);

  auto pid = services.pid_of("registry");
  REQUIRE(pid.has_value());
  ::kill(*pid, SIGKILL);
  REQUIRE(wait_until(
      [&] { return services.pid_of("registry").value_or(*pid) != *pid && services.ready_now(); }, 30s));
  CHECK(services.ask({"releases", "show", "first"}) == release);
  auto& signature = release.at("manifest").at("signature");
  CHECK(signature.at("inputs") == boost::json::array{"history", "user"});
  CHECK(signature.at("outputs") == boost::json::array{"scores"});
  CHECK(number(services.ask({"releases", "verify", "first"}), "right") == 3);
  CHECK(number(services.ask({"models", "verify", "ease:2"}), "right") == 3);
  CHECK(services.ask({"models", "list"}).at("models").as_array().size() == 2);
  CHECK(services.troupe({"releases", "show", "none"}).code == 1);
  CHECK(services.down());
}

TEST_CASE("a file whose sending is cut off by kill -9 of the registry arrives whole when it is sent again") {
  fleet services{"scenario_registry_upload"};
  configure(services, "interactions");
  services.up();
  auto folder = model_folder(services, "large", 0.41, 120'000'000);

  auto sending =
      services.start({"models", "register", folder.string(), "--name", "large"}, services.temp() / "out");
  auto arriving = services.data() / "registry-0/blobs/arriving";
  REQUIRE(wait_until([&] { return !std::filesystem::is_empty(arriving); }, 30s));
  auto pid = services.pid_of("registry");
  REQUIRE(pid.has_value());
  ::kill(*pid, SIGKILL);
  sending.wait(60s);

  REQUIRE(wait_until(
      [&] { return services.pid_of("registry").value_or(*pid) != *pid && services.ready_now(); }, 30s));
  auto made = services.ask({"models", "register", folder.string(), "--name", "large"});
  CHECK(number(made, "version") == 1);
  CHECK(number(services.ask({"models", "verify", "large"}), "right") == 3);
  CHECK(services.down());
}
