#pragma once

#include "common/core/error.hpp"
#include "common/net/actors.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <memory>

namespace troupe::feature_store {

/// What became of work that was done in a pool.
using outcome_ptr = std::shared_ptr<const expected<void>>;

using begin_atom = caf::atom_constant<caf::atom("begin")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using applied_atom = caf::atom_constant<caf::atom("applied")>;
using flush_atom = caf::atom_constant<caf::atom("flush")>;
using flushed_atom = caf::atom_constant<caf::atom("flushed")>;
using park_atom = caf::atom_constant<caf::atom("park")>;
using advance_atom = caf::atom_constant<caf::atom("advance")>;
using expire_atom = caf::atom_constant<caf::atom("expire")>;
using drain_atom = caf::atom_constant<caf::atom("drain")>;

} // namespace troupe::feature_store

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::feature_store::outcome_ptr)

namespace troupe::feature_store {

/// Follows the log: one fetch loop per partition, more while a new view catches up. Owned by the root.
using consumer_actor = caf::typed_actor<
    // Ask the log how many partitions it has, then follow each. Sent once, by the spawner.
    caf::reacts_to<begin_atom>,
    // What a fetch (tag: number of the loop) or the first question (tag 0) ended with.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // Ask again after a failure.
    caf::reacts_to<again_atom, std::uint64_t>,
    // The records that a loop had have been applied, up to an offset, or have not.
    caf::reacts_to<applied_atom, std::uint64_t, std::uint64_t, outcome_ptr>,
    // Write what has changed, and come back.
    caf::reacts_to<flush_atom>,
    // It has been written, or has not.
    caf::reacts_to<flushed_atom, outcome_ptr>>;

/// Holds reads until the offsets that they name are applied. Owned by the root.
using read_parker_actor = caf::typed_actor<
    // Hold this read, or give it on where it need not wait; overloaded, too_late or stopping are answered.
    caf::reacts_to<park_atom, net::request_ptr>,
    // Records have been applied: reads whose offsets are reached go on.
    caf::reacts_to<advance_atom>,
    // Deadlines may have passed.
    caf::reacts_to<expire_atom>,
    // Answer all with stopping, and whatever else would have to wait.
    caf::reacts_to<drain_atom>>;

} // namespace troupe::feature_store
