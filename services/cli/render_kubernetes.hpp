#pragma once

#include "services/cli/render.hpp"

#include "common/catalog/catalog.hpp"

#include <boost/json/object.hpp>

#include <map>
#include <string>
#include <vector>

namespace troupe::cli {

/// Files of the fleet's folder beside its catalog, by their path in it (`views/serving.toml`).
using fleet_files = std::map<std::string, std::string>;

/// The objects of a fleet for Kubernetes 1.28 or later, in the order to apply them: configuration, network
/// policies, and for each service its Service, its StatefulSet (a Deployment where one container keeps
/// nothing), its disruption budget and, where the catalog gives most_replicas, its autoscaler. Secrets are
/// named, not made: `troupe-<service>-key` with the key
/// `<service>.secret`, `troupe-api-keys`, and the config map `troupe-public-keys`.
std::vector<boost::json::object> kubernetes_objects(const catalog& fleet, const fleet_files& files,
                                                    const image_names& images = {});

} // namespace troupe::cli
