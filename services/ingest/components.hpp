#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ingest {

/// Opens the log, the lake and the pools, and shares them.
expected<component> make_log_component(service_context& context);

/// Figures about the log: needs "log".
expected<component> make_log_metrics_component(service_context& context);

/// Writes the lake: needs "log".
expected<component> make_lake_sealer_component(service_context& context);

/// Imports: needs "log".
expected<component> make_imports_component(service_context& context);

/// Reads of the log: needs "log".
expected<component> make_fetch_component(service_context& context);

/// The socket: needs "imports" and "fetch".
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::ingest
