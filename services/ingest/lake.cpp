#include "services/ingest/lake.hpp"

#include "services/ingest/log/event_log.hpp"

#include "common/ingest_format/shown_column.hpp"
#include "common/table/parquet.hpp"

#include <optional>

namespace troupe::ingest {

namespace {

using table::cell;

/// Records of a trim, some twenty seconds' work: a seal or a replay need not wait for longer.
constexpr std::uint64_t verified_at_once = 4'000'000;

std::vector<table::column_spec> columns() {
  std::vector<table::column_spec> all{{"partition", cell::int32},
                                      {"offset", cell::int64},
                                      {"kind", cell::text},
                                      {"id", cell::text},
                                      {"type", cell::text},
                                      {"user", cell::text},
                                      {"item", cell::text},
                                      {"event_time", cell::timestamp},
                                      {"ingest_time", cell::timestamp},
                                      {"value", cell::float64},
                                      {"request_id", cell::text},
                                      {"attributes", cell::text},
                                      {"untimed", cell::boolean}};
  ingest_format::append_shown_columns(all);
  return all;
}

void add_optional(table::row_writer& out, std::string_view text) {
  if (text.empty())
    out.add_null();
  else
    out.add(text);
}

/// Calls `use(offset, record)` for each record of [first, next).
template <class Use>
expected<void> each_record(const fetch_function& fetch, std::uint32_t partition, std::uint64_t first,
                           std::uint64_t next, Use use) {
  for (auto offset = first; offset < next;) {
    TROUPE_TRY(page, fetch(partition, offset));
    if (page.batches.empty())
      return fail(ec::corrupt, "partition {} of the log ends at offset {}, {} was expected", partition,
                  offset, next);
    TROUPE_CHECK(ingest::each_record(page, partition, offset, next,
                                     [&](auto& each) { return use(offset, to_record(each)); }));
  }
  return {};
}

} // namespace

lake::lake(std::shared_ptr<event_log> log, std::filesystem::path folder, std::uint64_t segment_records)
    : log_{std::move(log)}, folder_{std::move(folder)}, segment_records_{segment_records} {}

bool lake::due() const {
  for (auto& each : log_->state().partitions)
    if (each.next - each.sealed >= segment_records_)
      return true;
  return false;
}

expected<void> lake::seal(bool all) {
  std::lock_guard lock{mutex_};
  auto state = log_->state();
  for (std::uint32_t partition = 0; partition < state.partitions.size(); ++partition) {
    auto first = state.partitions[partition].sealed;
    auto end = state.partitions[partition].next;
    while (end - first >= segment_records_ || (all && end > first)) {
      auto next = std::min(end, first + segment_records_);
      TROUPE_CHECK(write(partition, first, next));
      first = next;
    }
  }
  return {};
}

/// Whether the lake has records [first, next), on whose files the log may rely. False: not looked at yet.
expected<bool> lake::holds(std::uint32_t partition, std::uint64_t first, std::uint64_t next,
                           std::uint64_t& compared) {
  while (first < next) {
    TROUPE_TRY(segment, log_->segments().find(partition, first));
    auto file = folder_ / segment.path;
    auto stay = [&](ec code, std::string_view why) {
      return fail(
          code,
          "records {} to {} of partition {} stay in the log, and all after them: {} of the lake {}; put "
          "the file back as it was, or set `lake` to the folder that has it",
          first, segment.next, partition, file.string(), why);
    };
    std::error_code problem;
    auto bytes = std::filesystem::file_size(file, problem);
    if (problem)
      return stay(errno_code(problem.value()), fmt::format("cannot be read ({})", problem.message()));
    if (bytes != segment.bytes)
      return stay(ec::corrupt, fmt::format("has {} bytes, {} were written", bytes, segment.bytes));
    if (segment.next > verified_[partition]) {
      if (compared >= verified_at_once)
        return false;
      auto equal = verify_segment(file, segment, [this](std::uint32_t from, std::uint64_t offset) {
        return log_->fetch(from, offset, std::size_t{4} << 20);
      });
      if (!equal)
        return stay(equal.error().code, "is not what was written: " + equal.error().text);
      compared += segment.next - segment.first;
      verified_[partition] = segment.next;
    }
    first = segment.next;
  }
  return true;
}

expected<std::uint64_t> lake::trim(timestamp older_than) {
  std::lock_guard lock{mutex_};
  verified_.resize(log_->partitions());
  std::uint64_t compared = 0;
  std::optional<error> wrong;
  auto gone = log_->trim(older_than, [&](std::uint32_t partition, std::uint64_t first, std::uint64_t next) {
    auto held = holds(partition, first, next, compared);
    if (!held && !wrong)
      wrong = held.error();
    return held && *held;
  });
  if (gone && wrong)
    return unexpected{*wrong};
  return gone;
}

expected<fetched> lake::fetch(std::uint32_t partition, std::uint64_t offset, std::size_t max_bytes) {
  auto found = log_->fetch(partition, offset, max_bytes);
  if (found || found.error().code != ec::not_found)
    return found;
  TROUPE_TRY(segment, log_->segments().find(partition, offset));
  TROUPE_TRY(from, reader_.read(segment));
  fetched page;
  page.next_offset = log_->next_offset(partition);
  std::size_t bytes = 0;
  for (auto& stored : from->blocks) {
    TROUPE_TRY(block, column_block::open(stored));
    auto end = block.base_offset() + block.size();
    if (end <= offset)
      continue;
    if (bytes >= max_bytes && !page.batches.empty())
      break;
    TROUPE_TRY(rows, block.rows(offset, max_bytes - std::min(bytes, max_bytes)));
    bytes += rows.size();
    offset += batch::trusted(rows).size();
    page.batches.push_back(std::move(rows));
    if (offset < end)
      break;
  }
  return page;
}

bool lake::reads_files(std::uint32_t partition, std::uint64_t offset) const {
  auto partitions = log_->state().partitions;
  return partition < partitions.size() && offset < partitions[partition].first;
}

expected<std::uint64_t> lake::each_block(std::uint32_t partition, std::uint64_t offset,
                                         const std::function<expected<bool>(const column_block&)>& use) {
  for (;;) {
    auto end = log_->each_block(partition, offset, use);
    if (end || end.error().code != ec::not_found)
      return end;
    TROUPE_TRY(segment, log_->segments().find(partition, offset));
    TROUPE_TRY(from, reader_.read(segment));
    for (auto& stored : from->blocks) {
      TROUPE_TRY(block, column_block::open(stored));
      if (block.base_offset() + block.size() <= offset)
        continue;
      TROUPE_TRY(more, use(block));
      if (!more)
        return log_->next_offset(partition);
    }
    offset = segment.next;
  }
}

expected<void> lake::write(std::uint32_t partition, std::uint64_t first, std::uint64_t next) {
  auto relative = fmt::format("partition={}/{:020}-{:020}.parquet", partition, first, next);
  auto path = folder_ / relative;
  std::error_code problem;
  std::filesystem::create_directories(path.parent_path(), problem);
  if (problem)
    return fail(errno_code(problem.value()), "cannot create {}: {}", path.parent_path().string(),
                problem.message());
  // What an interrupted seal has left: files that begin where the lake ends.
  auto stale = fmt::format("{:020}-", first);
  for (auto& entry : std::filesystem::directory_iterator{path.parent_path(), problem})
    if (entry.path().filename().string().starts_with(stale))
      std::filesystem::remove(entry.path(), problem);
  TROUPE_TRY(file,
             table::parquet_writer::open(path, columns(), {.select = ingest_format::select_with_shown()}));
  auto fetch = [this](std::uint32_t from, std::uint64_t offset) {
    return log_->fetch(from, offset, std::size_t{4} << 20);
  };
  TROUPE_CHECK(each_record(fetch, partition, first, next, [&](std::uint64_t offset, const record& rec) {
    auto& out = *file;
    out.add(std::int64_t{partition})
        .add(static_cast<std::int64_t>(offset))
        .add(to_string(rec.kind))
        .add(rec.id);
    add_optional(out, rec.type);
    add_optional(out, rec.user);
    add_optional(out, rec.item);
    out.add(rec.event_time).add(rec.ingest_time);
    if (rec.value)
      out.add(*rec.value);
    else
      out.add_null();
    add_optional(out, rec.request_id);
    add_optional(out, rec.attributes.empty() ? std::string{} : attributes_json(rec.attributes));
    out.add(rec.untimed);
    ingest_format::add_shown(out, rec.shown);
    return out.end_row();
  }));
  TROUPE_TRY(bytes, file->finish());
  return log_->segments().add({partition, first, next, relative, bytes}, log_->next_offset(partition));
}

expected<void> verify_segment(const std::filesystem::path& file, const lake_segment& segment,
                              const fetch_function& fetch) {
  if (auto there = fetch(segment.partition, segment.first); !there && there.error().code == ec::not_found)
    return each_record(file, segment, [](const record&) -> expected<void> { return {}; });
  std::vector<record> page; // Of the log; it ends before `offset`.
  std::size_t looked_at = 0;
  auto offset = segment.first;
  return each_record(file, segment, [&](const record& rec) -> expected<void> {
    if (looked_at == page.size()) {
      TROUPE_TRY(found, fetch(segment.partition, offset));
      page.clear();
      looked_at = 0;
      TROUPE_CHECK(ingest::each_record(found, segment.partition, offset, segment.next,
                                       [&](auto& each) -> expected<void> {
                                         page.push_back(to_record(each));
                                         return {};
                                       }));
      if (page.empty())
        return fail(ec::corrupt, "partition {} of the log ends at offset {}, {} was expected",
                    segment.partition, offset, segment.next);
    }
    auto& held = page[looked_at++];
    if (rec != held)
      return fail(ec::corrupt, "{} differs from the log at offset {} of partition {} (record {})",
                  file.string(), offset - page.size() + looked_at - 1, segment.partition, held.id);
    return {};
  });
}

} // namespace troupe::ingest
