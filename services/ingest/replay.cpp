#include "services/ingest/replay.hpp"

#include "services/ingest/import_plan.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <algorithm>
#include <future>
#include <map>

namespace troupe::ingest {

namespace {

/// The mappers of the sources that rows come from, made once each.
class mappers {
public:
  mappers(event_log& log, std::string mapping) : log_{log}, mapping_{std::move(mapping)} {}

  expected<ingest_format::row_mapper*> find(const quarantined_row& row) {
    auto key = row.import + '\n' + row.source;
    if (auto known = known_.find(key); known != known_.end())
      return &known->second;
    auto toml = mapping_;
    std::string name = "the given mapping";
    bool named = true;
    if (!row.import.empty()) {
      TROUPE_TRY(kept, log_.kept("import/" + row.import));
      if (kept.empty())
        return fail(ec::not_found, "the log does not know import {} of row {}", row.import, row.number);
      auto plan = decode_plan(kept.front().second);
      named = plan.path == row.source;
      if (toml.empty()) {
        toml = plan.mapping;
        name = plan.mapping_name;
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
      return &known_.emplace(key, std::move(mapper)).first->second;
    }
    TROUPE_TRY(reader, ingest_format::open_reader(path, rules->options(*file)));
    TROUPE_TRY(mapper, rules->bind(*file, path, *reader));
    return &known_.emplace(key, std::move(mapper)).first->second;
  }

private:
  event_log& log_;
  std::string mapping_;
  std::map<std::string, ingest_format::row_mapper> known_;
};

struct candidate {
  event_log::request_ptr request;
  bool good = true;
};

std::vector<candidate> map_rows(mappers& from, const std::vector<quarantined_row>& rows) {
  std::vector<candidate> found;
  for (auto& row : rows) {
    candidate& to = found.emplace_back();
    to.request = std::make_shared<append_request>();
    to.request->source = row.source;
    to.request->import = row.import;
    to.request->replayed = {row.number};
    auto mapper = from.find(row);
    std::vector<ingest_format::refused_row> refusals;
    to.good = mapper && (*mapper)->replay(row.raw, row.row, to.request->records, refusals) ==
                            ingest_format::row_mapper::outcome::mapped;
    for (auto& rec : to.request->records) {
      normalise(rec);
      to.good = to.good && check(rec).has_value();
      to.request->origins.push_back({row.row, row.byte_offset, row.raw});
    }
    to.good = to.good && refusals.empty() && !to.request->records.empty();
  }
  return found;
}

expected<void> judge_rows(const judge_function& judge, std::vector<candidate>& rows) {
  std::vector<const record*> records;
  std::vector<candidate*> owners;
  for (auto& each : rows)
    if (each.good)
      for (auto& rec : each.request->records) {
        records.push_back(&rec);
        owners.push_back(&each);
      }
  if (records.empty())
    return {};
  auto first = static_cast<std::uint64_t>(micros_of(wall_now()));
  TROUPE_TRY(verdicts,
             judge_now(judge, {"replay", first, encode_batch(std::span<const record* const>{records})}));
  for (auto& each : verdicts)
    owners[each.record]->good = false;
  return {};
}

expected<void> append_rows(event_log& log, std::vector<candidate>& rows, replay_result& result) {
  std::vector<std::future<expected<append_result>>> answers;
  for (auto& each : rows) {
    if (!each.good) {
      ++result.refused;
      continue;
    }
    auto promise = std::make_shared<std::promise<expected<append_result>>>();
    answers.push_back(promise->get_future());
    log.append(each.request,
               [promise](expected<append_result> taken) { promise->set_value(std::move(taken)); });
  }
  expected<void> done;
  for (auto& each : answers) {
    auto taken = each.get();
    if (!taken) {
      done = unexpected{taken.error()};
      continue;
    }
    auto is = [&](wire::Outcome which) {
      return std::ranges::any_of(taken->rows, [&](auto& row) { return row.outcome == which; });
    };
    if (is(wire::Outcome::quarantined))
      ++result.refused;
    else if (is(wire::Outcome::added))
      ++result.accepted;
    else
      ++result.duplicates;
  }
  return done;
}

} // namespace

expected<replay_result> replay_quarantine(event_log& log, const judge_function& judge,
                                          const replay_query& query, deadline until) {
  replay_result result;
  mappers from{log, query.mapping};
  event_log::quarantine_query page;
  page.limit = 500;
  page.rule = query.rule;
  page.source = query.source;
  page.open_only = true;
  for (;;) {
    if (until.passed())
      return fail(ec::too_late,
                  "the deadline passed after {} rows were accepted and {} refused; ask again for the rest",
                  result.accepted, result.refused);
    TROUPE_TRY(rows, log.quarantined(page));
    if (rows.empty())
      return result;
    page.after = rows.back().number;
    if (!query.numbers.empty())
      std::erase_if(rows, [&](auto& row) {
        return std::ranges::find(query.numbers, row.number) == query.numbers.end();
      });
    auto candidates = map_rows(from, rows);
    TROUPE_CHECK(judge_rows(judge, candidates));
    TROUPE_CHECK(append_rows(log, candidates, result));
  }
}

} // namespace troupe::ingest
