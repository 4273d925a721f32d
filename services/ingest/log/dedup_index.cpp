#include "services/ingest/log/dedup_index.hpp"

#include "services/ingest/log/log_layout.hpp"

#include "common/core/make_folder.hpp"
#include "common/log/log.hpp"
#include "common/store/codec.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace troupe::ingest {

namespace {

constexpr std::size_t fan_in = 8; // Runs of like size that become one.
constexpr std::size_t ahead = 12; // Look-ups whose cache lines are on their way.

std::uint64_t id_of(const hash128& hash) noexcept {
  return hash.high == 0 ? 1 : hash.high;
}

} // namespace

expected<std::unique_ptr<dedup_index>>
dedup_index::open(store::database& db, const std::filesystem::path& folder, dedup_options options) {
  std::unique_ptr<dedup_index> made{new dedup_index{db, folder, options}};
  TROUPE_CHECK(made->recover());
  return made;
}

dedup_index::~dedup_index() {
  for (auto* job : {&freezing_, &merging_})
    if (*job)
      (*job)->result.wait();
}

std::filesystem::path dedup_index::path_of(std::uint64_t number) const {
  return folder_ / fmt::format("{}.ids", number);
}

std::string dedup_index::encoded() const {
  store::encoder out;
  out.big(first_row_).big(next_run_).big(std::uint64_t{old_until_ && !old_has_expired()});
  out.big(static_cast<std::uint64_t>(old_until_.value_or(0))).big(std::uint64_t{runs_.size()});
  for (auto& each : runs_)
    out.big(each.number)
        .big(static_cast<std::uint64_t>(each.oldest))
        .big(static_cast<std::uint64_t>(each.newest));
  return out.take();
}

expected<void> dedup_index::recover() {
  TROUPE_CHECK(make_own_folder(folder_));
  TROUPE_TRY(stored, db_.find(meta_family, dedup_state_key));
  if (stored) {
    store::decoder in{*stored};
    first_row_ = in.big();
    next_run_ = in.big();
    bool old = in.big() != 0;
    auto until = static_cast<std::int64_t>(in.big());
    if (old)
      old_until_ = until;
    for (auto left = in.big(); left > 0 && in.ok(); --left) {
      held_run each;
      each.number = in.big();
      each.oldest = static_cast<std::int64_t>(in.big());
      each.newest = static_cast<std::int64_t>(in.big());
      if (!in.ok())
        break;
      TROUPE_TRY(run, dedup_run::open(path_of(each.number)));
      each.run = std::move(run);
      runs_.push_back(std::move(each));
    }
    if (!in.ok())
      return fail(ec::corrupt, "what the event log at {} says of the ids it knows is damaged",
                  db_.path().string());
  } else {
    auto old = db_.scan(dedup_family);
    if (old.valid())
      old_until_ = micros_of(wall_now() + options_.keep_for);
    TROUPE_CHECK(old.check());
    TROUPE_CHECK(db_.put(meta_family, dedup_state_key, encoded(), store::durability::synced));
  }
  active_.end = first_row_;
  auto rows = db_.scan(keys_family, number_key(first_row_), {}, {.fill_cache = false});
  for (; rows.valid(); rows.next()) {
    store::decoder in{rows.value()};
    auto came = static_cast<std::int64_t>(in.fixed());
    active_.oldest = active_.table.size() == 0 ? came : std::min(active_.oldest, came);
    active_.newest = std::max(active_.newest, came);
    while (!in.done()) {
      dedup_entry entry;
      entry.id = in.fixed();
      entry.content = static_cast<std::uint32_t>(in.whole());
      active_.table.add(entry);
    }
    if (!in.ok())
      return fail(ec::corrupt, "a row of ids of the event log at {} is damaged", db_.path().string());
    active_.end = store::read_u64(rows.key()) + 1;
  }
  TROUPE_CHECK(rows.check());
  return remove_strangers();
}

/// What a run that was not written to its end, or that was merged, has left.
expected<void> dedup_index::remove_strangers() const {
  std::error_code problem;
  for (auto& each : std::filesystem::directory_iterator{folder_, problem}) {
    bool known = std::ranges::any_of(runs_, [&](auto& run) { return run.run->path() == each.path(); });
    if (!known && !std::filesystem::remove(each.path(), problem) && problem)
      break;
  }
  if (problem)
    return fail(errno_code(problem.value()), "cannot tidy the folder {}: {}", folder_.string(),
                problem.message());
  return {};
}

expected<std::vector<std::optional<std::uint32_t>>> dedup_index::look_up(std::span<const hash128> ids) {
  now_ = micros_of(wall_now());
  std::vector<std::optional<std::uint32_t>> found(ids.size());
  auto in = [&](auto& part) {
    for (std::size_t i = 0; i < std::min(ahead, ids.size()); ++i)
      part.prefetch(id_of(ids[i]));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i + ahead < ids.size())
        part.prefetch(id_of(ids[i + ahead]));
      if (!found[i])
        found[i] = part.find(id_of(ids[i]));
    }
  };
  in(active_.table);
  if (frozen_)
    in(frozen_->table);
  for (auto& each : runs_)
    in(*each.run);
  if (!old_until_)
    return found;
  std::vector<std::size_t> left;
  std::vector<dedup_key> keys;
  keys.reserve(ids.size());
  std::vector<std::string_view> views;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (!found[i]) {
      left.push_back(i);
      views.push_back(view(keys.emplace_back(key_of(ids[i]))));
    }
  TROUPE_CHECK(db_.visit_many(dedup_family, views, [&](std::size_t index, std::string_view value) {
    auto content = store::read_u64(value);
    found[left[index]] = content == 0 ? 0 : content_of(content);
  }));
  return found;
}

std::optional<std::uint32_t> dedup_index::meet(const hash128& id, std::uint32_t content,
                                               std::optional<std::uint32_t> before) {
  if (before && (removed_.empty() || !removed_.contains(id)))
    return before;
  dedup_entry entry{id_of(id), content};
  if (auto known = active_.table.add(entry))
    return known;
  met_.push_back(entry);
  return std::nullopt;
}

expected<std::optional<std::uint32_t>> dedup_index::find_old(const hash128& id) const {
  if (!old_until_ || removed_.contains(id))
    return std::nullopt;
  TROUPE_TRY(stored, db_.find(dedup_family, view(key_of(id))));
  if (!stored)
    return std::nullopt;
  auto content = store::read_u64(*stored);
  return content == 0 ? 0 : content_of(content);
}

void dedup_index::remove_old(store::write_batch& from, const hash128& id) {
  from.erase(dedup_family, view(key_of(id)));
  removed_.insert(id);
}

expected<void> dedup_index::add_to(store::write_batch& batch) {
  bool full = frozen_ && active_.table.size() >= 2 * options_.run_ids;
  collect(freezing_, full);
  if (full && frozen_ && deadline::clock::now() >= try_again_) { // No commit comes any more that would.
    freeze();
    collect(freezing_, true);
  }
  if (full && frozen_)
    return unexpected{*failed_};
  collect(merging_, false);
  expire();
  if (old_has_expired()) {
    batch.erase_range(dedup_family, {}, std::string(sizeof(dedup_key) + 1, '\xff'));
    changed_ = true;
  }
  if (!met_.empty()) {
    store::encoder row;
    row.fixed(static_cast<std::uint64_t>(now_));
    for (auto& each : met_)
      row.fixed(each.id).whole(each.content);
    batch.put(keys_family, number_key(active_.end), row.bytes());
  }
  if (changed_) {
    batch.put(meta_family, dedup_state_key, encoded());
    batch.erase_range(keys_family, number_key(0), number_key(first_row_));
  }
  return {};
}

void dedup_index::committed() {
  if (!met_.empty()) {
    if (active_.table.size() == met_.size())
      active_.oldest = active_.newest = now_;
    active_.newest = std::max(active_.newest, now_);
    ++active_.end;
  }
  met_.clear();
  removed_.clear();
  if (old_has_expired())
    old_until_.reset();
  changed_ = false;
  std::error_code problem; // What stays is removed at the next start.
  for (auto& each : std::exchange(gone_, {}))
    std::filesystem::remove(each, problem);
  if (deadline::clock::now() < try_again_)
    return;
  freeze();
  merge();
}

void dedup_index::rolled_back() {
  for (auto& each : std::exchange(met_, {}))
    active_.table.erase(each.id);
  removed_.clear();
}

/// Takes what a thread has made. It is in force at once; the store learns of it with the next write. Until
/// then it holds the rows that the run was made of, and the files of merged runs are there.
void dedup_index::collect(std::optional<work>& job, bool wait) {
  if (!job || (!wait && job->result.wait_for(std::chrono::seconds{0}) != std::future_status::ready))
    return;
  auto done = std::move(*job);
  job.reset();
  auto result = done.result.get();
  if (!result) {
    if (&job == &freezing_)
      failed_ = result.error();
    try_again_ = deadline::clock::now() + std::chrono::seconds{1};
    log::warn("dedup-run-failed", "ingest could not write a run of known ids, and tries it again: {}",
              result.error().text);
    return;
  }
  done.made.run = std::move(*result);
  changed_ = true;
  if (done.from == done.to) {
    runs_.push_back(std::move(done.made));
    first_row_ = frozen_->end;
    frozen_.reset();
    return;
  }
  auto first = runs_.begin() + static_cast<std::ptrdiff_t>(done.from);
  auto last = runs_.begin() + static_cast<std::ptrdiff_t>(done.to);
  for (auto at = first; at != last; ++at)
    gone_.push_back(at->run->path());
  runs_.insert(runs_.erase(first, last), std::move(done.made));
}

/// Runs whose newest id has been known for long enough.
void dedup_index::expire() {
  if (merging_) // It speaks of runs by their places.
    return;
  auto last = now_ - std::chrono::microseconds{options_.keep_for}.count();
  std::erase_if(runs_, [&](auto& each) {
    if (each.newest >= last)
      return false;
    gone_.push_back(each.run->path());
    return changed_ = true;
  });
}

/// How far apart the ids of one run may have come.
std::int64_t dedup_index::longest_span() const noexcept {
  return std::chrono::microseconds{options_.keep_for}.count() / 4;
}

void dedup_index::freeze() {
  if (freezing_)
    return;
  if (!frozen_) {
    auto ids = active_.table.size();
    if (ids < options_.run_ids && (ids == 0 || now_ - active_.oldest <= longest_span()))
      return;
    auto end = active_.end;
    frozen_ = std::make_shared<const recent>(std::exchange(active_, {}));
    active_.end = end;
  }
  start(freezing_, {0, 0, {next_run_++, frozen_->oldest, frozen_->newest, {}}, {}}, {});
}

void dedup_index::merge() {
  if (merging_)
    return;
  // Eight of a tier make one of the next.
  auto tier = [&](const held_run& of) {
    auto shares = of.run->size() / options_.run_ids;
    return shares == 0 ? 0 : (std::bit_width(shares) - 1) / 3;
  };
  for (std::size_t from = 0; from + fan_in <= runs_.size(); ++from) {
    auto some = std::span{runs_}.subspan(from, fan_in);
    held_run made{0, some.front().oldest, some.front().newest, {}};
    for (auto& each : some) {
      made.oldest = std::min(made.oldest, each.oldest);
      made.newest = std::max(made.newest, each.newest);
    }
    bool alike = std::ranges::all_of(some, [&](auto& each) { return tier(each) == tier(some.front()); });
    if (!alike || made.newest - made.oldest > longest_span())
      continue;
    made.number = next_run_++;
    std::vector<std::shared_ptr<const dedup_run>> merged;
    for (auto& each : some)
      merged.push_back(each.run);
    return start(merging_, {from, from + fan_in, std::move(made), {}}, std::move(merged));
  }
}

void dedup_index::start(std::optional<work>& job, work what,
                        std::vector<std::shared_ptr<const dedup_run>> merged) {
  what.result = std::async(std::launch::async,
                           [path = path_of(what.made.number), ids = merged.empty() ? frozen_ : nullptr,
                            merged = std::move(merged)]() -> expected<std::shared_ptr<const dedup_run>> {
                             TROUPE_CHECK(merged.empty() ? write_run(path, ids->table.sorted())
                                                         : merge_runs(path, merged));
                             return dedup_run::open(path);
                           });
  job = std::move(what);
}

} // namespace troupe::ingest
