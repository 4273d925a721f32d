#pragma once

#include "services/registry/service.hpp"

#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

namespace troupe::registry {

using finish_atom = caf::atom_constant<caf::atom("finish")>;

/// Owns the registry's state: one request at a time, in the order they came. Owned by the root. The endpoint
/// before it bounds how many wait (max_in_flight of the catalog) and refuses more as `overloaded`.
using registry_actor = caf::typed_actor<
    // Answer one request. One whose deadline has passed is answered `too_late` and not done.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // Behind everything that was in the mailbox when the stop began. What came before the stop has been done
    // in order, what came behind it was answered `stopping`: now quit.
    caf::reacts_to<finish_atom>>;

/// `detached`: on a thread of its own, since it waits for the disk.
registry_actor spawn_registry(caf::actor_system& system, std::unique_ptr<service> with, bool detached);

} // namespace troupe::registry
