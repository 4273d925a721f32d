#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ranker {

/// `items` follows the state of all items; `releases` holds the releases and is not ready until those wanted
/// before the last stop and those of the local folder are, or have failed; `dispatcher` answers, with the
/// threads that rank; `endpoint` takes requests.
component_list components();

} // namespace troupe::ranker
