#include "common/catalog/catalog.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

using namespace troupe;

namespace {

constexpr std::string_view good = R"(
version = 1
[ingest]
contract = "TRPI"
needs = ["validator"]
[validator]
contract = "TRPV"
replicas = 2
[feature-store]
contract = "TRPF"
replicas = 3
needs = ["ingest"]
endpoint = "tcp://127.0.0.1:7200+"
admin_port = 9121
[feature-store.settings]
threads = 2
[feature-store.settings.cache]
bytes = "1GiB"
)";

std::string error_of(const std::string& toml) {
  auto read = catalog::parse("version = 1\n" + toml, "c.toml", "/d");
  return read ? "" : read.error().text;
}

void write(const std::filesystem::path& file, std::string_view text) {
  std::ofstream{file, std::ios::trunc} << text;
}

} // namespace

TEST_CASE("a catalog gives services in the order of their needs with endpoints per replica") {
  auto read = catalog::parse(good, "compose/c.toml", "/data");

  REQUIRE_MESSAGE(read, read.error().text);
  REQUIRE(read->services().size() == 3);
  CHECK(read->services()[0].name == "validator");
  CHECK(read->services()[1].name == "ingest");
  CHECK(read->services()[2].name == "feature-store");
  CHECK(read->services()[0].endpoints ==
        std::vector<std::string>{"ipc:///data/run/validator-0.sock", "ipc:///data/run/validator-1.sock"});
  CHECK(read->services()[2].endpoints[2] == "tcp://127.0.0.1:7202");
  CHECK(read->services()[2].settings.values.at("cache.bytes") == config_value{"1GiB"});
  CHECK(read->data_of("ingest", 0) == "/data/ingest-0");
  CHECK(read->find("ranker").error().text.find("it has validator, ingest, feature-store") !=
        std::string::npos);
}

TEST_CASE("the catalog that is shipped is valid") {
  auto read = catalog::load(std::filesystem::path{TROUPE_COMPOSE} / "catalog.toml", "/data");
  CHECK_MESSAGE(read, (read ? "" : read.error().text));
}

TEST_CASE("every rule of the catalog names service, key, value and what is allowed") {
  CHECK(error_of("[ingest]\ncontract = \"TRPI\"\nreplicas = 2") ==
        "c.toml [ingest]: key replicas = 2: must be 1, as one process owns every partition of the log");
  CHECK(error_of("[feature-store]\ncontract = \"TRPF\"\nreplicas = 2\nleast_replicas = 1") ==
        "c.toml [feature-store]: key least_replicas = 1: replicas that keep a part each cannot come and go");
  CHECK(error_of("[ingest]\ncontract = \"TRPX\"").find("this build speaks TRPI version 1") !=
        std::string::npos);
  CHECK(error_of("[ingest]").find("key contract is missing") != std::string::npos);
  CHECK(error_of("[ingest]\ncontract = \"TRPI\"\nreplica = 1").find("did you mean replicas?") !=
        std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nneeds = [\"b\"]").find("there is no service b") !=
        std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\ncalls = [\"b\"]").find("key calls: there is no service b") !=
        std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nneeds = [\"b\"]\n[b]\ncontract = \"TRPB\"\nneeds = [\"a\"]")
            .find("the services a, b need each other in a circle") != std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nreplicas = 2\nendpoint = \"tcp://127.0.0.1:7000\"")
            .find("a/0 and a/1 have the same endpoint") != std::string::npos);
  CHECK(
      error_of("[a]\ncontract = \"TRPA\"\nendpoint = \"tcp://127.0.0.1:70000\"").find("must be 1 to 65535") !=
      std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nendpoint = \"udp://x\"")
            .find("must be ipc, ipc://path or tcp://host:port") != std::string::npos);
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nadmin_port = 9000\n[b]\ncontract = \"TRPB\"\nadmin_port = 9000")
            .find("a/0 and b/0 have the same admin address 127.0.0.1:9000") != std::string::npos);
  CHECK(error_of("[A]\ncontract = \"TRPA\"").find("[A] is not a name for a service") != std::string::npos);
  CHECK(error_of("").find("there is no service in it") != std::string::npos);
  CHECK(catalog::parse("[a]\ncontract = \"TRPA\"", "c.toml", "/d")
            .error()
            .text.find("key version is missing") != std::string::npos);
}

TEST_CASE("an endpoint that leaves the machine needs keys") {
  CHECK(error_of("[a]\ncontract = \"TRPA\"\nendpoint = \"tcp://a-{replica}:7000\"").find("has no keys") !=
        std::string::npos);

  auto read = catalog::parse(
      "version = 1\n[a]\ncontract = \"TRPA\"\nreplicas = 2\nendpoint = \"tcp://a-{replica}:7000\"\n"
      "[a.curve]\nsecret = \"file:keys/a.secret\"\npublic = \"file:keys/a.public\"\n"
      "allow = [\"file:keys/b.public\"]",
      "c.toml", "/d");

  REQUIRE_MESSAGE(read, read.error().text);
  CHECK(read->services()[0].endpoints[1] == "tcp://a-1:7000");
  CHECK(read->services()[0].port_of(9000, 1) == 9000); // each replica has a host of its own
  CHECK(read->services()[0].binds[1] == "tcp://*:7000");
}

TEST_CASE("a secret never stands in the catalog itself") {
  CHECK(error_of("[a]\ncontract = \"TRPA\"\n[a.curve]\nsecret = \"0123456789012345678901234567890123456789\"")
            .find("a secret never stands in the catalog") != std::string::npos);
}

TEST_CASE("a changed catalog comes into force and a broken one does not") {
  testing::temp_dir folder;
  auto file = folder / "catalog.toml";
  write(file, good);
  auto first = catalog::load(file, folder / "data");
  REQUIRE(first);
  catalog_watch watch{std::make_shared<const catalog>(std::move(*first))};

  CHECK(watch.check()->empty());
  write(file, "version = 1\n[ingest]\ncontract = \"TRPI\"\ndrain_timeout = \"1s\"\n");
  auto changed = watch.check();
  REQUIRE(changed);
  CHECK(std::ranges::find(*changed, "ingest.drain_timeout") != changed->end());
  CHECK(std::ranges::find(*changed, "validator.contract") != changed->end());
  CHECK(std::ranges::find(*changed, "ingest.contract") == changed->end());
  CHECK(watch.current()->services()[0].drain_timeout == std::chrono::seconds{1});
  write(file, "version = 2\n");
  auto refused = watch.check();
  CHECK_FALSE(refused);
  CHECK(watch.check()->empty());
  CHECK(watch.current()->services().size() == 1);
  write(file,
        "# Only a comment is new.\nversion = 1\n[ingest]\ncontract = \"TRPI\"\ndrain_timeout = \"1s\"\n");
  CHECK(watch.check()->empty());
}

TEST_CASE("for each key it is said whether a change takes effect now, after a restart, or when files are "
          "rendered") {
  CHECK(describe_change({}) == "");
  CHECK(describe_change({"gateway.drain_timeout"}) == "now gateway.drain_timeout");
  CHECK(describe_change({"gateway.container.replicas", "gateway.drain_timeout", "gateway.endpoint",
                         "gateway.resources.cpus", "gateway.settings.http_port", "gateway.settings.log_level",
                         "gateway.start_timeout", "ranker.replicas"}) ==
        "now gateway.drain_timeout, gateway.settings.log_level, gateway.start_timeout; when the service is "
        "started "
        "again gateway.endpoint, gateway.settings.http_port, ranker.replicas; when files for containers are "
        "rendered "
        "gateway.container.replicas, gateway.resources.cpus");
}
