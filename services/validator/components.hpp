#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::validator {

/// The actor that validates, and the endpoint whose handlers give requests to it.
component_list components();

} // namespace troupe::validator
