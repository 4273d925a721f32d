#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ingest {

/// The log with its lake and pools, figures about it, the sealer of the lake, imports, reads of the log, and
/// the socket.
component_list components();

} // namespace troupe::ingest
