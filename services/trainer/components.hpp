#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::trainer {

/// The runs, which open the journal and go on with what was under way, and the endpoint that takes requests.
component_list components();

} // namespace troupe::trainer
