#pragma once

#include "services/ingest/import_plan.hpp"
#include "services/ingest/sources/batch_source.hpp"

#include "common/actor/self_tick.hpp"
#include "common/net/actors.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ingest {

using read_atom = caf::atom_constant<caf::atom("read")>;
using valid_atom = caf::atom_constant<caf::atom("valid")>;
using appended_atom = caf::atom_constant<caf::atom("appended")>;
using ask_atom = caf::atom_constant<caf::atom("ask")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using stop_atom = caf::atom_constant<caf::atom("stop")>;
using report_atom = caf::atom_constant<caf::atom("report")>;
using planned_atom = caf::atom_constant<caf::atom("planned")>;
using grown_atom = caf::atom_constant<caf::atom("grown")>;
using sealed_atom = caf::atom_constant<caf::atom("sealed")>;
using sweep_atom = caf::atom_constant<caf::atom("sweep")>;
using drain_atom = caf::atom_constant<caf::atom("drain")>;

using read_ptr = std::shared_ptr<const expected<admission_ptr>>;
using validation_ptr = std::shared_ptr<const validation_result>;
using sealed_ptr = std::shared_ptr<const expected<void>>;
using appended_ptr = std::shared_ptr<const expected<append_result>>;

/// What a source waits for.
enum class source_wait : std::uint8_t { none, validator, log };

/// What a source tells its supervisor.
struct source_report {
  std::string import;
  std::size_t file = 0;
  source_state state; ///< As it is in the log.
  source_wait wait = source_wait::none;
  std::string why;              ///< It waits, for a person.
  bool finished = false;        ///< Nothing more will come.
  std::optional<error> failure; ///< Why it finished before the end of the file.
};
using report_ptr = std::shared_ptr<const source_report>;

/// An import as the log keeps it: its plan, and how far its files are, by their source key.
struct import_record {
  import_plan plan;
  std::map<std::string, source_state> positions;
};
using planned_ptr = std::shared_ptr<const expected<import_record>>;

} // namespace troupe::ingest

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::read_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::validation_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::appended_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::sealed_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::report_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::planned_ptr)

namespace troupe::ingest {

/// Takes one source into the log: reads, has validated, appends in order, with a bounded number of batches
/// under way. Owned and monitored by the import supervisor; quits when the source has ended, failed or was
/// stopped.
using source_actor = caf::typed_actor<
    // The next piece was read, or the source is broken.
    caf::reacts_to<read_atom, read_ptr>,
    // The batch of that number was validated.
    caf::reacts_to<valid_atom, std::uint64_t, validation_ptr>,
    // The batch of that number is in the log, or is not.
    caf::reacts_to<appended_atom, std::uint64_t, appended_ptr>,
    // Have the batch of that number validated again.
    caf::reacts_to<ask_atom, std::uint64_t>,
    // Append again what could not be appended.
    caf::reacts_to<again_atom>,
    // End after what is being appended.
    caf::reacts_to<stop_atom>>;

/// Knows all imports, runs their files, restarts those that failed by a passing error, keeps what became of
/// them.
using import_supervisor_actor = caf::typed_actor<
    // import_start, import_status and import_cancel.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The plan of that import was made and kept, or could not be.
    caf::reacts_to<planned_atom, std::string, planned_ptr>,
    // A source has moved on.
    caf::reacts_to<report_atom, report_ptr>,
    // Start that file of that import again.
    caf::reacts_to<again_atom, std::string, std::uint64_t>,
    // Look for uploads that nobody needs.
    caf::reacts_to<sweep_atom>>;

/// Answers `fetch`; parks those that wait for a first record.
using fetch_server_actor = caf::typed_actor<
    // fetch.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The log has grown.
    caf::reacts_to<grown_atom>,
    // Look for those whose time is over.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // Answer all that are parked, and park no more.
    caf::reacts_to<drain_atom>>;

/// Turns the state of the log into metrics and gauges, once a second.
using log_metrics_actor = caf::typed_actor<caf::reacts_to<tick_atom, std::uint64_t>>;

/// Keeps the log small: has what gathered in it packed, full segments written to the lake, and what has been
/// there for long taken out of the log; one after the other.
using lake_sealer_actor = caf::typed_actor<
    // Look whether there is something to do.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // It is done, or could not be.
    caf::reacts_to<sealed_atom, sealed_ptr>>;

} // namespace troupe::ingest
