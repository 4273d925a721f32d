#include "services/cli/render.hpp"

#include "services/cli/container_fleet.hpp"
#include "services/cli/render_compose.hpp"
#include "services/cli/render_kubernetes.hpp"
#include "services/cli/yaml.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <sstream>

using namespace troupe;
using troupe::cli::to_yaml;
namespace json = boost::json;

namespace {

/// Two callers of a sharded store, one of them with a door for users, one that keeps nothing.
constexpr std::string_view small = R"(
version = 1
[store]
contract = "TRPX"
replicas = 2
admin_port = 9001
drain_timeout = "20s"
[store.settings]
note = "a \"quoted\" word"
[store.resources]
memory = "1GiB"
cpus = 0.5
[store.container]
volume = "1GiB"
[door]
contract = "TRPX"
needs = ["store"]
calls = ["store"]
admin_port = 9012
[door.settings]
http_address = "127.0.0.1"
[door.container]
replicas = 2
most_replicas = 3
volume = "1GiB"
port = 8080
[door.container.settings]
http_address = "0.0.0.0"
api_keys = "api-keys.toml"
[judge]
contract = "TRPX"
admin_port = 9023
)";

catalog read(std::string_view text) {
  auto made = catalog::parse(text, "/fleet/catalog.toml", "/data");
  REQUIRE_MESSAGE(made, made.error().text);
  return std::move(*made);
}

std::vector<std::string> keys_of(const json::object& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object)
    keys.emplace_back(key);
  return keys;
}

const json::object* find(const std::vector<json::object>& objects, std::string_view kind,
                         std::string_view name) {
  for (const auto& each : objects)
    if (each.at("kind").as_string() == kind && each.at("metadata").at("name").as_string() == name)
      return &each;
  return nullptr;
}

} // namespace

TEST_CASE("YAML quotes every text that would be read as something else") {
  json::object value{{"a", "plain-text/1.0"}, {"b", "no"},    {"c", "1e3"},        {"d", ""},
                     {"e", json::object{}},   {"f", 1.0},     {"g", "a: b #c"},    {"h", "x\ny\n"},
                     {"12:30", "12:30"},      {"i", nullptr}, {"j", json::array{}}};
  value["k"] = json::array{json::object{{"l", json::array{1, true}}, {"m", "- z"}}};

  CHECK(to_yaml(value) == R"(a: plain-text/1.0
b: "no"
c: "1e3"
d: ""
e: {}
f: 1
g: "a: b #c"
h: |
  x
  y
"12:30": "12:30"
i: null
j: []
k:
  - l:
      - 1
      - true
    m: "- z"
)");
}

TEST_CASE("the catalog of the containers is valid, calls everybody by name and lets in who calls") {
  auto made = catalog::parse(cli::container_catalog(read(small), cli::container_target::compose),
                             "/etc/troupe/catalog.toml", "/data");

  REQUIRE_MESSAGE(made, made.error().text);
  const auto& store = **made->find("store");
  const auto& door = **made->find("door");
  CHECK(store.endpoints == std::vector<std::string>{"tcp://store-0.store:7000", "tcp://store-1.store:7000"});
  CHECK(store.binds[1] == "tcp://*:7000");
  CHECK(store.port_of(store.admin_port, 1) == 9001);
  CHECK(store.curve.secret == "file:/run/secrets/store.secret");
  CHECK(store.curve.allow == std::vector<std::string>{"file:keys/door.public", "file:keys/cli.public"});
  CHECK(door.curve.allow == std::vector<std::string>{"file:keys/cli.public"});
  CHECK(door.replicas == 2);
  CHECK(door.settings.values.at("http_address") == config_value{"0.0.0.0"});
  CHECK(store.settings.values.at("note") == config_value{"a \"quoted\" word"});
}

TEST_CASE("a Compose file has a service a replica, started after the health of what it needs") {
  auto file = cli::compose_file(read(small));

  auto& services = file.at("services").as_object();
  CHECK(keys_of(services) ==
        std::vector<std::string>{"judge", "store-0", "store-1", "door-0", "door-1", "cli", "prometheus"});
  auto& door = services.at("door-1").as_object();
  CHECK(json::serialize(door.at("depends_on")) ==
        R"({"store-0":{"condition":"service_healthy"},"store-1":{"condition":"service_healthy"}})");
  CHECK(json::serialize(door.at("command")) == R"(["--replica","1"])");
  CHECK(json::serialize(door.at("ports")) == R"(["${TROUPE_ADDRESS:-127.0.0.1}:8081:8080"])");
  auto& store = services.at("store-0").as_object();
  CHECK(json::serialize(store.at("volumes")) == R"(["./fleet:/etc/troupe:ro","store-0:/data"])");
  CHECK(store.at("mem_limit") == "1024m");
  CHECK(store.at("stop_grace_period") == "30s");
  CHECK(json::serialize(store.at("networks")) == R"({"fleet":{"aliases":["store-0.store"]}})");
  CHECK(json::serialize(services.at("judge").at("tmpfs")) == R"(["/tmp","/data:uid=10001,gid=10001"])");
  for (const auto& [name, service] : services) {
    CHECK(service.at("read_only") == true);
    CHECK(service.at("user") == "10001:10001");
    CHECK(json::serialize(service.at("cap_drop")) == R"(["ALL"])");
    CHECK_FALSE(service.as_object().contains("environment")); // nothing for `docker inspect` to show
  }
  CHECK(json::serialize(cli::prometheus_file(read(small))).find(R"(["door-1.door:9012"])") !=
        std::string::npos);
}

TEST_CASE("Kubernetes keeps the state of a service, its name, and the doors that the catalog opens") {
  auto objects = cli::kubernetes_objects(read(small), {{"views/a.toml", "x = 1\n"}});

  auto* store = find(objects, "StatefulSet", "store");
  REQUIRE(store);
  CHECK(store->at("spec").at("replicas") == 2);
  CHECK(json::serialize(store->at("spec").at("volumeClaimTemplates")).find(R"("storage":"1024Mi")") !=
        std::string::npos);
  CHECK(find(objects, "Deployment", "judge"));
  CHECK(find(objects, "Service", "store")->at("spec").at("clusterIP") == "None");
  CHECK(find(objects, "Service", "door-http"));
  CHECK_FALSE(find(objects, "Service", "store-http"));
  auto* scaler = find(objects, "HorizontalPodAutoscaler", "door");
  REQUIRE(scaler);
  CHECK(scaler->at("spec").at("minReplicas") == 2);
  CHECK(scaler->at("spec").at("maxReplicas") == 3);
  CHECK_FALSE(find(objects, "StatefulSet", "door")->at("spec").as_object().contains("replicas"));
  CHECK(find(objects, "ConfigMap", "troupe-fleet")->at("data").at("views.a.toml") == "x = 1\n");
  auto& to_store = find(objects, "NetworkPolicy", "store")->at("spec").at("ingress").as_array();
  CHECK(json::serialize(to_store[0].at("from")).find(R"("app.kubernetes.io/name":"door")") !=
        std::string::npos);
  CHECK(json::serialize(to_store[0].at("from")).find(R"("app.kubernetes.io/name":"judge")") ==
        std::string::npos);
}

TEST_CASE("Kubernetes runs the images that were asked for, and lets a door finish what it was sent") {
  auto objects = cli::kubernetes_objects(read(small), {}, {"registry.example/t", "7"});

  auto pod_of = [&](std::string_view kind, std::string_view name) -> const json::object& {
    return find(objects, kind, name)->at("spec").at("template").at("spec").as_object();
  };
  auto& door = pod_of("StatefulSet", "door");
  auto& box = door.at("containers").as_array()[0].as_object();
  CHECK(box.at("image") == "registry.example/t/door:7");
  CHECK(box.at("imagePullPolicy") == "IfNotPresent");
  CHECK(json::serialize(box.at("lifecycle")) == R"({"preStop":{"exec":{"command":["sleep","5"]}}})");
  CHECK(door.at("terminationGracePeriodSeconds") == 25); // 10 s to drain, 10 s of reserve
  auto& store = pod_of("StatefulSet", "store");
  CHECK_FALSE(store.at("containers").as_array()[0].as_object().contains("lifecycle"));
  CHECK(store.at("terminationGracePeriodSeconds") == 30);
}

TEST_CASE("the command line in Kubernetes knows its catalog and key, and reaches the door") {
  auto objects = cli::kubernetes_objects(read(small), {});

  auto& box = find(objects, "Deployment", "cli")
                  ->at("spec")
                  .at("template")
                  .at("spec")
                  .at("containers")
                  .as_array()[0]
                  .as_object();
  auto text = json::serialize(box.at("env"));
  CHECK(text.find(R"({"name":"TROUPE_CATALOG","value":"/etc/troupe/catalog.toml"})") != std::string::npos);
  CHECK(text.find(R"({"name":"TROUPE_KEY","value":"file:/run/secrets/cli.secret"})") != std::string::npos);
  auto egress = json::serialize(find(objects, "NetworkPolicy", "cli")->at("spec").at("egress"));
  CHECK(
      egress.find(
          R"("app.kubernetes.io/name":"door","app.kubernetes.io/part-of":"troupe"}}}],"ports":[{"protocol":"TCP","port":8080}])") !=
      std::string::npos);
}

TEST_CASE("under Kubernetes the catalog says how many of a service always run") {
  auto text = cli::container_catalog(read(small), cli::container_target::kubernetes);
  auto made = catalog::parse(text, "/etc/troupe/catalog.toml", "/data");

  REQUIRE_MESSAGE(made, made.error().text);
  const auto& door = **made->find("door");
  CHECK(door.replicas == 3);
  CHECK(door.least_replicas == 2);
  CHECK_FALSE(door.comes_and_goes(1));
  CHECK(door.comes_and_goes(2));
  CHECK_FALSE((*made->find("store"))->comes_and_goes(1));
  CHECK(cli::container_catalog(read(small), cli::container_target::compose).find("least_replicas") ==
        std::string::npos);
}

TEST_CASE("every object of Kubernetes hangs together") {
  auto objects = cli::kubernetes_objects(read(small), {});
  std::set<std::string> seen;
  for (const auto& each : objects) {
    auto kind = std::string{each.at("kind").as_string()};
    auto name = std::string{each.at("metadata").at("name").as_string()};
    CAPTURE(kind);
    CAPTURE(name);
    CHECK(seen.insert(kind + "/" + name).second);
    if (kind != "StatefulSet" && kind != "Deployment")
      continue;
    auto& spec = each.at("spec").as_object();
    auto& labels = spec.at("template").at("metadata").at("labels").as_object();
    CHECK(spec.at("selector").at("matchLabels").as_object() == labels);
    if (kind == "StatefulSet")
      CHECK(find(objects, "Service", spec.at("serviceName").as_string()));
    auto& pod = spec.at("template").at("spec").as_object();
    std::set<std::string> volumes;
    for (const auto& volume : pod.at("volumes").as_array())
      volumes.emplace(volume.at("name").as_string());
    if (auto* claims = spec.if_contains("volumeClaimTemplates"))
      for (const auto& claim : claims->as_array())
        volumes.emplace(claim.at("metadata").at("name").as_string());
    auto& container = pod.at("containers").as_array()[0].as_object();
    for (const auto& mount : container.at("volumeMounts").as_array())
      CHECK(volumes.contains(std::string{mount.at("name").as_string()}));
    CHECK(pod.at("securityContext").at("runAsNonRoot") == true);
    CHECK(container.at("securityContext").at("readOnlyRootFilesystem") == true);
  }
}

TEST_CASE("the files in compose/ are those that the catalog renders") {
  std::filesystem::path folder{TROUPE_COMPOSE};
  auto fleet = catalog::load(folder / "catalog.toml", "/data");
  REQUIRE_MESSAGE(fleet, fleet.error().text);

  for (const auto& files : {cli::render_compose(*fleet), cli::render_kubernetes(*fleet)}) {
    REQUIRE(files);
    for (const auto& [path, text] : *files) {
      std::ifstream in{folder / path, std::ios::binary};
      std::ostringstream there;
      there << in.rdbuf();
      CHECK_MESSAGE(there.str() == text, path, " differs: run troupe catalog render compose, and kubernetes");
    }
  }
}

TEST_CASE("replicas that keep a part each do not come and go, the others within their bounds") {
  std::string text = "version = 1\n[feature-store]\ncontract = \"TRPF\"\nadmin_port = 0\n"
                     "[feature-store.container]\nmost_replicas = 2\n";
  CHECK(catalog::parse(text, "c.toml", "/d")
            .error()
            .text.find("replicas that keep a part each cannot come and go") != std::string::npos);
  text = "version = 1\n[bad]\ncontract = \"TRPX\"\nadmin_port = 0\nreplicas = 2\nleast_replicas = 3\n";
  CHECK(catalog::parse(text, "c.toml", "/d").error().text.find("must be at most 2, its replicas") !=
        std::string::npos);
}
