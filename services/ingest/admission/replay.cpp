#include "services/ingest/admission/replay.hpp"

#include "services/ingest/admission/admission.hpp"
#include "services/ingest/import_plan.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace troupe::ingest {

namespace {

/// How the rows of one source are read again.
struct source_rows {
  ingest_format::row_mapper mapper;
  std::optional<std::chrono::microseconds> max_ahead; ///< What the mapping says.
  std::optional<timestamp> arrival;                   ///< Of records without a time: when their import began.
};

/// Of the sources that rows come from, made once each.
class mappers {
public:
  mappers(event_log& log, std::string mapping) : log_{log}, mapping_{std::move(mapping)} {}

  expected<source_rows*> find(const quarantined_row& row) {
    auto key = row.import + '\n' + row.source;
    if (auto known = known_.find(key); known != known_.end())
      return &known->second;
    auto toml = mapping_;
    std::string name = "the given mapping";
    bool named = true;
    std::optional<timestamp> arrival;
    std::shared_ptr<const ingest_format::mapping> kept_by; // The mapping of the import.
    if (!row.import.empty()) {
      TROUPE_TRY(kept, log_.metadata().list(import_key(row.import)));
      if (kept.empty())
        return fail(ec::not_found, "the log does not know import {} of row {}", row.import, row.number);
      auto plan = decode_plan(kept.front().second);
      named = plan.path == row.source;
      arrival = plan.started;
      if (toml.empty()) {
        toml = plan.mapping;
        name = plan.mapping_name;
      } else {
        TROUPE_TRY(own, open_mapping(plan.mapping, plan.mapping_name));
        kept_by = std::move(own);
      }
    }
    // What was sent is kept as JSON, in our own layout.
    std::string path = row.import.empty() ? "appended.jsonl" : row.source;
    TROUPE_TRY(rules, open_mapping(row.import.empty() ? std::string{} : toml, name));
    auto file = rules->match(path, named);
    if (!file)
      return fail(ec::invalid_argument, "{} does not describe {}", rules->name(), path);
    if (row.import.empty()) {
      TROUPE_TRY(mapper, rules->bind(*file, path, ingest_format::file_format::json_lines, {}));
      return &known_.emplace(key, source_rows{std::move(mapper), {}, {}}).first->second;
    }
    TROUPE_TRY(reader, ingest_format::open_reader(path, rules->options(*file)));
    TROUPE_TRY(mapper, rules->bind(*file, path, *reader));
    if (auto own = kept_by ? kept_by->match(path, named) : std::nullopt)
      TROUPE_CHECK(check_kept(*reader, kept_by->options(*own), rules->options(*file)));
    return &known_.emplace(key, source_rows{std::move(mapper), rules->max_ahead(*file), arrival})
                .first->second;
  }

private:
  /// Of Parquet the quarantine has those columns that the import read: the others would be read as empty.
  static expected<void> check_kept(const ingest_format::source_reader& reader,
                                   const ingest_format::source_options& kept,
                                   const ingest_format::source_options& wanted) {
    if (reader.format() != ingest_format::file_format::parquet)
      return {};
    for (auto& column : reader.columns())
      if (wants(wanted, column) && !wants(kept, column))
        return fail(ec::conflict, "the quarantine has not kept column {}: import the file again", column);
    return {};
  }

  event_log& log_;
  std::string mapping_;
  std::map<std::string, source_rows> known_;
};

/// Whether the row is a record by itself, which no mapping describes. What was sent is read as rows of our
/// own layout, which gives ids to those that lack one.
bool is_record(const quarantined_row& row, const ingest_format::row_mapper& by) {
  if (row.raw_is == raw_kind::unsaid) // A row of another layout may begin so: nothing else is known of it.
    return by.joins_rows() && row.raw.starts_with("{\"kind\":");
  return row.raw_is == raw_kind::record && !row.import.empty();
}

/// One row out of the quarantine; a row is taken whole or not at all.
void map_row(mappers& from, const quarantined_row& row, admission& into) {
  row_origin origin{row.row, row.byte_offset, row.raw, row.number};
  origin.raw_is = row.raw_is;
  auto by = from.find(row);
  if (!by)
    return into.refuse(origin, "mapping", {}, by.error().text);
  into.let_ahead((*by)->max_ahead);
  std::vector<record> records;
  std::vector<ingest_format::refused_row> refusals;
  auto& mapper = (*by)->mapper;
  auto outcome = is_record(row, mapper) ? mapper.replay_record(row.raw, row.row, records, refusals)
                                        : mapper.replay(row.raw, row.row, records, refusals);
  for (auto& each : refusals)
    into.refuse(origin, each.why.rule, each.why.field, each.why.reason);
  if (outcome != ingest_format::row_mapper::outcome::mapped || records.empty())
    return into.refuse(origin, "mapping", {}, "the row gives no record");
  for (auto& rec : records) {
    // What was sent came when it was refused. The instant decides, not the place in the log: what was written
    // since is newer.
    origin.untimed = std::exchange(rec.untimed, false);
    if (origin.untimed)
      rec.event_time = (*by)->arrival.value_or(row.at);
    into.add(std::move(rec), origin);
  }
}

/// Counts rows, not records.
void count(const append_request& request, const append_result& taken, replay_result& result) {
  std::map<std::uint64_t, wire::Outcome> rows; // The weightiest outcome of their records.
  auto weight = [](wire::Outcome of) {
    return of == wire::Outcome::quarantined ? 2 : of == wire::Outcome::added ? 1 : 0;
  };
  for (std::size_t i = 0; i < taken.rows.size(); ++i) {
    auto outcome = taken.rows[i].outcome;
    auto& so_far = rows.try_emplace(request.origins[i].quarantined, outcome).first->second;
    if (weight(outcome) > weight(so_far))
      so_far = outcome;
  }
  for (auto& [number, outcome] : rows)
    ++(outcome == wire::Outcome::quarantined ? result.refused
       : outcome == wire::Outcome::added     ? result.accepted
                                             : result.duplicates);
}

/// The rows of one source and import, in one write.
expected<void> replay_rows(event_log& log, const validate_function& validate, mappers& from,
                           const std::vector<const quarantined_row*>& rows, replay_result& result) {
  admission batch{"replay"};
  batch.request()->source = rows.front()->source;
  batch.request()->import = rows.front()->import;
  for (auto* row : rows)
    map_row(from, *row, batch);
  batch.encode(log.partitions());
  if (!batch.empty()) {
    TROUPE_TRY(violations, validate_now(validate, batch.validation()));
    batch.take_out(violations);
  }
  auto refused = batch.leave_refused_rows();
  if (!batch.empty()) {
    TROUPE_TRY(taken, log.append(*batch.request()));
    count(*batch.request(), taken, result);
  }
  result.refused += refused;
  return {};
}

} // namespace

expected<replay_result> replay_quarantine(event_log& log, const validate_function& validate,
                                          const replay_query& query, deadline until) {
  replay_result result;
  mappers from{log, query.mapping};
  row_quarantine::query page;
  page.limit = 500;
  page.rule = query.rule;
  page.source = query.source;
  page.open_only = true;
  auto end = log.state().quarantine_next; // What this replay refuses anew waits for the next one.
  for (;;) {
    if (until.passed())
      return fail(ec::too_late,
                  "the deadline passed after {} rows were accepted and {} refused; ask again for the rest",
                  result.accepted, result.refused);
    TROUPE_TRY(rows, log.quarantine().list(page));
    std::erase_if(rows, [&](auto& row) { return row.number >= end; });
    if (rows.empty())
      return result;
    page.after = rows.back().number;
    if (!query.numbers.empty())
      std::erase_if(rows, [&](auto& row) {
        return std::ranges::find(query.numbers, row.number) == query.numbers.end();
      });
    std::map<std::pair<std::string, std::string>, std::vector<const quarantined_row*>> by_source;
    for (auto& row : rows)
      by_source[{row.source, row.import}].push_back(&row);
    for (auto& [source, some] : by_source)
      TROUPE_CHECK(replay_rows(log, validate, from, some, result));
  }
}

} // namespace troupe::ingest
