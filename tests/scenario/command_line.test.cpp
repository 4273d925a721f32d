#include "tests/support/fleet.hpp"

#include "common/http/server.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <regex>

using namespace troupe::testing;

TEST_CASE("wrong usage ends with 2 and says what is wrong, whether a fleet runs or not") {
  fleet services{"scenario_command_line_usage"};

  for (const auto& words :
       std::vector<std::vector<std::string>>{{"status", "--timeout", "abc"},
                                             {"status", "--wait", "1"},
                                             {"rollouts", "start"},
                                             {"rollouts", "start", "--release", "r", "--pause", "x"},
                                             {"train"},
                                             {"api-keys", "create", "web", "--scopes", "all"},
                                             {"up", "--set", "nonsense"},
                                             {"no-such-command"}}) {
    auto got = services.troupe(words);
    CAPTURE(words[0]);
    CHECK(got.code == 2);
    CHECK_FALSE(got.err.empty());
    CHECK(got.out.empty());
  }
  CHECK(services.troupe({"rollouts", "list"}).code == 1); // Nobody answers: that is no wrong usage.
}

TEST_CASE("the help has every command under what people do with it") {
  fleet services{"scenario_command_line_help"};

  auto help = services.troupe({"--help"});

  CHECK(help.code == 0);
  std::size_t at = 0;
  for (auto heading :
       {"Run a fleet:", "Bring data in and check them:", "Make features:", "Train:",
        "Keep models and release them:", "Ask for recommendations:", "Try it without users of your own:"}) {
    CAPTURE(heading);
    auto found = help.out.find(std::string{"\n"} + heading + "\n", at);
    REQUIRE(found != std::string::npos);
    at = found;
  }
  CHECK(help.out.find("\nSubcommands:") == std::string::npos); // what is in no group
}

TEST_CASE("a port in use ends troupe up, which says whose") {
  fleet services{"scenario_command_line_port"};
  write_file(services.data() / "views" / "v.toml",
             read_file(source_dir() / "services" / "feature_store" / "views" / "serving.toml"));
  auto taken =
      troupe::http::server::start({}, [](const troupe::http::request&) { return troupe::http::response{}; });
  REQUIRE(taken);

  auto up = services.troupe(
      {"up", "--any-admin-port", "--set", "gateway.http_port=" + std::to_string((*taken)->port())}, 60s);

  CHECK(up.code == 1);
  CHECK(up.err.find("gateway/0 does not start: its address is in use") != std::string::npos);
  CHECK(up.err.find(std::to_string((*taken)->port())) != std::string::npos);
}

TEST_CASE("API keys are made where the gateway of the catalog looks for them") {
  fleet services{"scenario_command_line_keys"};
  auto text = read_file(services.temp() / "catalog.toml");

  REQUIRE(services.troupe({"api-keys", "create", "first"}).code == 0);
  CHECK(std::filesystem::exists(services.data() / "api-keys.toml"));
  services.replace_catalog(std::regex_replace(text, std::regex{"\\[gateway.settings\\]"},
                                              "[gateway.settings]\napi_keys = \"own-keys.toml\""),
                           {});

  CHECK(services.ask({"api-keys", "list"}).at("keys").as_array().empty());
  auto made = services.troupe({"api-keys", "create", "second"});
  CHECK(made.code == 0);
  CHECK(made.err.find("until it is started again") != std::string::npos);
  CHECK(std::filesystem::exists(services.temp() / "own-keys.toml"));
  CHECK(services.ask({"api-keys", "list"}).at("keys").as_array().size() == 1);
}

TEST_CASE("views beside the catalog are served, a replica that comes and goes is absent and well, Ctrl-C "
          "ends with 130") {
  fleet services{"scenario_command_line"};
  std::filesystem::create_directories(services.temp() / "views");
  write_file(services.temp() / "views" / "own.toml",
             "[[view]]\nname = \"own\"\nentity = \"user\"\nsource = [\"purchase\"]\nttl = \"30d\"\n"
             "[[view.feature]]\nname = \"bought\"\noperator = \"count\"\nwindow = \"7d\"\n");
  services.up();

  auto views = services.troupe({"features", "list"});
  CHECK(views.code == 0);
  CHECK(views.out.find("bought") != std::string::npos);

  auto text = read_file(services.temp() / "catalog.toml");
  auto more = [&](const std::string& least) {
    auto file = services.temp() / ("more" + least + ".toml");
    write_file(file, std::regex_replace(text, std::regex{"(\\[ranker\\][^\\[]*)replicas = 1"},
                                        "$1replicas = 2\nleast_replicas = " + least));
    return run({(bin_dir() / "troupe").string(), "--catalog", file.string(), "--data",
                services.data().string(), "--json", "status"});
  };
  auto may = more("1"), must = more("2");
  CHECK(may.code == 0);
  CHECK(may.out.find("\"may_be_absent\":true,\"state\":\"absent\"") != std::string::npos);
  CHECK(must.code == 1);
  CHECK(must.out.find("\"may_be_absent\":false,\"state\":\"unreachable\"") != std::string::npos);

  // The gateway says what of a changed catalog it takes at once, and what waits for a restart.
  auto changed = text;
  auto replace = [&](std::string_view what, std::string_view by) {
    auto at = changed.find(what, changed.find("\n[gateway]\n"));
    REQUIRE(at != std::string::npos);
    changed.replace(at, what.size(), by);
  };
  replace("drain_timeout = \"20s\"", "drain_timeout = \"19s\"");
  replace("max_in_flight = 64", "max_in_flight = 63");
  services.replace_catalog(changed, {});
  CHECK(wait_until(
      [&] {
        return read_file(services.log())
                   .find("catalog.toml: now gateway.drain_timeout; when the service is started again "
                         "gateway.max_in_flight") != std::string::npos;
      },
      20s));

  CHECK(services.ask({"rollouts", "list"}).at("next").is_null());
  auto following = services.start({"log", "tail", "--follow"}, services.temp() / "tail.txt");
  CHECK_FALSE(following.wait(1s));
  following.signal(SIGINT);
  CHECK(following.wait(20s) == 130);
}
