#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::feature_store {

/// The components of the feature store.
component_list components();

} // namespace troupe::feature_store
