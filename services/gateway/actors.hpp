#pragma once

#include "services/gateway/logic/fallback_list.hpp"
#include "services/gateway/store/slate_outbox.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/self_tick.hpp"
#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <memory>
#include <string>
#include <vector>

namespace troupe::gateway {

class exchange;
/// A request as it came, and the duty to answer it: handed over once.
using exchange_ptr = std::shared_ptr<std::unique_ptr<exchange>>;

/// Rows that the log has taken.
using records_ptr = std::shared_ptr<const std::vector<record>>;

/// Slates on their way into the log, and the bytes that append them.
struct outbox_page {
  slate_outbox::page rows;
  chunk append; ///< Empty: there are no rows.
};
using outbox_page_ptr = std::shared_ptr<const outbox_page>;

} // namespace troupe::gateway

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::gateway::exchange_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::gateway::fallback_items_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::gateway::records_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::gateway::outbox_page_ptr)

namespace troupe::gateway {

using begin_atom = caf::atom_constant<caf::atom("begin")>;
using kept_atom = caf::atom_constant<caf::atom("kept")>;
using shown_atom = caf::atom_constant<caf::atom("shown")>;
using written_atom = caf::atom_constant<caf::atom("written")>;
using wake_atom = caf::atom_constant<caf::atom("wake")>;
using page_atom = caf::atom_constant<caf::atom("page")>;
using removed_atom = caf::atom_constant<caf::atom("removed")>;
using done_atom = caf::atom_constant<caf::atom("done")>;

/// HTTP requests that wait for something: each runs the handler of its route, and is forgotten when that has
/// answered and waits for nothing more. `max_in_flight` bounds how many there are. There are a few of these
/// actors, and requests take turns: an actor for each request costs more than what it does. Owned by the
/// root.
using requests_actor = caf::typed_actor<
    // Start the handler.
    caf::reacts_to<begin_atom, exchange_ptr>,
    // A service's answer; the tag is the request's and its handler's.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // Whether the outbox has the slate of that request's answer.
    caf::reacts_to<kept_atom, std::uint64_t, bool>>;

/// Keeps the routing table up to date by long polls of the deployer; the last table goes on while that is
/// away, and outlives a restart. Owned by the root.
using routing_client_actor = caf::typed_actor<
    // Ask for a newer table.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // The deployer's answer.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Reports to the deployer what was seen of the arms, each count once: a report is kept with its number until
/// it is acknowledged, and sent again as it is. Owned by the root.
using arm_reporter_actor = caf::typed_actor<
    // Report what there is, or again what was not acknowledged.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // The deployer's answer.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Keeps the items that answers show without a ranker: those that trend by the feature store, else those that
/// callers used and rankers showed most. Bounded: 1,000 listed, 20,000 counted. Owned by the root.
using fallback_items_actor = caf::typed_actor<
    // A ranker showed these.
    caf::reacts_to<shown_atom, fallback_items_ptr>,
    // The log has taken these. Answered when a deleted item is in the list no more.
    caf::replies_to<written_atom, records_ptr>::with<done_atom>,
    // Read the list anew.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // A page of the scan of all items.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Hands the outbox to the log in order, many answers at a time, and removes what is acknowledged. Owned by
/// the root.
using slate_sender_actor = caf::typed_actor<
    // There is something in the outbox.
    caf::reacts_to<wake_atom>,
    // What the pool read of it.
    caf::reacts_to<page_atom, outbox_page_ptr>,
    // The log's answer.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // The pool has removed it.
    caf::reacts_to<removed_atom>,
    // Try again after a failure.
    caf::reacts_to<tick_atom, std::uint64_t>>;

/// Does one thing again and again: in the pool where it blocks. Owned by the root.
using periodic_task_actor = caf::typed_actor<
    // Its time has come.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // The pool has done it.
    caf::reacts_to<done_atom>>;

} // namespace troupe::gateway
