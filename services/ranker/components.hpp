#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ranker {

/// Follows the state of all items.
expected<component> make_item_sync_component(service_context& context);

/// Holds the releases. Not ready until those wanted before the last stop and those of the local folder are, or
/// have failed.
expected<component> make_release_manager_component(service_context& context);

/// The dispatchers, and the threads that rank.
expected<component> make_dispatcher_component(service_context& context);

/// Takes requests.
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::ranker
