#include "services/ingest/log/event_log.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <algorithm>
#include <deque>
#include <future>
#include <random>
#include <utility>

namespace troupe::ingest {

/// One commit in the making. `after` becomes the log's state when it is written.
struct event_log::group {
  log_state after;
  store::write_batch batch;
  timestamp now = wall_now();
  std::vector<std::optional<std::uint32_t>>
      known;                 ///< What is known of ids: the records', then the refused rows'.
  std::size_t looked_at = 0; ///< Of these.
  std::map<std::string, source_state> sources;
  std::vector<std::vector<batch_buffer*>> parts; ///< By partition, in order.
  std::deque<batch_buffer> encoded_again;        ///< Parts that lost a record.
  std::vector<waiting> requests;
  std::vector<expected<append_result>> results;
  bool failed_read = false;
};

expected<std::unique_ptr<event_log>> event_log::open(const std::filesystem::path& folder, log_options opts) {
  store::options store_options;
  store_options.families = {"log", "dedup", "source", "quarantine", "meta", "keys", "rows"};
  store_options.large_values = {"log"};
  store_options.first_in_first_out = {"log"};
  store_options.point_lookups = {"dedup", "source"};
  store_options.layout = "event-log 2";
  store_options.older_layouts = {"event-log 1"}; // Blocks of rows alone.
  store_options.cache_bytes = opts.cache_bytes;
  store_options.write_buffer_bytes = opts.write_buffer_bytes;
  TROUPE_TRY(db, store::database::open(folder, store_options));
  std::unique_ptr<event_log> log{new event_log{std::move(db), opts}};
  TROUPE_CHECK(log->recover());
  TROUPE_TRY(ids, dedup_index::open(*log->db_, folder / "ids", opts.dedup));
  log->ids_ = std::move(ids);
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
  TROUPE_TRY(identity, db_->find(meta_family, identity_key));
  if (!identity) {
    std::random_device draw;
    identity = number_key(std::uint64_t{draw()} << 32 | draw() | 1);
    TROUPE_CHECK(db_->put(meta_family, identity_key, *identity, store::durability::synced));
  }
  identity_ = store::read_u64(*identity);
  TROUPE_CHECK(blocks_.recover(opts_.partitions));
  return segments_.recover(opts_.partitions);
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
  auto& to = *request;
  if (to.places.empty()) // On the caller's thread: the writer has enough to do.
    to.encode(opts_.partitions);
  auto now = wall_now();
  for (auto& part : to.parts)
    part.bytes.set_ingest_time(now);
  to.bytes = 1024 + 128 * to.size();
  for (auto& part : to.parts)
    to.bytes += part.bytes.text().size();
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
  done(fail(refused, "cannot append {} records to the event log: {}", to.size(),
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
  TROUPE_TRY(known, ids_->look_up(hashes));
  all.known = std::move(known);
  return {};
}

void event_log::refuse(group& all, const hash128& hash, std::optional<std::uint32_t> known,
                       const rejected_row& row, append_result& result) const {
  if (ids_->meet(hash, 0, known))
    return;
  quarantined_row kept;
  static_cast<rejected_row&>(kept) = row;
  kept.number = all.after.quarantine_next++;
  kept.at = all.now;
  row_quarantine::add(all.batch, kept);
  ++result.added.quarantined;
}

/// A row is replayed when all its records were taken, or were there already.
void event_log::mark_replayed(group& all, const append_request& request, const append_result& result) const {
  std::map<std::uint64_t, bool> good; // By number of the row.
  for (std::size_t i = 0; i < request.origins.size(); ++i)
    if (auto number = request.origins[i].quarantined; number > 0) {
      auto& so_far = good.try_emplace(number, true).first->second;
      so_far = so_far && result.rows[i].outcome != wire::Outcome::quarantined;
    }
  for (auto& [number, taken] : good)
    if (taken && !quarantine_.mark_replayed(all.batch, number))
      all.failed_read = true;
}

/// The position the request moves, which waits for this batch; nullptr where it moves none.
expected<source_state*> event_log::position_of(group& all, const append_request& request) const {
  if (request.source_key.empty())
    return nullptr;
  auto [at, fresh] = all.sources.try_emplace(request.source_key);
  if (fresh) {
    auto stored = positions_.find(request.source_key);
    if (!stored) {
      all.sources.erase(at);
      return unexpected{stored.error()};
    }
    at->second = stored->value_or(source_state{});
  }
  if (at->second.batches != request.batch)
    return fail(ec::conflict, "cannot take batch {} of {}: the log waits for batch {}", request.batch,
                request.source, at->second.batches);
  return &at->second;
}

void event_log::count(group& all, const wire::Record& rec, std::uint32_t partition,
                      append_result& result) const {
  if (auto kind = static_cast<record_kind>(rec.kind()); is_entity(kind)) {
    ++(kind == record_kind::user ? result.added.users : result.added.items);
    return;
  }
  ++result.added.events;
  auto& watermark = all.after.partitions[partition].watermark;
  auto at = rec.event_time();
  if (watermark != std::numeric_limits<std::int64_t>::min() &&
      at < watermark - opts_.allowed_lateness.count())
    ++result.added.late;
  watermark = std::max(watermark, at);
}

/// Whether the log holds a user or an item by the key that it had before kinds were part of it. Whose that
/// key was is clear then: it goes, for an event may have that id, and the caller adds the key of today. Where
/// the content differs the key may be an event's, and is let alone.
bool event_log::held_from_before(group& all, const wire::Record& from) const {
  if (!ids_->holds_old() || !is_entity(static_cast<record_kind>(from.kind())))
    return false;
  auto rec = to_record(from);
  auto hash = hash_of_before(rec);
  auto known = ids_->find_old(hash);
  if (!known)
    all.failed_read = true;
  if (!known || !*known || **known != dedup_index::content_of(content_hash_of_before(rec)))
    return false;
  ids_->remove_old(all.batch, hash);
  return true;
}

expected<append_result> event_log::take(group& all, append_request& request) const {
  append_result result;
  auto* before = all.known.data() + all.looked_at;
  all.looked_at += request.size() + request.refused.size();
  TROUPE_TRY(source, position_of(all, request));
  result.rows.resize(request.size());
  for (std::size_t i = 0; i < request.size(); ++i) {
    auto& rec = request[i];
    auto content = dedup_index::content_of(request.content_hashes[i]);
    auto known = ids_->meet(request.id_hashes[i], content, before[i]);
    if (!known && !held_from_before(all, rec)) {
      count(all, rec, request.parts[request.places[i].part].partition, result);
    } else if (!known || *known == content) {
      result.rows[i].outcome = wire::Outcome::duplicate;
      ++result.added.duplicates;
    } else {
      auto row =
          request.rejected(i, "duplicate_id", "id",
                           fmt::format("{} {} is in the log with other content",
                                       to_string(static_cast<record_kind>(rec.kind())), text_of(rec.id())));
      result.rows[i] = {wire::Outcome::quarantined, row.rule, row.reason};
      auto hash = hash_of(row); // A conflict is found only now: the look-up has not asked for it.
      auto held = ids_->look_up({&hash, 1});
      if (!held)
        all.failed_read = true;
      else
        refuse(all, hash, held->front(), row, result);
    }
  }
  add_parts(all, request, result);
  before += request.size();
  for (auto& row : request.refused)
    refuse(all, hash_of(row), *before++, row, result);
  mark_replayed(all, request, result);
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

void event_log::add_parts(group& all, append_request& request, const append_result& result) const {
  for (auto& part : request.parts) {
    std::vector<std::uint32_t> kept;
    for (auto row : part.rows)
      if (result.rows[row].outcome == wire::Outcome::added)
        kept.push_back(row);
    if (kept.empty())
      continue;
    auto whole = kept.size() == part.rows.size();
    all.parts[part.partition].push_back(
        whole ? &part.bytes : &all.encoded_again.emplace_back(request.encode_again(kept, part.partition)));
  }
}

void event_log::finish(group& all) const {
  for (std::uint32_t partition = 0; partition < opts_.partitions; ++partition) {
    auto& parts = all.parts[partition];
    auto& next = all.after.partitions[partition].next;
    for (auto first = parts.begin(); first != parts.end();) {
      // What came in small pieces is one block.
      std::vector<joined_part> some;
      std::size_t records = 0;
      for (; first != parts.end() && (some.empty() || records + (*first)->records() <= block_records);
           ++first) {
        some.push_back({*first});
        records += (*first)->records();
      }
      if (some.size() == 1) {
        auto& only = **(first - 1);
        only.set_base_offset(next);
        all.batch.put(rows_family, block_key(partition, next), only.text());
      } else {
        all.batch.put(rows_family, block_key(partition, next), join_batches(some, partition, next).text());
      }
      next += records;
    }
  }
  for (auto& [key, source] : all.sources)
    source_positions::put(all.batch, key, source);
  all.batch.put(meta_family, state_key, encode(all.after));
}

void event_log::commit(std::vector<waiting> requests) {
  group all;
  all.requests = std::move(requests);
  {
    std::lock_guard lock{state_mutex_};
    all.after = state_;
  }
  all.parts.resize(opts_.partitions);
  auto written = look_up(all);
  bool any = false;
  if (written) {
    for (auto& each : all.requests) {
      all.results.push_back(take(all, *each.request));
      any = any || all.results.back().has_value();
    }
    if (all.failed_read)
      written = fail(ec::io_failed, "cannot read the event log at {}", db_->path().string());
  }
  if (written && any) {
    finish(all);
    written = ids_->add_to(all.batch);
    if (written)
      written = db_->write(all.batch, store::durability::synced);
  }
  written&& any ? ids_->committed() : ids_->rolled_back();
  if (!written) {
    for (auto& each : all.requests)
      each.done(with_context(fmt::format("cannot append {} records to the event log", each.request->size()),
                             written.error()));
    return;
  }
  bool grown = std::ranges::any_of(all.parts, [](auto& parts) { return !parts.empty(); });
  std::vector<std::function<void()>> tell;
  {
    std::lock_guard lock{state_mutex_};
    state_ = std::move(all.after);
    if (grown)
      tell = listeners_;
  }
  for (std::size_t i = 0; i < all.requests.size(); ++i)
    all.requests[i].done(std::move(all.results[i]));
  for (auto& each : tell)
    each();
}

/// Where the partition ends, for a reader that goes on from `offset`.
expected<std::uint64_t> event_log::checked_end(std::uint32_t partition, std::uint64_t offset) const {
  if (partition >= opts_.partitions)
    return fail(ec::invalid_argument, "there is no partition {}: the log has {}", partition,
                opts_.partitions);
  auto end = next_offset(partition);
  if (offset > end)
    return fail(ec::conflict, "cannot fetch from offset {} of partition {}: the log ends at {}", offset,
                partition, end);
  return end;
}

expected<fetched> event_log::fetch(std::uint32_t partition, std::uint64_t offset,
                                   std::size_t max_bytes) const {
  TROUPE_TRY(end, checked_end(partition, offset));
  return blocks_.fetch(partition, offset, end, max_bytes);
}

expected<std::uint64_t>
event_log::each_block(std::uint32_t partition, std::uint64_t offset,
                      const std::function<expected<bool>(const column_block&)>& use) const {
  TROUPE_TRY(end, checked_end(partition, offset));
  if (offset < end)
    TROUPE_CHECK(blocks_.each_block(partition, offset, end, use));
  return end;
}

bool event_log::pack_due() const {
  for (std::uint32_t partition = 0; partition < opts_.partitions; ++partition)
    if (blocks_.pack_due(partition, next_offset(partition)))
      return true;
  return false;
}

expected<bool> event_log::pack(std::size_t most) {
  std::size_t records = 0;
  for (std::uint32_t partition = 0; partition < opts_.partitions; ++partition)
    while (blocks_.pack_due(partition, next_offset(partition))) {
      if (records >= most)
        return true;
      TROUPE_TRY(packed, blocks_.pack(partition, next_offset(partition)));
      if (packed == 0)
        break;
      records += packed;
    }
  return false;
}

expected<std::uint64_t> event_log::trim(timestamp older_than, const may_go_function& may_go) {
  auto sealed = segments_.ends();
  std::uint64_t records = 0;
  for (std::uint32_t partition = 0; partition < opts_.partitions; ++partition) {
    TROUPE_TRY(gone, blocks_.trim(partition, sealed[partition], older_than, may_go));
    records += gone;
  }
  if (records > 0)
    TROUPE_CHECK(blocks_.compact());
  return records;
}

log_state event_log::state() const {
  auto firsts = blocks_.firsts();
  auto sealed = segments_.ends(); // Before the state: the lake never ends behind the log.
  std::lock_guard lock{state_mutex_};
  auto now = state_;
  for (std::size_t i = 0; i < now.partitions.size(); ++i) {
    now.partitions[i].first = firsts[i];
    now.partitions[i].sealed = sealed[i];
  }
  return now;
}

std::uint64_t event_log::next_offset(std::uint32_t partition) const {
  std::lock_guard lock{state_mutex_};
  return state_.partitions.at(partition).next;
}

std::size_t event_log::queued_bytes() const {
  std::lock_guard lock{queue_mutex_};
  return queued_bytes_;
}

void event_log::on_append(std::function<void()> tell) {
  std::lock_guard lock{state_mutex_};
  listeners_.push_back(std::move(tell));
}

} // namespace troupe::ingest
