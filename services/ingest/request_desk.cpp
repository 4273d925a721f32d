#include "services/ingest/request_desk.hpp"

#include "services/ingest/replay.hpp"
#include "services/ingest/wire.hpp"

#include "schemas/ingest_generated.h"

#include <map>

namespace troupe::ingest {

namespace {

constexpr std::size_t verified_at_once = std::size_t{4} << 20;

std::string text(const flatbuffers::String* from) {
  return from ? from->str() : std::string{};
}

template <class Answer>
void answer_on(worker_pool& pool, net::request request, Answer answer) {
  pool.post([request = std::make_shared<net::request>(std::move(request)), answer = std::move(answer)] {
    if (request->until.passed())
      return request->respond.fail(
          {ec::too_late, "the deadline passed while the request waited; nothing was done"});
    request->respond.finish(answer(*request));
  });
}

} // namespace

struct request_desk::append_job {
  net::request request;
  event_log::request_ptr append = std::make_shared<append_request>();
  std::vector<row_outcome> outcomes;  ///< One per record of the request.
  std::vector<std::size_t> positions; ///< Where each record of `append` stood in the request.
  chunk encoded;

  void refuse(std::size_t index, const record& from, std::string rule, std::string field,
              std::string reason) {
    outcomes[index] = {wire::Outcome::quarantined, rule, reason};
    append->refused.push_back({append->source,
                               {},
                               index + 1,
                               0,
                               std::move(rule),
                               std::move(field),
                               std::move(reason),
                               to_json(from)});
  }
};

void request_desk::append(net::request request) {
  auto job = std::make_shared<append_job>();
  job->request = std::move(request);
  servers_->post([self = shared_from_this(), job] {
    auto& respond = job->request.respond;
    auto query = message<wire::Append>::open(job->request.payload);
    if (!query)
      return respond.fail(query.error());
    if (!(*query)->batch())
      return respond.fail({ec::invalid_argument, "an append without a batch"});
    auto records = batch::open(query->part(*(*query)->batch()));
    if (!records)
      return respond.fail(records.error());
    job->append->source = (*query)->source()->str();
    job->outcomes.resize(records->size());
    for (std::size_t i = 0; i < records->size(); ++i) {
      auto rec = to_record((*records)[i]);
      normalise(rec);
      if (auto good = check(rec); !good) {
        job->refuse(i, rec, "record", {}, good.error().text);
        continue;
      }
      job->append->records.push_back(std::move(rec));
      job->positions.push_back(i);
    }
    self->judge_append(job);
  });
}

void request_desk::judge_append(std::shared_ptr<append_job> job) {
  auto& append = *job->append;
  if (append.records.empty())
    return commit_append(std::move(job));
  auto encoded = encode_batch(std::span<const record>{append.records});
  auto first = static_cast<std::uint64_t>(micros_of(wall_now()));
  judge_({"append/" + append.source, first, encoded}, [self = shared_from_this(),
                                                       job](expected<std::vector<verdict>> verdicts) {
    if (!verdicts)
      return job->request.respond.fail(
          {verdicts.error().code, "the records could not be judged: " + verdicts.error().text},
          std::chrono::milliseconds{200});
    auto& records = job->append->records;
    std::vector<bool> bad(records.size());
    for (auto& each : *verdicts)
      if (!bad[each.record]) {
        bad[each.record] = true;
        job->refuse(job->positions[each.record], records[each.record], each.rule, each.field, each.reason);
      }
    std::size_t kept = 0;
    for (std::size_t i = 0; i < records.size(); ++i)
      if (!bad[i]) {
        if (kept != i)
          records[kept] = std::move(records[i]);
        job->positions[kept++] = job->positions[i];
      }
    records.resize(kept);
    self->commit_append(job);
  });
}

void request_desk::commit_append(std::shared_ptr<append_job> job) {
  if (job->request.until.passed())
    return job->request.respond.fail(
        {ec::too_late, "the deadline passed before the records were appended; nothing was"});
  auto append = job->append;
  log_->append(append, [log = log_, job](expected<append_result> result) {
    if (!result)
      return job->request.respond.fail(result.error(), std::chrono::milliseconds{200});
    std::map<std::uint32_t, std::uint64_t> touched;
    for (auto& each : job->append->records)
      touched[partition_of(each.partition_key(), log->partitions())] = 0;
    for (auto& [partition, offset] : touched)
      offset = log->next_offset(partition);
    for (std::size_t i = 0; i < result->rows.size(); ++i)
      job->outcomes[job->positions[i]] = std::move(result->rows[i]);
    job->request.respond.reply(build_message([&](auto& out) {
      std::vector<flatbuffers::Offset<wire::RowResult>> rows;
      for (auto& each : job->outcomes) {
        auto rule = each.rule.empty() ? 0 : out.CreateSharedString(each.rule);
        auto reason = each.reason.empty() ? 0 : out.CreateSharedString(each.reason);
        rows.push_back(wire::CreateRowResult(out, each.outcome, rule, reason));
      }
      std::vector<wire::PartitionOffset> offsets;
      for (auto& [partition, offset] : touched)
        offsets.emplace_back(partition, offset);
      auto results = out.CreateVector(rows);
      return wire::CreateAppendReply(out, results, out.CreateVectorOfStructs(offsets));
    }));
  });
}

void request_desk::log_info(net::request request) {
  answer_on(*servers_, std::move(request),
            [self = shared_from_this()](net::request&) { return self->info(); });
}

void request_desk::quarantine_list(net::request request) {
  answer_on(*servers_, std::move(request),
            [self = shared_from_this()](net::request& from) { return self->list(from.payload); });
}

void request_desk::quarantine_replay(net::request request) {
  answer_on(*slow_, std::move(request), [self = shared_from_this()](net::request& from) {
    return self->replay(from.payload, from.until);
  });
}

void request_desk::lake_seal(net::request request) {
  answer_on(*slow_, std::move(request),
            [self = shared_from_this()](net::request& from) { return self->seal(from.payload, from.until); });
}

expected<chunk> request_desk::info() const {
  auto state = log_->state();
  return build_message([&](auto& out) {
    std::vector<wire::PartitionInfo> partitions;
    for (std::uint32_t p = 0; p < state.partitions.size(); ++p) {
      auto& each = state.partitions[p];
      partitions.emplace_back(p, 0, each.next, each.sealed, each.watermark);
    }
    auto list = out.CreateVectorOfStructs(partitions);
    auto& t = state.total;
    return wire::CreateLogInfo(out, list, t.events, t.users, t.items, state.quarantine_next - 1, t.late);
  });
}

expected<chunk> request_desk::list(const chunk& payload) const {
  TROUPE_TRY(query, message<wire::QuarantineQuery>::open(payload));
  event_log::quarantine_query how;
  how.after = query->after();
  how.limit = std::clamp<std::size_t>(query->limit(), 1, 10'000);
  how.rule = text(query->rule());
  how.source = text(query->source());
  TROUPE_TRY(rows, log_->quarantined(how));
  auto total = log_->state().quarantine_next - 1;
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

expected<chunk> request_desk::replay(const chunk& payload, deadline until) {
  TROUPE_TRY(query, message<wire::QuarantineReplay>::open(payload));
  replay_query how;
  if (query->numbers())
    how.numbers.assign(query->numbers()->begin(), query->numbers()->end());
  how.rule = text(query->rule());
  how.source = text(query->source());
  how.mapping = text(query->mapping());
  TROUPE_TRY(result, replay_quarantine(*log_, judge_, how, until));
  uploads_->sweep(); // Nothing may wait for a replay of their rows any more.
  return build_message([&](auto& out) {
    return wire::CreateQuarantineReplayReply(out, result.accepted, result.duplicates, result.refused);
  });
}

expected<chunk> request_desk::seal(const chunk& payload, deadline until) {
  TROUPE_TRY(query, message<wire::LakeSeal>::open(payload));
  TROUPE_CHECK(lake_->seal(true));
  TROUPE_TRY(segments, log_->segments());
  auto from_log = [this](std::uint32_t partition, std::uint64_t offset) {
    return log_->fetch(partition, offset, verified_at_once);
  };
  for (std::size_t i = 0; query->verify() && i < segments.size(); ++i) {
    if (until.passed())
      return fail(ec::too_late,
                  "the deadline passed after {} of {} files of the lake were compared: all equal", i,
                  segments.size());
    TROUPE_CHECK(verify_segment(lake_->folder() / segments[i].path, segments[i], from_log));
  }
  return build_message([&](auto& out) {
    std::vector<flatbuffers::Offset<wire::LakeSegment>> list;
    for (auto& each : segments)
      list.push_back(wire::CreateLakeSegment(out, each.partition, each.first, each.next,
                                             out.CreateString((lake_->folder() / each.path).string()),
                                             each.bytes));
    return wire::CreateLakeStatus(out, out.CreateVector(list));
  });
}

} // namespace troupe::ingest
