#pragma once

#include "services/ingest/batch_source.hpp"
#include "services/ingest/import_plan.hpp"
#include "services/ingest/judge.hpp"

#include "common/net/actors.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ingest {

using read_atom = caf::atom_constant<caf::atom("read")>;
using judged_atom = caf::atom_constant<caf::atom("judged")>;
using appended_atom = caf::atom_constant<caf::atom("appended")>;
using ask_atom = caf::atom_constant<caf::atom("ask")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using stop_atom = caf::atom_constant<caf::atom("stop")>;
using report_atom = caf::atom_constant<caf::atom("report")>;
using planned_atom = caf::atom_constant<caf::atom("planned")>;
using grown_atom = caf::atom_constant<caf::atom("grown")>;
using tick_atom = caf::atom_constant<caf::atom("tick")>;
using sweep_atom = caf::atom_constant<caf::atom("sweep")>;
using drain_atom = caf::atom_constant<caf::atom("drain")>;

using read_ptr = std::shared_ptr<expected<source_batch>>;
using verdicts_ptr = std::shared_ptr<const expected<std::vector<verdict>>>;
using appended_ptr = std::shared_ptr<const expected<append_result>>;

/// What a source tells its supervisor.
struct source_report {
  std::string import;
  std::size_t file = 0;
  source_state state;           ///< As it is in the log.
  std::string waiting;          ///< For what; empty: it is not waiting.
  bool finished = false;        ///< Nothing more will come.
  std::optional<error> failure; ///< Why it finished before the end of the file.
};
using report_ptr = std::shared_ptr<const source_report>;

/// An import that was asked for: its plan, or why there is none, and what the log knows of its files.
struct planned {
  expected<import_plan> plan;
  std::vector<std::pair<std::string, source_state>> sources;
  std::string id;           ///< Of the import, where there is no plan too.
  std::string path;         ///< As it was asked for, likewise.
  net::request_ptr request; ///< Nobody asked for one that is resumed at start.
};
using planned_ptr = std::shared_ptr<planned>;

} // namespace troupe::ingest

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::read_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::verdicts_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::appended_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::report_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ingest::planned_ptr)

namespace troupe::ingest {

/// Takes one source into the log: reads, has judged, appends in order, with a bounded number of batches under
/// way. Owned and monitored by the import supervisor; quits when the source has ended, failed or was stopped.
using source_actor = caf::typed_actor<
    // The next piece was read, or the source is broken.
    caf::reacts_to<read_atom, read_ptr>,
    // The batch of that number was judged.
    caf::reacts_to<judged_atom, std::uint64_t, verdicts_ptr>,
    // The batch of that number is in the log, or is not.
    caf::reacts_to<appended_atom, std::uint64_t, appended_ptr>,
    // Ask the judge again about the batch of that number.
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
    // A plan was made and kept, or could not be.
    caf::reacts_to<planned_atom, planned_ptr>,
    // A source has moved on.
    caf::reacts_to<report_atom, report_ptr>,
    // Start that file of that import again.
    caf::reacts_to<again_atom, std::string, std::uint64_t>,
    // Look for uploads that nobody needs.
    caf::reacts_to<sweep_atom>>;

/// Answers `fetch`; parks those that wait for a first record.
using fetch_desk_actor = caf::typed_actor<
    // fetch.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The log has grown.
    caf::reacts_to<grown_atom>,
    // Look for those whose time is over.
    caf::reacts_to<tick_atom>,
    // Answer all that are parked, and park no more.
    caf::reacts_to<drain_atom>>;

} // namespace troupe::ingest
