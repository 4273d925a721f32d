#include "tests/support/free_ports.hpp"
#include "tests/support/input.hpp"

#include "common/http/client.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

using namespace troupe::testing;
namespace http = troupe::http;

namespace {

/// The service `name` of each admin port: `ingest` -> `127.0.0.1:40123`.
std::map<std::string, std::string> admin_addresses(const fleet& services) {
  std::map<std::string, std::string> found;
  for (auto& each : std::filesystem::directory_iterator{services.data() / "run"}) {
    auto name = each.path().stem().string();
    if (each.path().extension() != ".admin" || !name.ends_with("-0"))
      continue;
    auto text = read_file(each.path());
    found[name.substr(0, name.size() - 2)] = text.substr(0, text.find('\n'));
  }
  return found;
}

std::string get(const std::string& address, const std::string& path) {
  auto target = http::client_target::parse("http://" + address);
  REQUIRE(target);
  auto got = http::client{*target}.call("GET", path, {}, troupe::deadline::in(20s));
  return got ? got->body : "";
}

/// Debian's Prometheus over the services of a fleet, with the rules of compose/prometheus made quick.
class prometheus {
public:
  explicit prometheus(const fleet& services) : address_{"127.0.0.1:" + std::to_string(free_ports{}.next())} {
    auto folder = services.temp() / "prometheus";
    std::filesystem::create_directories(folder);
    auto rules = read_file(source_dir() / "compose" / "prometheus" / "rules.yml");
    rules = std::regex_replace(rules, std::regex{"for: [0-9]+m"}, "for: 1s");
    rules = std::regex_replace(rules, std::regex{"\\[5m\\]"}, "[15s]");
    write_file(folder / "rules.yml", rules);
    auto text =
        std::string{"global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
                    "rule_files: [rules.yml]\nscrape_configs:\n- job_name: troupe\n  static_configs:\n"};
    for (auto& [name, where] : admin_addresses(services))
      text += "  - {targets: ['" + where + "'], labels: {service: '" + name + "', replica: '0'}}\n";
    write_file(folder / "prometheus.yml", text);
    auto log = log_dir() / "scenario_monitoring_prometheus.log";
    std::filesystem::remove(log);
    process_.emplace(std::vector<std::string>{"/usr/bin/prometheus",
                                              "--config.file=" + (folder / "prometheus.yml").string(),
                                              "--storage.tsdb.path=" + (folder / "data").string(),
                                              "--web.listen-address=" + address_},
                     log, log);
  }

  /// The services that the query finds, by label.
  std::set<std::string> services_of(const std::string& query) const {
    std::set<std::string> found;
    auto read = ask("/api/v1/query?query=" + query);
    if (read.is_object())
      for (auto& each : read.at("data").at("result").as_array())
        if (auto* name = each.at("metric").as_object().if_contains("service"))
          found.emplace(name->as_string());
    return found;
  }

  /// The services of an alert that fires; "" stands for an alert of the whole fleet.
  std::set<std::string> firing(const std::string& alert) const {
    std::set<std::string> found;
    auto read = ask("/api/v1/alerts");
    if (!read.is_object())
      return found;
    for (auto& each : read.at("data").at("alerts").as_array()) {
      auto& labels = each.at("labels").as_object();
      if (each.at("state").as_string() != "firing" || labels.at("alertname").as_string() != alert)
        continue;
      auto* service = labels.if_contains("service");
      found.emplace(service ? std::string{service->as_string()} : "");
    }
    return found;
  }

private:
  json ask(const std::string& path) const {
    boost::system::error_code err;
    auto read = boost::json::parse(get(address_, path), err);
    return err || !read.as_object().contains("data") ? json{} : read;
  }

  std::string address_;
  std::optional<child> process_;
};

/// The naming scheme of common/metrics/metrics.hpp.
void follows_the_scheme(const std::string& text) {
  std::map<std::string, std::string> help;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    std::string hash, what, name, rest;
    words >> hash >> what >> name;
    if (hash != "#")
      continue;
    std::getline(words, rest);
    if (what == "HELP")
      help[name] = rest;
    if (what != "TYPE")
      continue;
    CAPTURE(name);
    static const std::regex scheme{"process_[a-z_]+|troupe_(ingest|validator|feature_store|trainer|registry|"
                                   "deployer|ranker|gateway|service|"
                                   "endpoint|client|pool)_[a-z0-9_]*[a-z0-9]"};
    CHECK(std::regex_match(name, scheme));
    CHECK(name.ends_with("_total") == (rest == " counter"));
    CHECK((rest != " histogram" || name.ends_with("_seconds")));
    CHECK(help[name].ends_with('.'));
  }
}

} // namespace

TEST_CASE(
    "a real Prometheus reads every service; alerts fire for a hung service and a flood of bad rows, and "
    "end") {
  if (!std::filesystem::exists("/usr/bin/prometheus")) {
    std::cout << "skipped: no prometheus\n";
    return;
  }
  fleet services{"scenario_monitoring"};
  configure(services, "interactions");
  services.up();
  auto addresses = admin_addresses(services);
  auto world = services.temp() / "world";
  generate(services, world, 2'000);
  ingest(services, world);

  for (auto& [name, address] : addresses) {
    CAPTURE(name);
    auto file = services.temp() / "metrics.txt";
    write_file(file, get(address, "/metrics"));
    follows_the_scheme(read_file(file));
    auto lint = run({"/bin/sh", "-c", "promtool check metrics < '" + file.string() + "'"});
    CHECK_MESSAGE(lint.code == 0, lint.out, lint.err);
  }

  prometheus watch{services};
  std::set<std::string> names;
  for (auto& [name, address] : addresses)
    names.insert(name);
  REQUIRE(wait_until([&] { return watch.services_of("up%20==%201") == names; }, 60s));
  CHECK(watch.services_of("troupe_service_ready%20==%201") == names);
  CHECK(watch.services_of("troupe_service_disk_free_bytes%20%3E%200") == names);
  CHECK(watch.firing("TroupeNotReady").empty());
  CHECK(watch.firing("TroupeQuarantine").empty());

  auto validator = services.pid_of("validator");
  REQUIRE(validator);
  ::kill(*validator, SIGSTOP);
  CHECK(wait_until([&] { return watch.firing("TroupeNotReady").contains("validator"); }, 60s));
  ::kill(*validator, SIGCONT);
  CHECK(wait_until([&] { return watch.firing("TroupeNotReady").empty(); }, 60s));

  auto bad = services.temp() / "bad";
  std::filesystem::create_directories(bad);
  std::string rows;
  for (int i = 0; i < 20'000; ++i)
    rows += "{\"kind\":\"event\",\"id\":\"bad" + std::to_string(i) + "\",\"user\":7}\n";
  write_file(bad / "events.jsonl", rows);
  CHECK(services.troupe({"ingest", bad.string()}).code == 0);
  CHECK(wait_until([&] { return !watch.firing("TroupeQuarantine").empty(); }, 60s));
  CHECK(wait_until([&] { return watch.firing("TroupeQuarantine").empty(); }, 60s));
}
