#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ingest {

/// Opens the log, the lake and the pools, and shares them.
expected<component> log_component(service_context& context);

/// Imports: needs "log".
expected<component> imports_component(service_context& context);

/// Reads of the log: needs "log".
expected<component> fetch_component(service_context& context);

/// The socket: needs "imports" and "fetch".
expected<component> endpoint_component(service_context& context);

} // namespace troupe::ingest
