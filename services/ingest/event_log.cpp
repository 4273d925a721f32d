#include "services/ingest/event_log.hpp"

#include "services/ingest/log_layout.hpp"

#include <algorithm>
#include <future>
#include <unordered_map>

namespace troupe::ingest {

namespace {

constexpr std::size_t block_records = 2048;

struct hash_of_hash {
  std::size_t operator()(const hash128& hash) const noexcept { return hash.low; }
};

/// Whether `source` is the one asked for: by its whole name, or by the end of its path.
bool is_of(std::string_view source, std::string_view wanted) {
  return wanted.empty() || source == wanted ||
         (source.ends_with(wanted) && source[source.size() - wanted.size() - 1] == '/');
}

} // namespace

/// One commit in the making. `after` becomes the log's state when it is written.
struct event_log::group {
  log_state after;
  store::write_batch batch;
  timestamp now = wall_now();
  std::unordered_map<hash128, std::uint64_t, hash_of_hash>
      known; ///< Ids met by this group: in the store, or taken by it.
  std::map<std::string, source_state> sources;
  std::vector<std::vector<const record*>> blocks; ///< By partition.
  std::vector<waiting> requests;
  std::vector<expected<append_result>> results;
  bool failed_read = false;
};

expected<std::unique_ptr<event_log>> event_log::open(const std::filesystem::path& folder, log_options opts) {
  store::options how;
  how.families = {"log", "dedup", "source", "quarantine", "meta"};
  how.large_values = {"log"};
  how.layout = "event-log 1";
  how.cache_bytes = opts.cache_bytes;
  how.write_buffer_bytes = opts.write_buffer_bytes;
  TROUPE_TRY(db, store::database::open(folder, how));
  std::unique_ptr<event_log> log{new event_log{std::move(db), opts}};
  TROUPE_CHECK(log->recover());
  log->writer_ = std::thread{[self = log.get()] { self->run(); }};
  return log;
}

expected<void> event_log::recover() {
  TROUPE_TRY(stored, db_->find(meta_family, state_key));
  if (stored) {
    state_ = decode_state(*stored);
    if (state_.partitions.size() != opts_.partitions)
      return fail(ec::conflict,
                  "cannot open the event log at {}: it has {} partitions, the configuration says {}; the "
                  "number is fixed when a log is made",
                  db_->path().string(), state_.partitions.size(), opts_.partitions);
  } else {
    state_.partitions.resize(opts_.partitions);
    TROUPE_CHECK(db_->put(meta_family, state_key, encode(state_), store::durability::synced));
  }
  TROUPE_TRY(sealed, segments());
  for (auto& each : sealed)
    if (each.partition < state_.partitions.size())
      state_.partitions[each.partition].sealed =
          std::max(state_.partitions[each.partition].sealed, each.next);
  return {};
}

event_log::~event_log() {
  {
    std::lock_guard lock{queue_mutex_};
    stop_ = true;
  }
  wake_.notify_all();
  if (writer_.joinable())
    writer_.join();
}

void event_log::append(request_ptr request, done_function done) {
  // Hashing is done here, on the caller's thread: the writer has enough to do.
  auto& to = *request;
  auto now = wall_now();
  to.id_hashes.resize(to.records.size());
  to.content_hashes.resize(to.records.size());
  to.bytes = 1024;
  for (std::size_t i = 0; i < to.records.size(); ++i) {
    auto& rec = to.records[i];
    rec.ingest_time = now;
    to.id_hashes[i] = hash_wide(std::string_view{rec.id});
    to.content_hashes[i] = content_hash(rec);
    to.bytes += 128 + rec.id.size() + rec.user.size() + rec.item.size() + 64 * rec.attributes.size();
  }
  for (auto& row : to.refused)
    to.bytes += 256 + row.raw.size();
  auto refused = ec::overloaded;
  {
    std::lock_guard lock{queue_mutex_};
    if (stop_)
      refused = ec::stopping;
    else if (queued_bytes_ == 0 || queued_bytes_ + to.bytes <= opts_.queue_bytes) {
      queued_bytes_ += to.bytes;
      queue_.push_back({std::move(request), std::move(done)});
      wake_.notify_one();
      return;
    }
  }
  done(fail(refused, "cannot append {} records to the event log: {}", to.records.size(),
            refused == ec::stopping ? "it is closing" : "too much waits already"));
}

expected<append_result> event_log::append(append_request request) {
  std::promise<expected<append_result>> promise;
  auto future = promise.get_future();
  append(std::make_shared<append_request>(std::move(request)),
         [&](expected<append_result> result) { promise.set_value(std::move(result)); });
  return future.get();
}

void event_log::run() {
  for (;;) {
    std::vector<waiting> group;
    {
      std::unique_lock lock{queue_mutex_};
      wake_.wait(lock, [&] { return stop_ || !queue_.empty(); });
      if (queue_.empty())
        return;
      std::size_t bytes = 0;
      while (!queue_.empty() &&
             (group.empty() || bytes + queue_.front().request->bytes <= opts_.group_bytes)) {
        bytes += queue_.front().request->bytes;
        group.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    std::size_t bytes = 0;
    for (auto& each : group)
      bytes += each.request->bytes;
    commit(std::move(group));
    std::lock_guard lock{queue_mutex_};
    queued_bytes_ -= bytes;
  }
}

expected<void> event_log::look_up(group& all) const {
  std::vector<hash128> hashes;
  for (auto& each : all.requests) {
    hashes.insert(hashes.end(), each.request->id_hashes.begin(), each.request->id_hashes.end());
    for (auto& row : each.request->refused)
      hashes.push_back(hash_of(row));
  }
  std::vector<dedup_key> keys;
  std::vector<std::string_view> views;
  keys.reserve(hashes.size());
  views.reserve(hashes.size());
  for (auto& hash : hashes)
    views.push_back(view(keys.emplace_back(key_of(hash))));
  return db_->visit_many(dedup_family, views, [&](std::size_t index, std::string_view value) {
    all.known.emplace(hashes[index], store::read_u64(value));
  });
}

void event_log::refuse(group& all, const rejected_row& row, append_result& result) const {
  auto hash = hash_of(row);
  auto known = all.known.contains(hash);
  if (!known) { // A conflict is found only now: the look-up has not asked for it.
    auto stored = db_->find(dedup_family, view(key_of(hash)));
    if (!stored)
      all.failed_read = true;
    known = stored && *stored;
  }
  if (known)
    return;
  all.known.emplace(hash, 0);
  all.batch.put(dedup_family, view(key_of(hash)), number_key(0));
  quarantined_row kept;
  static_cast<rejected_row&>(kept) = row;
  kept.number = all.after.quarantine_next++;
  kept.at = all.now;
  all.batch.put(quarantine_family, number_key(kept.number), encode(kept));
  ++result.added.quarantined;
}

void event_log::mark_replayed(group& all, const append_request& request) const {
  for (auto number : request.replayed) {
    auto stored = db_->find(quarantine_family, number_key(number));
    if (!stored)
      all.failed_read = true;
    if (!stored || !*stored)
      continue;
    auto row = decode_row(**stored);
    row.replayed = true;
    all.batch.put(quarantine_family, number_key(number), encode(row));
  }
}

expected<append_result> event_log::take(group& all, const append_request& request) const {
  append_result result;
  source_state* source = nullptr;
  if (!request.source_key.empty()) {
    auto [at, fresh] = all.sources.try_emplace(request.source_key);
    if (fresh) {
      auto stored = db_->find(source_family, request.source_key);
      if (!stored) {
        all.sources.erase(at);
        return unexpected{stored.error()};
      }
      if (*stored)
        at->second = decode_source(**stored);
    }
    source = &at->second;
    if (source->batches != request.batch)
      return fail(ec::conflict, "cannot take batch {} of {}: the log waits for batch {}", request.batch,
                  request.source, source->batches);
  }
  result.rows.resize(request.records.size());
  for (std::size_t i = 0; i < request.records.size(); ++i) {
    auto& rec = request.records[i];
    auto [known, fresh] = all.known.try_emplace(request.id_hashes[i], request.content_hashes[i]);
    if (!fresh && known->second == request.content_hashes[i]) {
      result.rows[i].outcome = wire::Outcome::duplicate;
      ++result.added.duplicates;
      continue;
    }
    if (!fresh) {
      rejected_row row{request.source,
                       request.import,
                       i + 1,
                       0,
                       "duplicate_id",
                       "id",
                       fmt::format("id {} is in the log with other content", rec.id),
                       {}};
      if (i < request.origins.size()) {
        row.row = request.origins[i].row;
        row.byte_offset = request.origins[i].byte_offset;
        row.raw = request.origins[i].raw;
      }
      if (row.raw.empty())
        row.raw = to_json(rec);
      result.rows[i] = {wire::Outcome::quarantined, row.rule, row.reason};
      refuse(all, row, result);
      continue;
    }
    auto partition = partition_of(rec.partition_key(), opts_.partitions);
    auto& part = all.after.partitions[partition];
    if (rec.kind == record_kind::event) {
      ++result.added.events;
      auto at = micros_of(rec.event_time);
      if (part.watermark != std::numeric_limits<std::int64_t>::min() &&
          at < part.watermark - opts_.allowed_lateness.count())
        ++result.added.late;
      part.watermark = std::max(part.watermark, at);
    } else {
      ++(rec.kind == record_kind::user ? result.added.users : result.added.items);
    }
    all.blocks[partition].push_back(&rec);
    all.batch.put(dedup_family, view(key_of(request.id_hashes[i])), number_key(request.content_hashes[i]));
  }
  for (auto& row : request.refused)
    refuse(all, row, result);
  if (std::ranges::none_of(result.rows, [](auto& row) { return row.outcome == wire::Outcome::quarantined; }))
    mark_replayed(all, request);
  result.added.skipped = request.progress.added.skipped;
  if (source) {
    source->position = request.progress.position;
    source->rows = request.progress.rows;
    source->bytes = request.progress.bytes;
    source->records = request.progress.records;
    source->done = request.progress.done;
    ++source->batches;
    source->added += result.added;
    result.progress = *source;
  }
  all.after.total += result.added;
  return result;
}

void event_log::finish(group& all) const {
  for (std::uint32_t partition = 0; partition < opts_.partitions; ++partition) {
    std::span<const record* const> records{all.blocks[partition]};
    auto& next = all.after.partitions[partition].next;
    while (!records.empty()) {
      auto part = records.first(std::min(records.size(), block_records));
      auto block = encode_batch(part, partition, next);
      all.batch.put(log_family, block_key(partition, next), block.text());
      next += part.size();
      records = records.subspan(part.size());
    }
  }
  for (auto& [key, source] : all.sources)
    all.batch.put(source_family, key, encode(source));
  all.batch.put(meta_family, state_key, encode(all.after));
}

void event_log::commit(std::vector<waiting> requests) {
  group all;
  all.requests = std::move(requests);
  {
    std::lock_guard lock{state_mutex_};
    all.after = state_;
  }
  all.blocks.resize(opts_.partitions);
  auto written = look_up(all);
  bool any = false;
  if (written) {
    for (auto& each : all.requests) {
      all.results.push_back(take(all, *each.request));
      any = any || all.results.back().has_value();
    }
    if (all.failed_read)
      written =
          fail(ec::io_failed, "cannot read the quarantine of the event log at {}", db_->path().string());
  }
  if (written && any) {
    finish(all);
    written = db_->write(all.batch, store::durability::synced);
  }
  if (!written) {
    for (auto& each : all.requests)
      each.done(
          fail_while(fmt::format("cannot append {} records to the event log", each.request->records.size()),
                     written.error()));
    return;
  }
  bool grown = std::ranges::any_of(all.blocks, [](auto& block) { return !block.empty(); });
  std::vector<std::function<void()>> tell;
  {
    std::lock_guard lock{state_mutex_};
    for (std::size_t i = 0; i < state_.partitions.size(); ++i)
      all.after.partitions[i].sealed = state_.partitions[i].sealed;
    state_ = std::move(all.after);
    if (grown)
      tell = listeners_;
  }
  for (std::size_t i = 0; i < all.requests.size(); ++i)
    all.requests[i].done(std::move(all.results[i]));
  for (auto& each : tell)
    each();
}

expected<fetched> event_log::fetch(std::uint32_t partition, std::uint64_t offset,
                                   std::size_t max_bytes) const {
  if (partition >= opts_.partitions)
    return fail(ec::invalid_argument, "there is no partition {}: the log has {}", partition,
                opts_.partitions);
  fetched result;
  result.next_offset = next_offset(partition);
  if (offset > result.next_offset)
    return fail(ec::conflict, "cannot fetch from offset {} of partition {}: the log ends at {}", offset,
                partition, result.next_offset);
  if (offset == result.next_offset)
    return result;
  auto at =
      db_->scan(log_family, block_key(partition, 0), block_key(partition + 1, 0), {.fill_cache = false});
  at.seek_at_or_before(block_key(partition, offset));
  std::size_t bytes = 0;
  for (; at.valid() && store::read_u64(at.key(), 4) < result.next_offset; at.next()) {
    auto block = at.value();
    if (!result.batches.empty() && bytes + block.size() > max_bytes)
      break;
    bytes += block.size();
    result.batches.push_back(chunk::own(std::string{block}));
  }
  TROUPE_CHECK(at.check());
  return result;
}

log_state event_log::state() const {
  std::lock_guard lock{state_mutex_};
  return state_;
}

std::uint64_t event_log::next_offset(std::uint32_t partition) const {
  std::lock_guard lock{state_mutex_};
  return state_.partitions.at(partition).next;
}

std::size_t event_log::queued_bytes() const {
  std::lock_guard lock{queue_mutex_};
  return queued_bytes_;
}

expected<std::optional<source_state>> event_log::source(std::string_view key) const {
  TROUPE_TRY(stored, db_->find(source_family, key));
  if (!stored)
    return std::optional<source_state>{};
  return std::optional{decode_source(*stored)};
}

expected<std::vector<std::pair<std::string, source_state>>>
event_log::sources(std::string_view prefix) const {
  std::vector<std::pair<std::string, source_state>> found;
  auto at = db_->scan(source_family, prefix, store::prefix_end(prefix));
  for (; at.valid(); at.next())
    found.emplace_back(std::string{at.key()}, decode_source(at.value()));
  TROUPE_CHECK(at.check());
  return found;
}

expected<void> event_log::forget_sources(std::string_view prefix) {
  store::write_batch batch;
  batch.erase_range(source_family, prefix, store::prefix_end(prefix));
  return db_->write(batch, store::durability::synced);
}

expected<std::vector<quarantined_row>> event_log::quarantined(const quarantine_query& query) const {
  std::vector<quarantined_row> found;
  auto at = db_->scan(quarantine_family, number_key(query.after + 1), {}, {.fill_cache = false});
  for (; at.valid() && found.size() < query.limit; at.next()) {
    auto row = decode_row(at.value());
    if ((query.rule.empty() || row.rule == query.rule) && is_of(row.source, query.source) &&
        !(query.open_only && row.replayed))
      found.push_back(std::move(row));
  }
  TROUPE_CHECK(at.check());
  return found;
}

expected<std::vector<lake_segment>> event_log::segments() const {
  std::vector<lake_segment> found;
  auto at = db_->scan(meta_family, "segment/", store::prefix_end("segment/"));
  for (; at.valid(); at.next())
    found.push_back(decode_segment(at.value()));
  TROUPE_CHECK(at.check());
  return found;
}

expected<void> event_log::add_segment(const lake_segment& segment) {
  std::lock_guard lock{state_mutex_};
  auto& part = state_.partitions.at(segment.partition);
  if (segment.first != part.sealed || segment.next <= segment.first || segment.next > part.next)
    return fail(ec::conflict, "cannot add segment {}-{} of partition {}: the lake ends at {}, the log at {}",
                segment.first, segment.next, segment.partition, part.sealed, part.next);
  TROUPE_CHECK(db_->put(meta_family, segment_key(segment.partition, segment.first), encode(segment),
                        store::durability::synced));
  part.sealed = segment.next;
  return {};
}

expected<void> event_log::keep(std::string_view key, std::string_view value) {
  return db_->put(meta_family, fmt::format("kept/{}", key), value, store::durability::synced);
}

expected<std::vector<std::pair<std::string, std::string>>> event_log::kept(std::string_view prefix) const {
  std::vector<std::pair<std::string, std::string>> found;
  auto from = fmt::format("kept/{}", prefix);
  auto at = db_->scan(meta_family, from, store::prefix_end(from));
  for (; at.valid(); at.next())
    found.emplace_back(std::string{at.key().substr(5)}, std::string{at.value()});
  TROUPE_CHECK(at.check());
  return found;
}

void event_log::on_append(std::function<void()> tell) {
  std::lock_guard lock{state_mutex_};
  listeners_.push_back(std::move(tell));
}

} // namespace troupe::ingest
