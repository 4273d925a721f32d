#include "common/catalog/catalog.hpp"

#include "common/config/keys.hpp"
#include "common/core/file.hpp"
#include "common/core/hash.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <optional>
#include <set>

namespace troupe {

namespace {

using namespace std::chrono_literals;

constexpr std::int64_t catalog_version = 1;
/// sizeof(sockaddr_un::sun_path) less its end.
constexpr std::size_t max_ipc_path = 107;

struct contract {
  std::string_view service;
  std::string_view identifier;
  std::uint32_t version;
  bool sharded = false; ///< Its replicas keep a part of the entities each: they cannot come and go.
};

/// What this build speaks.
constexpr contract contracts[] = {
    {"ingest", "TRPI", 1},  {"validator", "TRPV", 1}, {"feature-store", "TRPF", 1, true},
    {"trainer", "TRPT", 1}, {"registry", "TRPR", 1},  {"deployer", "TRPD", 1},
    {"gateway", "TRPG", 1}, {"ranker", "TRPK", 1}};

/// A service as its table gives it, before endpoints are expanded.
struct raw_service {
  service_entry entry;
  std::string endpoint = "ipc";
  std::string bind;
  std::uint32_t admin_port = 0;
  std::uint32_t container_port = 0;

  void bind_keys(config_keys& keys) {
    keys.add("binary", entry.binary, "Program of the service; looked for beside troupe.", between(1, 200));
    keys.add("contract", entry.contract, "File identifier of its schema.", between(4, 4));
    keys.add("contract_version", entry.contract_version, "Version of its schema.", between(1, 65'535));
    keys.add("replicas", entry.replicas, "How many processes of it run.", between(1, 1'000));
    keys.add("least_replicas", entry.least_replicas,
             "So many of the replicas always run, the others come and go with load; 0: all of them.",
             between(0, 1'000));
    keys.add("needs", entry.needs, "Services that are started before it.");
    keys.add("calls", entry.calls, "Services it sends requests to.");
    keys.add("endpoint", endpoint,
             "Where clients connect: ipc, ipc://path or tcp://host:port; {replica} is replaced, a port that "
             "ends in + grows "
             "with the replica.");
    keys.add("bind", bind, "Where it listens, where that differs from endpoint.");
    keys.add("admin_address", entry.admin_address, "Where its metrics and health are served.");
    keys.add("admin_port", admin_port, "Port of replica 0 for metrics and health; 0: any free port.",
             between(0, 65'535));
    keys.add("start_timeout", entry.start_timeout, "From process start to ready.", between(100ms, 24h));
    keys.add("drain_timeout", entry.drain_timeout, "From the wish to stop to the end.", between(100ms, 1h));
    keys.add("retry_budget", entry.retry_budget, "Retries allowed per call.", between(0, 1));
    keys.add("max_in_flight", entry.max_in_flight, "Open calls of a replica before it refuses.",
             between(1, 1'000'000));
    keys.add("curve.secret", entry.curve.secret, "Secret key for CURVE, by reference.");
    keys.add("curve.public", entry.curve.public_key, "Public key for CURVE, by reference.");
    keys.add("curve.allow", entry.curve.allow, "Public keys of the callers let in, by reference.");
    keys.add("resources.memory", entry.resources.memory_bytes, "Memory of one replica; 0: not limited.",
             at_least(0), "bytes");
    keys.add("resources.cpus", entry.resources.cpus, "Processors of one replica; 0: not limited.",
             between(0, 1'024));
    keys.add("container.replicas", entry.container.replicas, "Containers of it; 0: as many as replicas.",
             between(0, 1'000));
    keys.add("container.most_replicas", entry.container.most_replicas,
             "Containers that Kubernetes may have under load; 0: always as many.", between(0, 1'000));
    keys.add("container.volume", entry.container.volume_bytes,
             "Room for what it keeps; 0: what it keeps may go with its container.", at_least(0), "bytes");
    keys.add("container.port", container_port, "Where users reach it over HTTP; 0: they do not.",
             between(0, 65'535));
  }
};

struct tcp_address {
  std::string host;
  std::string port;
};

std::optional<tcp_address> parse_tcp(std::string_view text) {
  constexpr std::string_view scheme = "tcp://";
  if (!text.starts_with(scheme))
    return std::nullopt;
  text.remove_prefix(scheme.size());
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size())
    return std::nullopt;
  return tcp_address{std::string{text.substr(0, colon)}, std::string{text.substr(colon + 1)}};
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

bool is_address(std::string_view host) {
  return host.starts_with('[') || host == "localhost" ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string with_replica(std::string text, std::uint32_t replica) {
  constexpr std::string_view mark = "{replica}";
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
    text.replace(at, mark.size(), std::to_string(replica));
  return text;
}

/// One endpoint for one replica; the error is the rest of the sentence "key endpoint = x: ...".
expected<std::string> expand(const std::string& text, const service_entry& entry, std::uint32_t replica,
                             const std::filesystem::path& data) {
  if (text == "ipc" || text.starts_with("ipc://")) {
    auto path = text == "ipc" ? (data / "run" / fmt::format("{}-{}.sock", entry.name, replica)).string()
                              : with_replica(text.substr(6), replica);
    if (path.empty())
      return fail(ec::invalid_argument, "must name a path after ipc://");
    if (path.size() > max_ipc_path)
      return fail(ec::invalid_argument,
                  "the path {} has {} bytes and a socket takes at most {}; use a shorter data folder", path,
                  path.size(), max_ipc_path);
    return "ipc://" + path;
  }
  auto address = parse_tcp(with_replica(text, replica));
  if (!address)
    return fail(ec::invalid_argument, "must be ipc, ipc://path or tcp://host:port");
  bool grows = address->port.ends_with('+');
  if (grows)
    address->port.pop_back();
  std::uint32_t port = 0;
  auto [end, bad] = std::from_chars(address->port.data(), address->port.data() + address->port.size(), port);
  if (bad != std::errc{} || *end != '\0' || port == 0 || port + (grows ? replica : 0) > 65'535)
    return fail(ec::invalid_argument, "port {} must be 1 to 65535", address->port);
  return fmt::format("tcp://{}:{}", address->host, port + (grows ? replica : 0));
}

/// Where to listen when only the address for clients is given: a name may belong to any interface.
std::string bind_for(const std::string& endpoint) {
  auto address = parse_tcp(endpoint);
  if (!address || is_address(address->host))
    return endpoint;
  return fmt::format("tcp://*:{}", address->port);
}

expected<void> check_reference(std::string_view where, std::string_view key, const std::string& text,
                               bool is_public) {
  if (text.empty() || text.starts_with("file:") || text.starts_with("env:") ||
      (is_public && text.size() == 40))
    return {};
  return fail(ec::invalid_argument, "{}: key {}: must be file:PATH or env:NAME{}; a {}", where, key,
              is_public ? " or the 40 characters of a public key" : "",
              is_public ? "key of another length is not one" : "secret never stands in the catalog");
}

expected<void> check_curve(const std::string& where, const service_entry& entry) {
  const auto& curve = entry.curve;
  TROUPE_CHECK(check_reference(where, "curve.secret", curve.secret, false));
  TROUPE_CHECK(check_reference(where, "curve.public", curve.public_key, true));
  for (const auto& key : curve.allow)
    TROUPE_CHECK(check_reference(where, "curve.allow", key, true));
  if (curve.secret.empty() != curve.public_key.empty())
    return fail(ec::invalid_argument, "{}: curve.secret and curve.public go together: one of them is missing",
                where);
  if (curve.enabled() && curve.allow.empty())
    return fail(ec::invalid_argument, "{}: curve.allow is empty: nobody could call this service", where);
  for (const auto& endpoint : entry.endpoints) {
    auto address = parse_tcp(endpoint);
    if (address && !is_loopback(address->host) && !curve.enabled())
      return fail(ec::invalid_argument,
                  "{}: endpoint {} leaves this machine and has no keys; run `troupe keys generate {}` and "
                  "set curve.secret, "
                  "curve.public and curve.allow",
                  where, endpoint, entry.name);
  }
  return {};
}

bool is_sharded(const service_entry& entry) {
  return std::ranges::any_of(
      contracts, [&](const contract& known) { return known.service == entry.name && known.sharded; });
}

expected<void> check_container(const std::string& where, const service_entry& entry) {
  auto most = entry.container.most_replicas;
  if (most == 0)
    return {};
  if (is_sharded(entry))
    return fail(ec::invalid_argument,
                "{}: key container.most_replicas = {}: replicas that keep a part each cannot come and go",
                where, most);
  auto least = entry.container.replicas == 0 ? entry.replicas : entry.container.replicas;
  if (most < least)
    return fail(ec::invalid_argument,
                "{}: key container.most_replicas = {}: must be at least {}, its containers", where, most,
                least);
  return {};
}

expected<service_entry> read_service(const std::string& name, const config_section& section,
                                     const std::filesystem::path& data) {
  raw_service raw;
  auto& entry = raw.entry;
  entry.name = name;
  entry.binary = "troupe-" + name;
  entry.settings.origin = section.origin + ".settings";
  entry.container.settings.origin = section.origin + ".container.settings";
  config_section own{section.origin, {}};
  for (const auto& [key, value] : section.values) {
    if (key.starts_with("settings."))
      entry.settings.values.emplace(key.substr(9), value);
    else if (key.starts_with("container.settings."))
      entry.container.settings.values.emplace(key.substr(19), value);
    else
      own.values.emplace(key, value);
  }
  config_keys keys;
  raw.bind_keys(keys);
  TROUPE_CHECK(keys.load(own));
  const auto& where = section.origin;
  if (entry.contract.empty())
    return fail(ec::invalid_argument,
                "{}: key contract is missing: the file identifier of the service's schema", where);
  for (const auto& known : contracts) {
    if (known.service == name &&
        (known.identifier != entry.contract || known.version != entry.contract_version))
      return fail(ec::invalid_argument,
                  "{}: key contract = \"{}\" version {}: this build speaks {} version {}", where,
                  entry.contract, entry.contract_version, known.identifier, known.version);
  }
  if (name == "ingest" && entry.replicas != 1)
    return fail(ec::invalid_argument,
                "{}: key replicas = {}: must be 1, as one process owns every partition of the log", where,
                entry.replicas);
  if (entry.least_replicas > entry.replicas || (entry.least_replicas != 0 && is_sharded(entry)))
    return fail(ec::invalid_argument, "{}: key least_replicas = {}: {}", where, entry.least_replicas,
                is_sharded(entry) ? "replicas that keep a part each cannot come and go"
                                  : fmt::format("must be at most {}, its replicas", entry.replicas));
  TROUPE_CHECK(check_container(where, entry));
  entry.container.port = static_cast<std::uint16_t>(raw.container_port);
  if (raw.admin_port != 0 && raw.admin_port + entry.replicas - 1 > 65'535)
    return fail(ec::invalid_argument, "{}: key admin_port = {}: {} replicas do not fit below 65536", where,
                raw.admin_port, entry.replicas);
  entry.admin_port = static_cast<std::uint16_t>(raw.admin_port);
  entry.own_hosts =
      raw.endpoint.starts_with("tcp://") && raw.endpoint.find("{replica}") < raw.endpoint.rfind(':');
  for (std::uint32_t replica = 0; replica < entry.replicas; ++replica) {
    auto endpoint = expand(raw.endpoint, entry, replica, data);
    if (!endpoint)
      return fail(ec::invalid_argument, "{}: key endpoint = \"{}\": {}", where, raw.endpoint,
                  endpoint.error().text);
    auto bind = raw.bind.empty() ? expected<std::string>{bind_for(*endpoint)}
                                 : expand(raw.bind, entry, replica, data);
    if (!bind)
      return fail(ec::invalid_argument, "{}: key bind = \"{}\": {}", where, raw.bind, bind.error().text);
    entry.endpoints.push_back(std::move(*endpoint));
    entry.binds.push_back(std::move(*bind));
  }
  TROUPE_CHECK(check_curve(where, entry));
  return entry;
}

/// Rules between services: endpoints and ports used once, needs that exist.
expected<void> check_together(const std::string& file, const std::vector<service_entry>& services) {
  std::map<std::string, std::string> endpoints;
  std::map<std::string, std::string> ports;
  for (const auto& entry : services) {
    for (std::uint32_t replica = 0; replica < entry.replicas; ++replica) {
      auto identity = fmt::format("{}/{}", entry.name, replica);
      auto [other, fresh] = endpoints.emplace(entry.endpoints[replica], identity);
      if (!fresh)
        return fail(ec::invalid_argument,
                    "{}: {} and {} have the same endpoint {}; put {{replica}} or a port ending in + into it",
                    file, other->second, identity, entry.endpoints[replica]);
      if (entry.admin_port == 0)
        continue;
      auto port = fmt::format("{}{}:{}", entry.own_hosts ? identity + " " : "", entry.admin_address,
                              entry.port_of(entry.admin_port, replica));
      auto [holder, free] = ports.emplace(port, identity);
      if (!free)
        return fail(ec::invalid_argument, "{}: {} and {} have the same admin address {}", file,
                    holder->second, identity, port);
    }
    for (const auto& need : entry.needs)
      if (std::ranges::find(services, need, &service_entry::name) == services.end())
        return fail(ec::invalid_argument, "{}: [{}]: key needs: there is no service {}", file, entry.name,
                    need);
    for (const auto& callee : entry.calls)
      if (std::ranges::find(services, callee, &service_entry::name) == services.end())
        return fail(ec::invalid_argument, "{}: [{}]: key calls: there is no service {}", file, entry.name,
                    callee);
  }
  return {};
}

expected<std::vector<service_entry>> sort_by_need(const std::string& file,
                                                  std::vector<service_entry> services) {
  std::vector<service_entry> sorted;
  std::set<std::string> placed;
  while (!services.empty()) {
    auto next = std::ranges::find_if(services, [&](const service_entry& entry) {
      return std::ranges::all_of(entry.needs, [&](const std::string& need) { return placed.contains(need); });
    });
    if (next == services.end()) {
      std::vector<std::string_view> left;
      for (const auto& entry : services)
        left.push_back(entry.name);
      return fail(ec::invalid_argument, "{}: the services {} need each other in a circle", file,
                  fmt::join(left, ", "));
    }
    placed.insert(next->name);
    sorted.push_back(std::move(*next));
    services.erase(next);
  }
  return sorted;
}

bool is_service_name(std::string_view name) {
  return !name.empty() && name.size() <= 40 && name.front() >= 'a' && name.front() <= 'z' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
}

} // namespace

expected<catalog> catalog::load(const std::filesystem::path& file, const std::filesystem::path& data) {
  TROUPE_TRY(text, read_file(file));
  return parse(text, file, data);
}

expected<catalog> catalog::parse(std::string_view toml, const std::filesystem::path& file,
                                 const std::filesystem::path& data) {
  catalog made;
  made.file_ = std::filesystem::absolute(file).lexically_normal();
  made.data_ = std::filesystem::absolute(data).lexically_normal();
  made.content_ = sha256_hex(as_bytes(toml));
  auto name = file.string();
  TROUPE_TRY(all, parse_config(toml, name));

  config_section top{name, {}};
  std::map<std::string, config_section> tables;
  for (const auto& [key, node] : toml::parse(toml))
    if (node.is_table())
      tables[std::string{key.str()}].origin = fmt::format("{} [{}]", name, key.str());
  for (auto& [key, value] : all.values) {
    auto dot = key.find('.');
    if (dot == std::string::npos)
      top.values.emplace(key, value);
    else
      tables[key.substr(0, dot)].values.emplace(key.substr(dot + 1), value);
  }
  made.keys_ = std::move(all.values);
  std::int64_t version = 0;
  config_keys keys;
  keys.add("version", version, "Version of the catalog's layout.", between(catalog_version, catalog_version));
  keys.add("fleet", made.fleet_, "Name of the fleet.", between(1, 100));
  made.fleet_ = "troupe";
  TROUPE_CHECK(keys.load(top));
  if (version == 0)
    return fail(ec::invalid_argument, "{}: key version is missing; write version = {}", name,
                catalog_version);
  if (tables.empty())
    return fail(ec::invalid_argument, "{}: there is no service in it", name);

  std::vector<service_entry> services;
  for (const auto& [service, section] : tables) {
    if (!is_service_name(service))
      return fail(ec::invalid_argument,
                  "{}: [{}] is not a name for a service: lower-case letters, digits and -, at most 40", name,
                  service);
    TROUPE_TRY(entry, read_service(service, section, made.data_));
    services.push_back(std::move(entry));
  }
  TROUPE_CHECK(check_together(name, services));
  TROUPE_TRY(sorted, sort_by_need(name, std::move(services)));
  made.services_ = std::move(sorted);
  return made;
}

std::filesystem::path catalog::resolve(const std::filesystem::path& path) const {
  return (folder() / path).lexically_normal();
}

expected<const service_entry*> catalog::find(std::string_view service) const {
  for (const auto& entry : services_)
    if (entry.name == service)
      return &entry;
  std::vector<std::string_view> names;
  for (const auto& entry : services_)
    names.push_back(entry.name);
  return fail(ec::not_found, "there is no service {} in {}; it has {}", service, file_.string(),
              fmt::join(names, ", "));
}

std::filesystem::path catalog::data_of(std::string_view service, std::uint32_t replica) const {
  return data_ / fmt::format("{}-{}", service, replica);
}

key_effect effect_of(std::string_view key) {
  if (key.find(".container.") != key.npos || key.find(".resources.") != key.npos)
    return key_effect::rendering;
  for (std::string_view now : {".start_timeout", ".drain_timeout", ".settings.log_level"})
    if (key.ends_with(now))
      return key_effect::now;
  return key_effect::restart;
}

std::vector<std::string> changed_keys(const catalog& before, const catalog& after) {
  std::set<std::string> found;
  for (const auto& [one, other] : {std::pair{&before, &after}, std::pair{&after, &before}})
    for (const auto& [key, value] : one->keys()) {
      auto at = other->keys().find(key);
      if (at == other->keys().end() || at->second != value)
        found.insert(key);
    }
  return {found.begin(), found.end()};
}

std::string describe_change(const std::vector<std::string>& keys) {
  std::string text;
  for (auto [effect, when] : {std::pair{key_effect::now, "now"},
                              std::pair{key_effect::restart, "when the service is started again"},
                              std::pair{key_effect::rendering, "when files for containers are rendered"}}) {
    std::vector<std::string_view> those;
    for (const auto& key : keys)
      if (effect_of(key) == effect)
        those.push_back(key);
    if (!those.empty())
      text += fmt::format("{}{} {}", text.empty() ? "" : "; ", when, fmt::join(those, ", "));
  }
  return text;
}

expected<std::vector<std::string>> catalog_watch::check() {
  auto old = current();
  TROUPE_TRY(text, read_file(old->file()));
  auto content = sha256_hex(as_bytes(text));
  std::lock_guard lock{mutex_};
  if (content == old->content() || content == refused_)
    return std::vector<std::string>{};
  auto read = catalog::parse(text, old->file(), old->data());
  if (!read) {
    refused_ = content;
    return with_context("the changed catalog was not taken, the one before stays in force",
                        std::move(read).error());
  }
  refused_.clear();
  auto fresh = std::make_shared<const catalog>(std::move(*read));
  current_.set(fresh);
  return changed_keys(*old, *fresh);
}

} // namespace troupe
