#include "services/cli/render_kubernetes.hpp"

#include "services/cli/container_fleet.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace troupe::cli {

namespace json = boost::json;

namespace {

using namespace std::chrono_literals;

constexpr std::string_view fleet_config = "troupe-fleet";
constexpr std::string_view public_keys = "troupe-public-keys";
constexpr std::string_view api_keys = "troupe-api-keys";
/// Whose namespace may read metrics.
constexpr std::string_view monitoring_namespace = "monitoring";
constexpr auto probe_every = 5s;
/// A pod that is to stop answers on for so long, until everybody has heard that it leaves its Service.
constexpr auto leave_time = 5s;
/// Part of its processors at which an autoscaler adds a pod.
constexpr int busy_percent = 70;

json::object labels_of(std::string_view name) {
  return {{"app.kubernetes.io/name", name}, {"app.kubernetes.io/part-of", "troupe"}};
}

json::object object(std::string_view version, std::string_view kind, std::string_view name,
                    std::string_view part, json::object body) {
  json::object out{{"apiVersion", version},
                   {"kind", kind},
                   {"metadata", json::object{{"name", name}, {"labels", labels_of(part)}}}};
  for (auto& [key, value] : body)
    out[key] = std::move(value);
  return out;
}

json::object selector(std::string_view name) {
  return {{"matchLabels", labels_of(name)}};
}

/// One key of a config map cannot be a path: `views/serving.toml` is the key `views.serving.toml`.
std::string config_map_key(std::string path) {
  std::ranges::replace(path, '/', '.');
  return path;
}

json::object config_map(const catalog& fleet, const fleet_files& files) {
  json::object data{{"catalog.toml", container_catalog(fleet, container_target::kubernetes)}};
  for (const auto& [path, text] : files)
    data[config_map_key(path)] = text;
  return object("v1", "ConfigMap", fleet_config, fleet.fleet(), {{"data", std::move(data)}});
}

/// /etc/troupe: the catalog, the other files of the fleet, everybody's public key, and the API keys for who
/// serves users.
json::object fleet_volume(const catalog& fleet, const fleet_files& files, const config_section& settings) {
  json::array texts{json::object{{"key", "catalog.toml"}, {"path", "catalog.toml"}}};
  for (const auto& [path, text] : files)
    texts.push_back(json::object{{"key", config_map_key(path)}, {"path", path}});
  json::array keys;
  auto add_key = [&keys](const std::string& name) {
    keys.push_back(json::object{{"key", name + ".public"}, {"path", "keys/" + name + ".public"}});
  };
  for (const auto& entry : fleet.services())
    add_key(entry.name);
  add_key("cli");
  json::array sources{
      json::object{{"configMap", json::object{{"name", fleet_config}, {"items", std::move(texts)}}}},
      json::object{{"configMap", json::object{{"name", public_keys}, {"items", std::move(keys)}}}}};
  if (auto file = settings.values.find("api_keys"); file != settings.values.end())
    sources.push_back(json::object{
        {"secret",
         json::object{{"name", api_keys},
                      {"optional", true},
                      {"items", json::array{json::object{{"key", "api-keys.toml"},
                                                         {"path", std::get<std::string>(file->second)}}}}}}});
  return {{"name", "fleet"}, {"projected", json::object{{"sources", std::move(sources)}}}};
}

json::object key_volume(const std::string& name) {
  return {{"name", "key"},
          {"secret", json::object{{"secretName", fmt::format("troupe-{}-key", name)},
                                  {"defaultMode", 0440},
                                  {"items", json::array{json::object{{"key", name + ".secret"},
                                                                     {"path", name + ".secret"}}}}}}};
}

json::array mounts() {
  return {json::object{{"name", "fleet"}, {"mountPath", "/etc/troupe"}, {"readOnly", true}},
          json::object{{"name", "key"}, {"mountPath", "/run/secrets"}, {"readOnly", true}},
          json::object{{"name", "data"}, {"mountPath", "/data"}},
          json::object{{"name", "tmp"}, {"mountPath", "/tmp"}}};
}

json::object empty_volume(std::string_view name) {
  return {{"name", name}, {"emptyDir", json::object{}}};
}

json::object pod_security() {
  return {{"runAsNonRoot", true},
          {"runAsUser", container_user},
          {"runAsGroup", container_user},
          {"fsGroup", container_user},
          {"seccompProfile", json::object{{"type", "RuntimeDefault"}}}};
}

json::object container_security() {
  return {{"allowPrivilegeEscalation", false},
          {"readOnlyRootFilesystem", true},
          {"capabilities", json::object{{"drop", json::array{"ALL"}}}}};
}

void set_image(json::object& container, const image_names& images, std::string_view name) {
  container["image"] = fmt::format("{}/{}:{}", images.prefix, name, images.tag);
  container["imagePullPolicy"] = "IfNotPresent";
}

json::object http_get(std::string_view path) {
  return {{"path", path}, {"port", "admin"}};
}

json::object resources_of(const service_entry& entry) {
  json::object limits;
  if (entry.resources.cpus != 0)
    limits["cpu"] = fmt::format("{}m", static_cast<int>(entry.resources.cpus * 1'000));
  if (entry.resources.memory_bytes != 0)
    limits["memory"] = fmt::format("{}Mi", entry.resources.memory_bytes >> 20);
  return {{"requests", limits}, {"limits", limits}};
}

bool has_door(const service_entry& entry) {
  return entry.container.port != 0;
}

json::object container(const service_entry& entry, const image_names& images, bool numbered) {
  json::array ports{json::object{{"name", "endpoint"}, {"containerPort", container_port}},
                    json::object{{"name", "admin"}, {"containerPort", entry.admin_port}}};
  if (has_door(entry))
    ports.push_back(json::object{{"name", "http"}, {"containerPort", entry.container.port}});
  json::object out{{"name", entry.name}};
  set_image(out, images, entry.name);
  if (numbered) {
    out["args"] = json::array{"--replica", "$(TROUPE_REPLICA)"};
    out["env"] = json::array{json::object{
        {"name", "TROUPE_REPLICA"},
        {"valueFrom",
         json::object{
             {"fieldRef", json::object{{"fieldPath", "metadata.labels['apps.kubernetes.io/pod-index']"}}}}}}};
  }
  auto tries = std::chrono::ceil<std::chrono::seconds>(entry.start_timeout) / probe_every + 1;
  out["ports"] = std::move(ports);
  out["startupProbe"] = json::object{{"httpGet", http_get("/health/live")},
                                     {"periodSeconds", probe_every.count()},
                                     {"failureThreshold", tries}};
  out["livenessProbe"] = json::object{{"httpGet", http_get("/health/live")},
                                      {"periodSeconds", probe_every.count()},
                                      {"timeoutSeconds", 3},
                                      {"failureThreshold", 6}};
  out["readinessProbe"] = json::object{
      {"httpGet", http_get("/health/ready")}, {"periodSeconds", probe_every.count()}, {"timeoutSeconds", 3}};
  if (has_door(entry))
    out["lifecycle"] = json::object{
        {"preStop",
         json::object{
             {"exec",
              json::object{{"command", json::array{"sleep", fmt::format("{}", leave_time.count())}}}}}}};
  out["resources"] = resources_of(entry);
  out["securityContext"] = container_security();
  out["volumeMounts"] = mounts();
  return out;
}

bool keeps_state(const service_entry& entry) {
  return entry.container.volume_bytes != 0;
}

/// One container that keeps nothing may be any pod; everybody else is called by name.
bool is_deployment(const service_entry& entry) {
  return !keeps_state(entry) && endpoints_of(entry, container_target::kubernetes) == 1;
}

json::object pod_template(const catalog& fleet, const fleet_files& files, const image_names& images,
                          const service_entry& entry) {
  json::array volumes{fleet_volume(fleet, files, container_settings(entry)), key_volume(entry.name),
                      empty_volume("tmp")};
  if (!keeps_state(entry))
    volumes.push_back(empty_volume("data"));
  json::object spec{{"automountServiceAccountToken", false}};
  if (is_deployment(entry)) {
    spec["hostname"] = entry.name + "-0";
    spec["subdomain"] = entry.name;
  } else
    spec["topologySpreadConstraints"] = json::array{json::object{{"maxSkew", 1},
                                                                 {"topologyKey", "kubernetes.io/hostname"},
                                                                 {"whenUnsatisfiable", "ScheduleAnyway"},
                                                                 {"labelSelector", selector(entry.name)}}};
  spec["terminationGracePeriodSeconds"] =
      std::chrono::ceil<std::chrono::seconds>(entry.drain_timeout + stop_reserve +
                                              (has_door(entry) ? leave_time : 0s))
          .count();
  spec["securityContext"] = pod_security();
  spec["containers"] = json::array{container(entry, images, !is_deployment(entry))};
  spec["volumes"] = std::move(volumes);
  json::object annotations{{"prometheus.io/scrape", "true"},
                           {"prometheus.io/port", std::to_string(entry.admin_port)},
                           {"prometheus.io/path", "/metrics"}};
  return {
      {"metadata", json::object{{"labels", labels_of(entry.name)}, {"annotations", std::move(annotations)}}},
      {"spec", std::move(spec)}};
}

json::object workload(const catalog& fleet, const fleet_files& files, const image_names& images,
                      const service_entry& entry) {
  json::object spec;
  if (entry.container.most_replicas == 0) // else the autoscaler says how many
    spec["replicas"] = containers_of(entry);
  spec["selector"] = selector(entry.name);
  if (is_deployment(entry)) {
    spec["strategy"] = json::object{{"type", "Recreate"}};
    spec["template"] = pod_template(fleet, files, images, entry);
    return object("apps/v1", "Deployment", entry.name, entry.name, {{"spec", std::move(spec)}});
  }
  spec["serviceName"] = entry.name;
  spec["podManagementPolicy"] = "Parallel";
  spec["template"] = pod_template(fleet, files, images, entry);
  if (keeps_state(entry))
    spec["volumeClaimTemplates"] = json::array{json::object{
        {"metadata", json::object{{"name", "data"}}},
        {"spec",
         json::object{
             {"accessModes", json::array{"ReadWriteOnce"}},
             {"resources",
              json::object{
                  {"requests",
                   json::object{{"storage", fmt::format("{}Mi", entry.container.volume_bytes >> 20)}}}}}}}}};
  return object("apps/v1", "StatefulSet", entry.name, entry.name, {{"spec", std::move(spec)}});
}

/// Gives each pod its name; also before it is ready, as others connect while it starts.
json::object names(const service_entry& entry) {
  return object(
      "v1", "Service", entry.name, entry.name,
      {{"spec",
        json::object{{"clusterIP", "None"},
                     {"publishNotReadyAddresses", true},
                     {"selector", labels_of(entry.name)},
                     {"ports", json::array{json::object{{"name", "endpoint"}, {"port", container_port}},
                                           json::object{{"name", "admin"}, {"port", entry.admin_port}}}}}}});
}

json::object door(const service_entry& entry) {
  return object(
      "v1", "Service", entry.name + "-http", entry.name,
      {{"spec", json::object{{"selector", labels_of(entry.name)},
                             {"ports", json::array{json::object{
                                           {"name", "http"}, {"port", 80}, {"targetPort", "http"}}}}}}});
}

json::object disruption_budget(const service_entry& entry) {
  return object("policy/v1", "PodDisruptionBudget", entry.name, entry.name,
                {{"spec", json::object{{"maxUnavailable", 1}, {"selector", selector(entry.name)}}}});
}

json::object autoscaler(const service_entry& entry) {
  return object(
      "autoscaling/v2", "HorizontalPodAutoscaler", entry.name, entry.name,
      {{"spec",
        json::object{
            {"scaleTargetRef",
             json::object{{"apiVersion", "apps/v1"}, {"kind", "StatefulSet"}, {"name", entry.name}}},
            {"minReplicas", containers_of(entry)},
            {"maxReplicas", entry.container.most_replicas},
            {"metrics", json::array{json::object{
                            {"type", "Resource"},
                            {"resource", json::object{{"name", "cpu"},
                                                      {"target", json::object{{"type", "Utilization"},
                                                                              {"averageUtilization",
                                                                               busy_percent}}}}}}}}}}});
}

json::object port(std::uint16_t number, std::string_view protocol = "TCP") {
  return {{"protocol", protocol}, {"port", number}};
}

json::object pods(std::string_view name) {
  return {{"podSelector", selector(name)}};
}

/// Nothing reaches a pod of the fleet, and it reaches nothing, but what the policies below say.
json::object deny_all(const catalog& fleet) {
  return object(
      "networking.k8s.io/v1", "NetworkPolicy", "troupe-deny-all", fleet.fleet(),
      {{"spec",
        json::object{{"podSelector",
                      json::object{{"matchLabels", json::object{{"app.kubernetes.io/part-of", "troupe"}}}}},
                     {"policyTypes", json::array{"Ingress", "Egress"}}}}});
}

json::array egress_to(const std::vector<std::string>& callees) {
  json::array out{json::object{{"ports", json::array{port(53, "UDP"), port(53)}}}}; // names
  json::array to;
  for (const auto& callee : callees)
    to.push_back(pods(callee));
  if (!to.empty())
    out.push_back(json::object{{"to", std::move(to)}, {"ports", json::array{port(container_port)}}});
  return out;
}

json::object network_policy(const catalog& fleet, const service_entry& entry) {
  json::array callers;
  for (const auto& caller : callers_of(fleet, entry.name))
    callers.push_back(pods(caller));
  callers.push_back(pods("cli"));
  json::array ingress{
      json::object{{"from", std::move(callers)}, {"ports", json::array{port(container_port)}}},
      json::object{{"from", json::array{json::object{
                                {"namespaceSelector",
                                 json::object{{"matchLabels", json::object{{"kubernetes.io/metadata.name",
                                                                            monitoring_namespace}}}}}}}},
                   {"ports", json::array{port(entry.admin_port)}}}};
  if (has_door(entry))
    ingress.push_back(json::object{{"ports", json::array{port(entry.container.port)}}});
  return object("networking.k8s.io/v1", "NetworkPolicy", entry.name, entry.name,
                {{"spec", json::object{{"podSelector", selector(entry.name)},
                                       {"policyTypes", json::array{"Ingress", "Egress"}},
                                       {"ingress", std::move(ingress)},
                                       {"egress", egress_to(entry.calls)}}}});
}

/// The command line inside the cluster: `kubectl exec deploy/cli -- troupe status`.
std::vector<json::object> command_line(const catalog& fleet, const fleet_files& files,
                                       const image_names& images) {
  auto variable = [](std::string_view name, std::string_view value) {
    return json::object{{"name", name}, {"value", value}};
  };
  json::object container{
      {"name", "cli"},
      {"command", json::array{"sleep", "infinity"}},
      {"env", json::array{variable("TROUPE_CATALOG", "/etc/troupe/catalog.toml"),
                          variable("TROUPE_FLEET_DATA", "/data"),
                          variable("TROUPE_KEY", "file:/run/secrets/cli.secret")}},
      {"resources", json::object{{"requests", json::object{{"cpu", "10m"}, {"memory", "64Mi"}}},
                                 {"limits", json::object{{"memory", "1Gi"}}}}},
      {"securityContext", container_security()},
      {"volumeMounts", mounts()}};
  set_image(container, images, "cli");
  json::object spec{{"automountServiceAccountToken", false},
                    {"terminationGracePeriodSeconds", 1},
                    {"securityContext", pod_security()},
                    {"containers", json::array{std::move(container)}},
                    {"volumes", json::array{fleet_volume(fleet, files, {}), key_volume("cli"),
                                            empty_volume("tmp"), empty_volume("data")}}};
  json::object pod{{"metadata", json::object{{"labels", labels_of("cli")}}}, {"spec", std::move(spec)}};
  std::vector<std::string> all;
  for (const auto& entry : fleet.services())
    all.push_back(entry.name);
  auto egress = egress_to(all);
  for (const auto& entry : fleet.services()) // for `troupe recommend` and `troupe simulate`
    if (has_door(entry))
      egress.push_back(json::object{{"to", json::array{pods(entry.name)}},
                                    {"ports", json::array{port(entry.container.port)}}});
  return {
      object("networking.k8s.io/v1", "NetworkPolicy", "cli", "cli",
             {{"spec", json::object{{"podSelector", selector("cli")},
                                    {"policyTypes", json::array{"Ingress", "Egress"}},
                                    {"egress", std::move(egress)}}}}),
      object("apps/v1", "Deployment", "cli", "cli",
             {{"spec",
               json::object{{"replicas", 1}, {"selector", selector("cli")}, {"template", std::move(pod)}}}})};
}

} // namespace

std::vector<json::object> kubernetes_objects(const catalog& fleet, const fleet_files& files,
                                             const image_names& images) {
  std::vector<json::object> out{config_map(fleet, files), deny_all(fleet)};
  for (const auto& entry : fleet.services()) {
    out.push_back(network_policy(fleet, entry));
    out.push_back(names(entry));
    if (has_door(entry))
      out.push_back(door(entry));
    out.push_back(workload(fleet, files, images, entry));
    out.push_back(disruption_budget(entry));
    if (entry.container.most_replicas != 0)
      out.push_back(autoscaler(entry));
  }
  for (auto& each : command_line(fleet, files, images))
    out.push_back(std::move(each));
  return out;
}

} // namespace troupe::cli
