#include "services/ingest/batch_source.hpp"
#include "services/ingest/codec.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "services/ingest/mapping/mapping.hpp"
#include "services/ingest/readers/source.hpp"

#include "common/store/codec.hpp"

#include <algorithm>
#include <utility>

namespace troupe::ingest {

namespace {

/// An id, a text or an attribute that no record can have, in the terms of the quarantine.
rejected_row rejected(const file_setup& setup, const ingest_format::raw_row& row, std::string rule,
                      std::string field, std::string reason) {
  return {setup.path,      setup.import,     row.number,        row.offset,
          std::move(rule), std::move(field), std::move(reason), std::string{row.bytes}};
}

class file_source final : public batch_source {
public:
  file_source(file_setup setup, std::unique_ptr<ingest_format::source_reader> reader,
              ingest_format::row_mapper mapper, const source_state& from)
      : setup_{std::move(setup)}, reader_{std::move(reader)}, mapper_{std::move(mapper)}, state_{from} {}

  expected<source_batch> next() override {
    TROUPE_TRY(rows, reader_->next(setup_.batch_rows));
    auto request = std::make_shared<append_request>();
    request->source = setup_.path;
    request->import = setup_.import;
    request->source_key = setup_.key;
    request->batch = state_.batches++;
    request->records.reserve(rows->rows.size());
    request->origins.reserve(rows->rows.size());
    std::uint64_t skipped = 0;
    for (auto& row : rows->rows)
      skipped += take(row, *request);
    source_batch result;
    result.first_record = state_.records;
    state_.records += request->records.size();
    state_.done = rows->rows.empty();
    if (!state_.done)
      state_.position = store::encoder{}.big(rows->after.rows).big(rows->after.offset).take();
    state_.rows += rows->rows.size();
    state_.bytes = reader_->bytes_read();
    request->progress = state_;
    request->progress.added = {};
    request->progress.added.skipped = skipped;
    if (!request->records.empty())
      result.encoded = encode_batch(std::span<const record>{request->records});
    result.request = std::move(request);
    return result;
  }

private:
  /// True when the mapping leaves the row out.
  bool take(const ingest_format::raw_row& row, append_request& request) {
    auto before = request.records.size();
    refusals_.clear();
    auto outcome = mapper_.apply(row, request.records, refusals_);
    for (auto& each : refusals_)
      request.refused.push_back(rejected(setup_, row, each.why.rule, each.why.field, each.why.reason));
    auto kept = before;
    for (auto i = before; i < request.records.size(); ++i) {
      auto& rec = request.records[i];
      normalise(rec);
      if (auto good = check(rec); !good) {
        request.refused.push_back(rejected(setup_, row, "record", {}, good.error().text));
        continue;
      }
      if (kept != i)
        request.records[kept] = std::move(rec);
      ++kept;
      request.origins.push_back({row.number, row.offset, std::string{row.bytes}});
    }
    request.records.resize(kept);
    return outcome == ingest_format::row_mapper::outcome::skipped;
  }

  file_setup setup_;
  std::unique_ptr<ingest_format::source_reader> reader_;
  ingest_format::row_mapper mapper_;
  std::vector<ingest_format::refused_row> refusals_;
  source_state state_;
};

} // namespace

expected<std::unique_ptr<batch_source>> open_file(const file_setup& setup, const source_state& from) {
  auto file = setup.rules->match(setup.path, setup.named);
  if (!file)
    return fail(ec::invalid_argument, "the mapping {} does not describe {}", setup.rules->name(), setup.path);
  ingest_format::source_position position;
  if (!from.position.empty()) {
    store::decoder in{from.position};
    position.rows = in.big();
    position.offset = in.big();
  }
  TROUPE_TRY(reader, ingest_format::open_reader(setup.path, setup.rules->options(*file), position));
  TROUPE_TRY(mapper, setup.rules->bind(*file, setup.path, *reader));
  return std::unique_ptr<batch_source>{new file_source{setup, std::move(reader), std::move(mapper), from}};
}

} // namespace troupe::ingest
