#include "services/trainer/snapshot.hpp"

#include "common/core/file_hash.hpp"
#include "common/event/slate.hpp"
#include "common/table/connection.hpp"
#include "common/table/parquet.hpp"

#include <boost/json/array.hpp>

#include <algorithm>
#include <numeric>

namespace troupe::trainer {

namespace {

constexpr std::uint32_t read_bytes = 4 << 20;
constexpr auto make_table =
    "CREATE TABLE interactions (\"user\" VARCHAR, item VARCHAR, event_time TIMESTAMP, "
    "value DOUBLE, part BIGINT, \"offset\" BIGINT, place BIGINT)";
constexpr auto in_order = "SELECT \"user\", item, epoch_us(event_time), value FROM interactions "
                          "ORDER BY event_time, part, \"offset\", place";

bool is_one_of(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool wanted(const wire::Record& rec, const snapshot_options& options) {
  if (is_entity(static_cast<record_kind>(rec.kind())))
    return false;
  auto type = troupe::text_of(rec.type());
  if (options.event_types.empty() ? type == impression_type : !is_one_of(options.event_types, type))
    return false;
  return options.exclude_arms.empty() ||
         !is_one_of(options.exclude_arms, text_attribute(rec, shown_attribute::arm));
}

bool can_be_named(std::string_view identity) {
  return !identity.empty() && !holds_control(identity);
}

/// Where in the log an interaction stands.
struct log_place {
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;
  std::uint32_t in_slate = 0;
};

/// An event, or one item that a slate shows; counts it where no vocabulary can name it.
expected<void> add_row(table::appender& into, const wire::Record& rec, std::string_view item,
                       const log_place& at, std::uint64_t& dropped) {
  auto user = troupe::text_of(rec.user());
  if (!can_be_named(user) || !can_be_named(item)) {
    ++dropped;
    return {};
  }
  into.add(user).add(item).add(from_micros(rec.event_time()));
  if (auto value = rec.value())
    into.add(*value);
  else
    into.add_null();
  into.add(std::int64_t{at.partition})
      .add(static_cast<std::int64_t>(at.offset))
      .add(std::int64_t{at.in_slate});
  return into.end_row();
}

/// Gives how many wanted events were dropped.
expected<std::uint64_t> copy_log(ingest::record_stream& log, const std::vector<std::uint64_t>& ends,
                                 table::appender& into, const snapshot_options& options) {
  std::uint64_t done = 0, dropped = 0;
  auto total = std::accumulate(ends.begin(), ends.end(), std::uint64_t{0});
  for (std::uint32_t p = 0; p < ends.size(); ++p)
    for (std::uint64_t at = 0; at < ends[p];) {
      TROUPE_TRY(batches, log.read(p, at, read_bytes));
      auto before = at;
      for (auto& each : batches)
        for (std::size_t i = at > each.base_offset() ? at - each.base_offset() : 0;
             i < each.size() && at < ends[p]; ++i, ++at) {
          auto& rec = each[i];
          if (!wanted(rec, options))
            continue;
          if (rec.kind() == wire::RecordKind::event) {
            TROUPE_CHECK(add_row(into, rec, troupe::text_of(rec.item()), {p, at, 0}, dropped));
            continue;
          }
          std::uint32_t place = 0;
          if (rec.shown())
            for (auto* one : *rec.shown())
              TROUPE_CHECK(add_row(into, rec, troupe::text_of(one->item()), {p, at, place++}, dropped));
        }
      if (at == before)
        return fail(ec::corrupt, "partition {} of the log has no record at offset {}", p, at);
      done += at - before;
      if (options.report && !options.report(done, total))
        return fail(ec::canceled, "the snapshot was stopped");
    }
  return dropped;
}

} // namespace

expected<boost::json::object> take_snapshot(ingest::record_stream& log, const std::filesystem::path& file,
                                            const snapshot_options& options) {
  TROUPE_TRY(now, log.ends());
  auto ends = options.offsets.empty() ? now : options.offsets;
  for (std::size_t p = 0; p < ends.size(); ++p)
    if (p >= now.size() || ends[p] > now[p])
      return fail(ec::not_found, "the log has no record {} in partition {}", ends[p], p);
  auto work = file;
  work += ".work";
  std::error_code problem;
  std::filesystem::remove_all(work, problem);
  std::filesystem::create_directories(work, problem);
  std::uint64_t rows = 0, dropped_events = 0;
  {
    TROUPE_TRY(db, table::connection::open({.file = work / "rows.duckdb",
                                            .memory_limit_bytes = options.memory_bytes,
                                            .threads = 1,
                                            .temp_directory = work / "spill",
                                            .read_only = false}));
    TROUPE_CHECK(db.run(make_table));
    {
      TROUPE_TRY(into, db.append_to("interactions"));
      TROUPE_TRY(dropped, copy_log(log, ends, into, options));
      dropped_events = dropped;
      TROUPE_CHECK(into.flush());
    }
    using table::cell;
    TROUPE_TRY(out, table::parquet_writer::open(file, {{"user", cell::text},
                                                       {"item", cell::text},
                                                       {"event_time", cell::int64},
                                                       {"value", cell::float64}}));
    TROUPE_TRY(sorted, db.query(in_order));
    for (;;) {
      TROUPE_TRY(more, sorted.next());
      if (!more)
        break;
      for (std::uint64_t i = 0; i < sorted.rows(); ++i) {
        out->add(sorted.column(0).text(i)).add(sorted.column(1).text(i)).add(sorted.column(2).integer(i));
        if (sorted.column(3).is_null(i))
          out->add_null();
        else
          out->add(sorted.column(3).number(i));
        TROUPE_CHECK(out->end_row());
      }
    }
    rows = out->rows_added();
    TROUPE_CHECK(out->finish());
  }
  std::filesystem::remove_all(work, problem);
  if (rows == 0)
    return fail(ec::invalid_argument, "the log holds no interactions to train on");
  TROUPE_TRY(hash, hash_file(file));
  boost::json::array offsets;
  for (auto each : ends)
    offsets.emplace_back(each);
  boost::json::object known;
  known["source"] = "log";
  known["sha256"] = hash.sha256;
  known["bytes"] = hash.bytes;
  known["rows"] = rows;
  known["dropped_events"] = dropped_events;
  known["offsets"] = std::move(offsets);
  return known;
}

} // namespace troupe::trainer
