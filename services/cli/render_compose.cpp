#include "services/cli/render_compose.hpp"

#include "services/cli/container_fleet.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace troupe::cli {

namespace json = boost::json;

namespace {

/// `ranker-1`, or `ingest` where there is one of it.
std::string service_name(const service_entry& entry, std::uint32_t replica) {
  return containers_of(entry) == 1 ? entry.name : fmt::format("{}-{}", entry.name, replica);
}

std::string image_of(std::string_view name) {
  return fmt::format("${{TROUPE_IMAGES:-troupe}}/{}:${{TROUPE_TAG:-" TROUPE_VERSION "}}", name);
}

std::string volume_name(const service_entry& entry, std::uint32_t replica) {
  return fmt::format("{}-{}", entry.name, replica);
}

std::string seconds(std::chrono::milliseconds span) {
  return fmt::format("{}s", std::chrono::ceil<std::chrono::seconds>(span).count());
}

/// What every container gets: no rights, a root that cannot be written, a bounded log.
void harden(json::object& service) {
  service["user"] = fmt::format("{0}:{0}", container_user);
  service["read_only"] = true;
  service["tmpfs"] = json::array{"/tmp"};
  service["cap_drop"] = json::array{"ALL"};
  service["security_opt"] = json::array{"no-new-privileges:true"};
  service["logging"] =
      json::object{{"driver", "json-file"}, {"options", {{"max-size", "10m"}, {"max-file", "3"}}}};
}

/// A secret lies at /run/secrets/<name>.secret.
json::array secret_of(const std::string& name) {
  return {json::object{{"source", name}, {"target", name + ".secret"}}};
}

/// Starts after every replica of what it needs is healthy.
json::object dependencies(const catalog& fleet, const service_entry& entry) {
  json::object out;
  for (const auto& each : fleet.services()) {
    if (std::ranges::find(entry.needs, each.name) == entry.needs.end())
      continue;
    for (std::uint32_t replica = 0; replica < containers_of(each); ++replica)
      out[service_name(each, replica)] = json::object{{"condition", "service_healthy"}};
  }
  return out;
}

json::object service(const catalog& fleet, const service_entry& entry, std::uint32_t replica) {
  json::object out;
  out["image"] = image_of(entry.name);
  out["command"] = json::array{"--replica", std::to_string(replica)};
  harden(out);
  json::array volumes{"./fleet:/etc/troupe:ro"};
  if (entry.container.volume_bytes != 0)
    volumes.emplace_back(volume_name(entry, replica) + ":/data");
  else
    out["tmpfs"].get_array().emplace_back(fmt::format("/data:uid={0},gid={0}", container_user));
  out["volumes"] = std::move(volumes);
  out["secrets"] = secret_of(entry.name);
  if (entry.resources.memory_bytes != 0)
    out["mem_limit"] = fmt::format("{}m", entry.resources.memory_bytes >> 20);
  if (entry.resources.cpus != 0)
    out["cpus"] = entry.resources.cpus;
  if (entry.container.port != 0)
    out["ports"] = json::array{fmt::format("${{TROUPE_ADDRESS:-127.0.0.1}}:{}:{}",
                                           entry.container.port + replica, entry.container.port)};
  out["networks"] =
      json::object{{"fleet", json::object{{"aliases", json::array{container_host(entry, replica)}}}}};
  if (auto needed = dependencies(fleet, entry); !needed.empty())
    out["depends_on"] = std::move(needed);
  out["healthcheck"] = json::object{{"test", json::array{"CMD", "/usr/bin/" + entry.binary, "--catalog",
                                                         "/etc/troupe/catalog.toml", "--probe"}},
                                    {"interval", "3s"},
                                    {"timeout", "3s"},
                                    {"retries", 5},
                                    {"start_period", seconds(entry.start_timeout)}};
  out["stop_grace_period"] = seconds(entry.drain_timeout + stop_reserve);
  out["restart"] = "unless-stopped";
  return out;
}

/// `docker compose run --rm cli status`: the command line, with its own key.
json::object command_line() {
  json::object out;
  out["image"] = image_of("cli");
  out["profiles"] = json::array{"tools"};
  out["command"] = json::array{"status"};
  harden(out);
  out["volumes"] = json::array{"./fleet:/etc/troupe:ro"};
  out["tmpfs"].get_array().emplace_back(fmt::format("/data:uid={0},gid={0}", container_user));
  out["secrets"] = secret_of("cli");
  out["networks"] = json::array{"fleet"};
  return out;
}

json::object prometheus() {
  json::object out;
  out["image"] = image_of("prometheus");
  out["profiles"] = json::array{"monitoring"};
  harden(out);
  out["volumes"] = json::array{"./prometheus:/etc/prometheus:ro", "prometheus:/data"};
  out["ports"] = json::array{"${TROUPE_ADDRESS:-127.0.0.1}:9090:9090"};
  out["networks"] = json::array{"fleet"};
  out["restart"] = "unless-stopped";
  return out;
}

} // namespace

json::object compose_file(const catalog& fleet) {
  json::object services, volumes, secrets;
  for (const auto& entry : fleet.services()) {
    for (std::uint32_t replica = 0; replica < containers_of(entry); ++replica) {
      services[service_name(entry, replica)] = service(fleet, entry, replica);
      if (entry.container.volume_bytes != 0)
        volumes[volume_name(entry, replica)] = json::object{};
    }
    secrets[entry.name] = json::object{{"file", fmt::format("./secrets/{}.secret", entry.name)}};
  }
  services["cli"] = command_line();
  secrets["cli"] = json::object{{"file", "./secrets/cli.secret"}};
  services["prometheus"] = prometheus();
  volumes["prometheus"] = json::object{};
  json::object out;
  out["services"] = std::move(services);
  out["networks"] = json::object{{"fleet", json::object{}}};
  out["volumes"] = std::move(volumes);
  out["secrets"] = std::move(secrets);
  return out;
}

json::object prometheus_file(const catalog& fleet) {
  json::array targets;
  for (const auto& entry : fleet.services())
    for (std::uint32_t replica = 0; replica < containers_of(entry); ++replica)
      targets.push_back(json::object{
          {"targets", json::array{fmt::format("{}:{}", container_host(entry, replica), entry.admin_port)}},
          {"labels", json::object{{"service", entry.name}, {"replica", std::to_string(replica)}}}});
  json::object out;
  out["global"] = json::object{{"scrape_interval", "15s"}, {"evaluation_interval", "15s"}};
  out["rule_files"] = json::array{"rules.yml"};
  out["scrape_configs"] =
      json::array{json::object{{"job_name", fleet.fleet()}, {"static_configs", std::move(targets)}}};
  return out;
}

} // namespace troupe::cli
