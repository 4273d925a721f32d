#pragma once

#include "common/catalog/catalog.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

/// What Compose and Kubernetes have in common: names, ports, folders and keys of a fleet of containers,
/// derived from the catalog. In every container /etc/troupe is the folder of the fleet's catalog, /data the
/// state of the replica, and /run/secrets/<service>.secret its own CURVE key.
namespace troupe::cli {

/// What a container or pod has left after its drain budget until it is killed.
inline constexpr std::chrono::seconds stop_reserve{10};

/// The port of every service's endpoint: each container has an address of its own.
inline constexpr std::uint16_t container_port = 7000;
/// The user and group of the images.
inline constexpr std::int64_t container_user = 10'001;

enum class container_target { compose, kubernetes };

/// Containers that run of a service from the start.
std::uint32_t containers_of(const service_entry& entry) noexcept;

/// Containers of a service that the catalog names an endpoint for: under Kubernetes as many as autoscaling
/// may make.
std::uint32_t endpoints_of(const service_entry& entry, container_target target) noexcept;

/// `ranker-1.ranker`: the name of a replica, which is what Kubernetes gives the pods of a StatefulSet.
std::string container_host(const service_entry& entry, std::uint32_t replica);

/// The services that call `service`, by name.
std::vector<std::string> callers_of(const catalog& fleet, const std::string& service);

/// The settings of a service in a container.
config_section container_settings(const service_entry& entry);

/// The catalog of the containers, as TOML: endpoints by DNS name, CURVE keys by file, and on each allow-list
/// those that call, and `cli`.
std::string container_catalog(const catalog& fleet, container_target target);

} // namespace troupe::cli
