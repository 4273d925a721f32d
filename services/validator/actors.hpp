#pragma once

#include "services/validator/engine.hpp"

#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <memory>

namespace troupe::validator {

using finish_atom = caf::atom_constant<caf::atom("finish")>;

/// Judges batches and keeps the profiles. Owned by the root; one request at a time, in the order they came.
/// The endpoint before it bounds how many wait (max_in_flight of the catalog) and refuses more as
/// `overloaded`.
using validator_actor = caf::typed_actor<
    // Answer one request: validate, profile, schemas. One whose deadline has passed is answered `too_late`
    // and not done.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // Behind everything that waited when the stop began, which is answered `stopping`: now quit.
    caf::reacts_to<finish_atom>>;

validator_actor spawn_validator(caf::actor_system& system, std::unique_ptr<engine> with);

} // namespace troupe::validator
