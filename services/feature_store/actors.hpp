#pragma once

#include "common/net/actors.hpp"

#include <caf/typed_actor.hpp>

#include <cstdint>

namespace troupe::feature_store {

using begin_atom = caf::atom_constant<caf::atom("begin")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using flush_atom = caf::atom_constant<caf::atom("flush")>;

/// Follows the log: one fetch loop per partition, more while a new view catches up. Owned by the root.
using consumer_actor = caf::typed_actor<
    // Ask the log how many partitions it has, then follow each. Sent once, by the spawner.
    caf::reacts_to<begin_atom>,
    // What a fetch (tag: number of the loop) or the first question (tag 0) ended with.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // Fetch again after a failure.
    caf::reacts_to<again_atom, std::uint64_t>,
    // Write what has changed, and come back.
    caf::reacts_to<flush_atom>>;

} // namespace troupe::feature_store
