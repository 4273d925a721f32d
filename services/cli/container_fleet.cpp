#include "services/cli/container_fleet.hpp"

#include "common/core/time.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace troupe::cli {

namespace {

std::string toml_text(std::string_view text) {
  return to_text(config_value{std::string{text}});
}

std::string list_text(std::vector<std::string> items) {
  return to_text(config_value{std::move(items)});
}

std::string public_key_of(std::string_view name) {
  return fmt::format("file:keys/{}.public", name);
}

void write_service(std::string& out, const catalog& fleet, const service_entry& entry,
                   container_target target) {
  auto line = [&out](std::string_view key, const std::string& value) {
    out += fmt::format("{} = {}\n", key, value);
  };
  auto span = [](std::chrono::milliseconds value) {
    return toml_text(to_duration_text(std::chrono::microseconds{value}));
  };
  out += fmt::format("\n[{}]\n", entry.name);
  line("contract", toml_text(entry.contract));
  line("contract_version", fmt::format("{}", entry.contract_version));
  line("replicas", fmt::format("{}", endpoints_of(entry, target)));
  if (containers_of(entry) < endpoints_of(entry, target))
    line("least_replicas", fmt::format("{}", containers_of(entry)));
  if (!entry.needs.empty())
    line("needs", list_text(entry.needs));
  if (!entry.calls.empty())
    line("calls", list_text(entry.calls));
  line("endpoint", toml_text(fmt::format("tcp://{0}-{{replica}}.{0}:{1}", entry.name, container_port)));
  line("admin_address", toml_text("0.0.0.0"));
  line("admin_port", fmt::format("{}", entry.admin_port));
  line("start_timeout", span(entry.start_timeout));
  line("drain_timeout", span(entry.drain_timeout));
  line("retry_budget", fmt::format("{}", entry.retry_budget));
  line("max_in_flight", fmt::format("{}", entry.max_in_flight));

  std::vector<std::string> allow;
  for (const auto& caller : callers_of(fleet, entry.name))
    allow.push_back(public_key_of(caller));
  allow.push_back(public_key_of("cli"));
  out += fmt::format("\n[{}.curve]\n", entry.name);
  line("secret", toml_text(fmt::format("file:/run/secrets/{}.secret", entry.name)));
  line("public", toml_text(public_key_of(entry.name)));
  line("allow", list_text(allow));

  auto settings = container_settings(entry);
  if (!settings.values.empty())
    out += fmt::format("\n[{}.settings]\n", entry.name);
  for (const auto& [key, value] : settings.values)
    line(key, to_text(value));
}

} // namespace

std::uint32_t containers_of(const service_entry& entry) noexcept {
  return entry.container.replicas == 0 ? entry.replicas : entry.container.replicas;
}

std::uint32_t endpoints_of(const service_entry& entry, container_target target) noexcept {
  auto most = target == container_target::kubernetes ? entry.container.most_replicas : 0;
  return std::max(containers_of(entry), most);
}

std::string container_host(const service_entry& entry, std::uint32_t replica) {
  return fmt::format("{0}-{1}.{0}", entry.name, replica);
}

std::vector<std::string> callers_of(const catalog& fleet, const std::string& service) {
  std::vector<std::string> callers;
  for (const auto& entry : fleet.services())
    if (std::ranges::find(entry.calls, service) != entry.calls.end())
      callers.push_back(entry.name);
  std::ranges::sort(callers);
  return callers;
}

config_section container_settings(const service_entry& entry) {
  auto settings = entry.settings;
  for (const auto& [key, value] : entry.container.settings.values)
    settings.values.insert_or_assign(key, value);
  return settings;
}

std::string container_catalog(const catalog& fleet, container_target target) {
  auto out = fmt::format("version = 1\nfleet = {}\n", toml_text(fleet.fleet()));
  for (const auto& entry : fleet.services())
    write_service(out, fleet, entry, target);
  return out;
}

} // namespace troupe::cli
