#pragma once

#include "common/catalog/catalog.hpp"

#include <boost/json/object.hpp>

#include <string>

namespace troupe::cli {

/// The Compose file of a fleet, as `docker compose` v2 and docker-compose 1.29 both read it: one service a
/// replica, state in named volumes, the CURVE key of each by a secret, limits, and a start in the order of
/// `needs` by health. Profile `tools` has the command line, profile `monitoring` a Prometheus.
boost::json::object compose_file(const catalog& fleet);

/// What Prometheus scrapes: every container of the Compose file, labelled service and replica.
boost::json::object prometheus_file(const catalog& fleet);

} // namespace troupe::cli
