#pragma once

#include "common/config/section.hpp"
#include "common/core/error.hpp"
#include "common/core/published.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The keys of a service for CURVE, each by reference: `file:keys/ingest.secret` (relative to the catalog),
/// `env:NAME`, or, for public keys only, the 40 characters themselves.
struct curve_keys {
  std::string secret;
  std::string public_key;
  std::vector<std::string> allow; ///< Public keys of the callers let in, by the same kinds of reference.

  bool enabled() const noexcept { return !secret.empty(); }
  friend bool operator==(const curve_keys&, const curve_keys&) = default;
};

/// What one machine may give to one replica. 0: not limited.
struct service_resources {
  std::uint64_t memory_bytes = 0;
  double cpus = 0;

  friend bool operator==(const service_resources&, const service_resources&) = default;
};

/// How a service runs as a container (`troupe catalog render`). It changes nothing for processes on one
/// machine.
struct service_container {
  std::uint32_t replicas = 0;      ///< Containers of it; 0: as many as there are replicas.
  std::uint32_t most_replicas = 0; ///< Kubernetes adds containers under load up to so many; 0: it does not.
  std::uint64_t volume_bytes = 0;  ///< Room for what it keeps; 0: what it keeps may go with the container.
  std::uint16_t port = 0;          ///< Where users reach it over HTTP; 0: they do not.
  config_section settings;         ///< Over the settings of the service.

  friend bool operator==(const service_container&, const service_container&) = default;
};

/// One service of the fleet, as every other service sees it.
struct service_entry {
  std::string name;     ///< `feature-store`.
  std::string binary;   ///< `troupe-feature-store`; found beside `troupe`.
  std::string contract; ///< The file identifier of its schema: `TRPF`.
  std::uint32_t contract_version = 1;
  std::uint32_t replicas = 1;
  std::uint32_t least_replicas = 0;   ///< So many always run, the others come and go with load; 0: all run.
  std::vector<std::string> needs;     ///< Services that are started before this one.
  std::vector<std::string> calls;     ///< Services it sends requests to: who lets it in follows from this.
  std::vector<std::string> endpoints; ///< One per replica, expanded: where clients connect to.
  std::vector<std::string> binds;     ///< One per replica, expanded: where the service listens.
  bool own_hosts = false;             ///< {replica} is in the host: every replica has a host of its own.
  std::uint16_t admin_port = 0;       ///< Of replica 0; see port_of. 0: any free port.
  std::string admin_address = "127.0.0.1";
  std::chrono::milliseconds start_timeout{30'000}; ///< From process start to ready.
  std::chrono::milliseconds drain_timeout{10'000}; ///< From the wish to stop to the end.
  double retry_budget = 0.1;                       ///< Retries allowed per call made, 0 to 1.
  std::uint32_t max_in_flight = 1024;              ///< Calls a replica has open before it refuses.
  curve_keys curve;
  service_resources resources;
  service_container container;
  config_section settings; ///< The service's own keys: its configuration struct reads them.

  /// The port of a replica where that of replica 0 is `base`: base + replica on a host that they share, else
  /// base. 0 stays 0: any free one.
  std::uint16_t port_of(std::uint16_t base, std::uint32_t replica) const noexcept {
    return base == 0 || own_hosts ? base : static_cast<std::uint16_t>(base + replica);
  }

  /// Whether a replica may be absent while all is well.
  bool comes_and_goes(std::uint32_t replica) const noexcept {
    return least_replicas != 0 && replica >= least_replicas;
  }

  friend bool operator==(const service_entry&, const service_entry&) = default;
};

/// The catalog of the fleet: read whole, validated whole, immutable afterwards. Share it by `catalog_ptr`.
class catalog {
public:
  /// Reads and validates `file`. `data` is the data folder, in which ipc endpoints live
  /// (`<data>/run/<service>-<n>.sock`). The error says file, service, key, value and what is allowed.
  static expected<catalog> load(const std::filesystem::path& file, const std::filesystem::path& data);
  static expected<catalog> parse(std::string_view toml, const std::filesystem::path& file,
                                 const std::filesystem::path& data);

  const std::string& fleet() const noexcept { return fleet_; }
  const std::filesystem::path& file() const noexcept { return file_; }
  const std::filesystem::path& data() const noexcept { return data_; }

  /// The folder of the catalog file: relative paths in it are relative to this.
  std::filesystem::path folder() const { return file_.parent_path(); }

  /// A path as the catalog or a setting names it: absolute, or relative to the folder of the catalog.
  std::filesystem::path resolve(const std::filesystem::path& path) const;

  /// Every service after those it needs, otherwise by name: the order to start them in.
  const std::vector<service_entry>& services() const noexcept { return services_; }

  /// The service of that name; the error lists those that exist.
  expected<const service_entry*> find(std::string_view service) const;

  /// The folder of one replica's state: `<data>/<service>-<replica>`.
  std::filesystem::path data_of(std::string_view service, std::uint32_t replica) const;

  /// SHA-256 of the text it was read from.
  const std::string& content() const noexcept { return content_; }

  /// Every key that the file gives, as `ranker.replicas`.
  const std::map<std::string, config_value, std::less<>>& keys() const noexcept { return keys_; }

private:
  std::string fleet_;
  std::filesystem::path file_;
  std::filesystem::path data_;
  std::string content_;
  std::map<std::string, config_value, std::less<>> keys_;
  std::vector<service_entry> services_;
};

using catalog_ptr = std::shared_ptr<const catalog>;

/// When a changed key takes effect.
enum class key_effect : std::uint8_t {
  now, ///< start_timeout, drain_timeout, settings.log_level: whoever runs looks at them when they are needed.
  restart,   ///< When what reads it is started again: the service itself, and those that call it.
  rendering, ///< resources and container: in the files of `troupe catalog render`.
};

key_effect effect_of(std::string_view key);

/// The keys that are not the same in both, sorted.
std::vector<std::string> changed_keys(const catalog& before, const catalog& after);

/// For a log: `now ranker.drain_timeout; when the service is started again ranker.replicas`. Empty where
/// nothing changed.
std::string describe_change(const std::vector<std::string>& keys);

/// Watches the file of a catalog. A change is seen by its content, not by its time stamp. Any thread.
class catalog_watch {
public:
  explicit catalog_watch(catalog_ptr first) : current_{std::move(first)} {}

  /// The catalog in force.
  catalog_ptr current() const { return current_.get(); }

  /// Reads the file again and gives the keys that changed, where another catalog came into force. A file that
  /// cannot be read or is not valid leaves the old one in force; the error is given once per content.
  expected<std::vector<std::string>> check();

private:
  published<catalog> current_;
  std::mutex mutex_; ///< Of those who check.
  std::string refused_;
};

} // namespace troupe
