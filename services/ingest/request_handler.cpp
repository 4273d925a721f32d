#include "services/ingest/request_handler.hpp"

#include "services/ingest/admission/replay.hpp"
#include "services/ingest/column_query.hpp"
#include "services/ingest/wire.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <optional>
#include <set>

namespace troupe::ingest {

namespace {

constexpr std::size_t verified_at_once = std::size_t{4} << 20;
constexpr std::chrono::milliseconds again_after{200};

template <class Answer>
void answer_on(blocking_pool& pool, net::request request, Answer answer) {
  auto asked = std::make_shared<net::request>(std::move(request));
  auto posted = pool.post([asked, answer = std::move(answer)] {
    if (asked->until.passed())
      return asked->respond.fail(
          {ec::too_late, "the deadline passed while the request waited; nothing was done"});
    asked->respond.finish(answer(*asked));
  });
  if (!posted)
    asked->respond.fail(posted.error(), again_after);
}

/// One outcome for each row of the request, and where the partitions end that its records went to.
chunk append_reply(const event_log& log, const append_request& request, std::size_t rows,
                   const append_result& result) {
  std::vector<row_outcome> outcomes(rows);
  for (auto& each : request.refused)
    outcomes[each.row - 1] = {wire::Outcome::quarantined, each.rule, each.reason};
  for (std::size_t i = 0; i < result.rows.size(); ++i)
    outcomes[request.origins[i].row - 1] = result.rows[i];
  std::set<std::uint32_t> touched;
  for (auto& part : request.parts)
    touched.insert(part.partition);
  return build_message([&](auto& out) {
    std::vector<flatbuffers::Offset<wire::RowResult>> list;
    for (auto& each : outcomes) {
      auto rule = each.rule.empty() ? 0 : out.CreateSharedString(each.rule);
      auto reason = each.reason.empty() ? 0 : out.CreateSharedString(each.reason);
      list.push_back(wire::CreateRowResult(out, each.outcome, rule, reason));
    }
    std::vector<wire::PartitionOffset> offsets;
    for (auto partition : touched)
      offsets.emplace_back(partition, log.next_offset(partition));
    auto results = out.CreateVector(list);
    return wire::CreateAppendReply(out, results, out.CreateVectorOfStructs(offsets));
  });
}

} // namespace

struct request_handler::append_job {
  net::request request;
  std::optional<admission> batch;
  std::size_t rows = 0; ///< Of the request.
};

void request_handler::append(net::request request) {
  auto job = std::make_shared<append_job>();
  job->request = std::move(request);
  auto posted = deps_.servers->post([self = shared_from_this(), job] {
    if (auto good = self->read(*job); !good)
      return job->request.respond.fail(good.error());
    self->validate(job);
  });
  if (!posted)
    job->request.respond.fail(posted.error(), again_after);
}

expected<void> request_handler::read(append_job& job) const {
  TROUPE_TRY(query, message<wire::Append>::open(job.request.payload));
  if (!query->batch())
    return fail(ec::invalid_argument, "an append without a batch");
  TROUPE_TRY(records, batch::open(query.part(*query->batch())));
  auto source = query->source()->str();
  job.batch.emplace("append/" + source);
  job.batch->request()->source = std::move(source);
  job.rows = records.size();
  for (std::size_t i = 0; i < records.size(); ++i)
    job.batch->add(to_record(records[i]), {i + 1});
  job.batch->encode(deps_.log->partitions());
  return {};
}

void request_handler::validate(std::shared_ptr<append_job> job) {
  if (job->batch->empty())
    return commit(std::move(job));
  deps_.validate(job->batch->validation(), [self = shared_from_this(), job](validation_result result) {
    // The answer comes on a socket's thread.
    auto posted = self->deps_.servers->post([self, job, result = std::move(result)] {
      if (!result)
        return job->request.respond.fail(
            {result.error().code, "the records could not be validated: " + result.error().text}, again_after);
      job->batch->take_out(*result);
      self->commit(job);
    });
    if (!posted)
      job->request.respond.fail(posted.error(), again_after);
  });
}

void request_handler::commit(std::shared_ptr<append_job> job) {
  if (job->request.until.passed())
    return job->request.respond.fail(
        {ec::too_late, "the deadline passed before the records were appended; nothing was"});
  // The log calls this itself, on its writer's thread: were the log held here, it might end on that thread.
  deps_.log->append(job->batch->request(), [log = deps_.log.get(), job](expected<append_result> result) {
    if (!result)
      return job->request.respond.fail(result.error(), again_after);
    job->request.respond.reply(append_reply(*log, *job->batch->request(), job->rows, *result));
  });
}

void request_handler::log_info(net::request request) {
  answer_on(*deps_.servers, std::move(request),
            [self = shared_from_this()](net::request&) { return self->info(); });
}

void request_handler::fetch_columns(net::request request) {
  auto query = message<wire::ColumnsQuery>::open(request.payload);
  if (!query)
    return request.respond.fail(query.error());
  auto files = deps_.into->reads_files((*query)->partition(), (*query)->offset());
  auto& pool = files ? *deps_.lake_readers : *deps_.servers;
  answer_on(pool, std::move(request), [self = shared_from_this()](net::request& from) {
    return answer_columns(from.payload, *self->deps_.log, *self->deps_.into);
  });
}

void request_handler::quarantine_list(net::request request) {
  answer_on(*deps_.servers, std::move(request),
            [self = shared_from_this()](net::request& from) { return self->list(from.payload); });
}

void request_handler::quarantine_replay(net::request request) {
  answer_on(*deps_.slow, std::move(request), [self = shared_from_this()](net::request& from) {
    return self->replay(from.payload, from.until);
  });
}

void request_handler::lake_seal(net::request request) {
  answer_on(*deps_.slow, std::move(request),
            [self = shared_from_this()](net::request& from) { return self->seal(from.payload, from.until); });
}

expected<chunk> request_handler::info() const {
  auto state = deps_.log->state();
  return build_message([&](auto& out) {
    std::vector<wire::PartitionInfo> partitions;
    for (std::uint32_t p = 0; p < state.partitions.size(); ++p) {
      auto& each = state.partitions[p];
      partitions.emplace_back(p, each.first, each.next, each.sealed, each.watermark);
    }
    auto list = out.CreateVectorOfStructs(partitions);
    auto& t = state.total;
    return wire::CreateLogInfo(out, list, t.events, t.users, t.items, state.quarantine_next - 1, t.late,
                               deps_.log->identity());
  });
}

expected<chunk> request_handler::list(const chunk& payload) const {
  TROUPE_TRY(query, message<wire::QuarantineQuery>::open(payload));
  row_quarantine::query row_query;
  row_query.after = query->after();
  row_query.limit = std::clamp<std::size_t>(query->limit(), 1, 10'000);
  row_query.rule = std::string{text_of(query->rule())};
  row_query.source = std::string{text_of(query->source())};
  TROUPE_TRY(rows, deps_.log->quarantine().list(row_query));
  auto total = deps_.log->state().quarantine_next - 1;
  return build_message([&](auto& out) {
    std::vector<flatbuffers::Offset<wire::QuarantinedRow>> list;
    for (auto& each : rows) {
      auto source = out.CreateSharedString(each.source);
      auto rule = out.CreateSharedString(each.rule);
      auto field = out.CreateSharedString(each.field);
      auto reason = out.CreateString(each.reason);
      auto raw = out.CreateVector(reinterpret_cast<const std::uint8_t*>(each.raw.data()), each.raw.size());
      list.push_back(wire::CreateQuarantinedRow(out, each.number, source, each.row, each.byte_offset, rule,
                                                field, reason, raw, micros_of(each.at), each.replayed));
    }
    return wire::CreateQuarantinePage(out, out.CreateVector(list), total);
  });
}

expected<chunk> request_handler::replay(const chunk& payload, deadline until) {
  TROUPE_TRY(query, message<wire::QuarantineReplay>::open(payload));
  replay_query replay_query;
  if (query->numbers())
    replay_query.numbers.assign(query->numbers()->begin(), query->numbers()->end());
  replay_query.rule = std::string{text_of(query->rule())};
  replay_query.source = std::string{text_of(query->source())};
  replay_query.mapping = std::string{text_of(query->mapping())};
  TROUPE_TRY(result, replay_quarantine(*deps_.log, deps_.validate, replay_query, until));
  deps_.uploads->sweep(); // Nothing may wait for a replay of their rows any more.
  return build_message([&](auto& out) {
    return wire::CreateQuarantineReplayReply(out, result.accepted, result.duplicates, result.refused);
  });
}

expected<chunk> request_handler::seal(const chunk& payload, deadline until) {
  TROUPE_TRY(query, message<wire::LakeSeal>::open(payload));
  TROUPE_CHECK(deps_.into->seal(true));
  TROUPE_TRY(segments, deps_.log->segments().list());
  auto from_log = [this](std::uint32_t partition, std::uint64_t offset) {
    return deps_.log->fetch(partition, offset, verified_at_once);
  };
  for (std::size_t i = 0; query->verify() && i < segments.size(); ++i) {
    if (until.passed())
      return fail(ec::too_late,
                  "the deadline passed after {} of {} files of the lake were compared: all equal", i,
                  segments.size());
    TROUPE_CHECK(verify_segment(deps_.into->folder() / segments[i].path, segments[i], from_log));
  }
  return build_message([&](auto& out) {
    std::vector<flatbuffers::Offset<wire::LakeSegment>> list;
    for (auto& each : segments)
      list.push_back(wire::CreateLakeSegment(out, each.partition, each.first, each.next,
                                             out.CreateString((deps_.into->folder() / each.path).string()),
                                             each.bytes));
    return wire::CreateLakeStatus(out, out.CreateVector(list));
  });
}

} // namespace troupe::ingest
