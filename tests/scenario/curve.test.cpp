#include "tests/support/free_ports.hpp"
#include "tests/support/input.hpp"
#include "tests/support/metrics.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <sstream>

using namespace troupe::testing;

namespace {

/// The catalog of the containers as it is rendered, but for addresses and folders: one replica each, on
/// loopback ports.
std::string loopback_catalog(const fleet& services) {
  auto rendered = services.temp() / "rendered";
  auto made =
      run({(bin_dir() / "troupe").string(), "--catalog", (source_dir() / "compose" / "catalog.toml").string(),
           "catalog", "render", "compose", "--out", rendered.string()});
  REQUIRE_MESSAGE(made.code == 0, made.err);
  auto text = read_file(rendered / "fleet" / "catalog.toml");
  free_ports ports;
  std::string out;
  std::regex endpoint{"tcp://[^:]+:7000"};
  for (std::sregex_iterator at{text.begin(), text.end(), endpoint}, end; at != end; ++at)
    out += (out.empty() ? "" : " ") + std::to_string(ports.next());
  std::istringstream numbers{out};
  for (std::string port; numbers >> port;)
    text = std::regex_replace(text, endpoint, "tcp://127.0.0.1:" + port,
                              std::regex_constants::format_first_only);
  for (auto& [from, to] : std::map<std::string, std::string>{{"replicas = [0-9]+", "replicas = 1"},
                                                             {"0\\.0\\.0\\.0", "127.0.0.1"},
                                                             {"(admin|http)_port = [0-9]+", "$1_port = 0"},
                                                             {"file:/run/secrets/", "file:secrets/"},
                                                             {"file:keys/", "file:fleet/keys/"}})
    text = std::regex_replace(text, std::regex{from}, to);
  return text + "\n[feature-store.settings]\nviews = \"" +
         (source_dir() / "services/feature_store/views").string() + "\"\n";
}

std::vector<std::string> names_of(const json& status) {
  std::vector<std::string> names;
  for (auto& each : status.at("services").as_array())
    names.emplace_back(each.at("service").as_string());
  return names;
}

/// `troupe status` with another key or catalog: exit 1, and no service gave it anything.
void gets_nothing(const fleet& services, const std::string& caller, const std::vector<std::string>& options) {
  CAPTURE(caller);
  std::vector<std::string> words{(bin_dir() / "troupe").string(), "--data", services.data().string(),
                                 "--json"};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {"status", "--timeout", "3s"});
  auto got = run(words, 60s);
  CHECK(got.code == 1);
  auto status = boost::json::parse(got.out);
  for (auto& each : status.at("services").as_array()) {
    CHECK(each.at("state").as_string() == "unreachable");
    CHECK(each.at("gauges").as_object().empty());
  }
}

} // namespace

TEST_CASE("over TCP only keys on the list get answers; the others get nothing and are counted") {
  fleet services{"scenario_curve"};
  auto made = services.troupe({"keys", "fleet", services.temp().string()});
  REQUIRE_MESSAGE(made.code == 0, made.err);
  REQUIRE(
      services.troupe({"keys", "generate", "stranger", "--folder", (services.temp() / "secrets").string()})
          .code == 0);
  auto catalog = loopback_catalog(services);
  services.replace_catalog(catalog, "file:" + (services.temp() / "secrets" / "cli.secret").string());

  services.up();
  auto names = names_of(services.ask({"status"}));
  REQUIRE(names.size() >= 6);

  // The whole way with the right keys: client to ingest, ingest to validator, feature store to ingest.
  auto world = services.temp() / "world";
  generate(services, world, 2'000);
  CHECK(number(ingest(services, world), "events_added") == 2'000);
  CHECK(wait_until(
      [&] {
        auto text = metrics_of(services, "feature-store");
        return metric(text, "troupe_feature_store_records_total") >= 2'000 &&
               metric(text, "troupe_feature_store_lag_records") == 0;
      },
      60s));

  std::map<std::string, double> asked;
  for (auto& name : names)
    asked[name] = metric(metrics_of(services, name), "troupe_endpoint_requests_total");
  auto file = (services.temp() / "catalog.toml").string();
  auto secret = [&](const std::string& of) {
    return "file:" + (services.temp() / "secrets" / (of + ".secret")).string();
  };

  gets_nothing(services, "a key on no list", {"--catalog", file, "--key", secret("stranger")});
  // Nobody lets the validator in: it calls nobody.
  gets_nothing(services, "the key of a service that calls nobody",
               {"--catalog", file, "--key", secret("validator")});
  auto plain = services.temp() / "plain.toml";
  write_file(plain, std::regex_replace(catalog, std::regex{"\n(secret|public|allow) = [^\n]*"}, ""));
  gets_nothing(services, "no key", {"--catalog", plain.string()});
  auto mistaken = services.temp() / "mistaken.toml";
  write_file(mistaken, std::regex_replace(catalog, std::regex{"\npublic = [^\n]*"},
                                          "\npublic = \"file:secrets/stranger.public\""));
  gets_nothing(services, "the wrong key of the service",
               {"--catalog", mistaken.string(), "--key", secret("cli")});

  for (auto& name : names) {
    CAPTURE(name);
    auto text = metrics_of(services, name);
    CHECK(metric(text, "troupe_endpoint_refused_total", "reason=\"key\"") >= 2);
    CHECK(metric(text, "troupe_endpoint_refused_total", "reason=\"handshake\"") >= 1);
  }
  // The strangers reached no handler; only services that call one another went on meanwhile.
  CHECK(metric(metrics_of(services, "validator"), "troupe_endpoint_requests_total") == asked.at("validator"));
  CHECK(services.ready_now());

  CHECK(services.down());
  auto log = read_file(services.log());
  for (auto& each : std::filesystem::directory_iterator{services.temp() / "secrets"})
    if (each.path().extension() == ".secret")
      CHECK(log.find(read_file(each.path()).substr(0, 40)) == std::string::npos);
}
