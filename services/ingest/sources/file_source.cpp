#include "services/ingest/sources/file_source.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/mapping/slate_rows.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/store/codec.hpp"

#include <utility>

namespace troupe::ingest {

namespace {

class file_source final : public batch_source {
public:
  file_source(file_source_options options, std::unique_ptr<ingest_format::source_reader> reader,
              ingest_format::row_mapper mapper, std::optional<std::chrono::microseconds> max_ahead,
              const source_state& from)
      : options_{std::move(options)}, reader_{std::move(reader)}, mapper_{std::move(mapper)},
        max_ahead_{max_ahead}, state_{from} {}

  expected<admission_ptr> next() override {
    TROUPE_TRY(rows, reader_->next(options_.batch_rows));
    auto into = std::make_shared<admission>(options_.key, state_.records);
    into->let_ahead(max_ahead_);
    auto& request = *into->request();
    request.source = options_.path;
    request.import = options_.import;
    request.source_key = options_.key;
    request.batch = state_.batches++;
    request.records.reserve(rows->rows.size());
    request.origins.reserve(rows->rows.size());
    std::uint64_t skipped = 0, taken = rows->rows.size();
    auto after = rows->after;
    state_.done = rows->rows.empty();
    if (mapper_.joins_rows()) {
      complete_.clear();
      for (auto& row : rows->rows)
        slates_.add(row, complete_);
      if (state_.done)
        slates_.finish(complete_);
      for (auto& row : complete_)
        skipped += take(row, *into);
      taken = complete_.size();
      // A slate that is under way waits for its rows: whoever goes on from here reads it from its beginning.
      after = slates_.waits_from().value_or(after);
    } else {
      request.kept = rows->keep();
      for (std::uint32_t i = 0; i < rows->rows.size(); ++i)
        skipped += take(rows->rows[i], i, *into);
    }
    if (!state_.done)
      state_.position = store::encoder{}.big(after.rows).big(after.offset).take();
    state_.rows += taken;
    state_.bytes = reader_->bytes_read();
    state_.records += request.records.size();
    request.progress = state_;
    request.progress.added = {};
    request.progress.added.skipped = skipped;
    return into;
  }

private:
  /// True when the mapping leaves the row out. `kept`: which one of those that are kept it is.
  bool take(const ingest_format::raw_row& row, std::uint32_t kept, admission& into) {
    row_origin origin{row.number, row.offset};
    records_.clear();
    refusals_.clear();
    auto outcome = mapper_.apply(row, records_, refusals_);
    for (auto& each : refusals_) {
      origin.raw = std::move(each.raw);
      into.refuse(origin, each.why.rule, each.why.field, each.why.reason);
    }
    origin.raw.clear();
    origin.kept = kept;
    for (auto& rec : records_) {
      if (rec.untimed)
        rec.event_time = options_.arrival;
      into.add(std::move(rec), origin);
    }
    return outcome == ingest_format::row_mapper::outcome::skipped;
  }

  /// The same for a row that may have become part of a slate. In quarantine its records are kept each by
  /// itself: the bytes of the row alone would not give them again.
  bool take(ingest_format::mapped_row& row, admission& into) {
    row_origin origin{row.number, row.offset};
    for (auto& each : row.refusals) {
      origin.raw = std::move(each.raw);
      into.refuse(origin, each.why.rule, each.why.field, each.why.reason);
    }
    origin.raw.clear();
    for (auto& rec : row.records) {
      if (rec.untimed)
        rec.event_time = options_.arrival;
      into.add(std::move(rec), origin);
    }
    return row.outcome == ingest_format::row_mapper::outcome::skipped;
  }

  file_source_options options_;
  std::unique_ptr<ingest_format::source_reader> reader_;
  ingest_format::row_mapper mapper_;
  ingest_format::slate_rows slates_{mapper_};
  std::optional<std::chrono::microseconds> max_ahead_;
  std::vector<ingest_format::mapped_row> complete_;
  std::vector<record> records_;
  std::vector<ingest_format::refused_row> refusals_;
  source_state state_;
};

} // namespace

expected<std::unique_ptr<batch_source>> open_file_source(const file_source_options& options,
                                                         const source_state& from) {
  auto file = options.rules->match(options.path, options.named);
  if (!file)
    return fail(ec::invalid_argument, "the mapping {} does not describe {}", options.rules->name(),
                options.path);
  ingest_format::source_position position;
  if (!from.position.empty()) {
    store::decoder in{from.position};
    position.rows = in.big();
    position.offset = in.big();
  }
  auto reader_options = options.rules->options(*file);
  reader_options.stop = options.stop;
  TROUPE_TRY(reader, ingest_format::open_reader(options.path, reader_options, position));
  TROUPE_TRY(mapper, options.rules->bind(*file, options.path, *reader));
  return std::unique_ptr<batch_source>{
      new file_source{options, std::move(reader), std::move(mapper), options.rules->max_ahead(*file), from}};
}

} // namespace troupe::ingest
