#include "services/gateway/journal.hpp"

#include "common/log/log.hpp"

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

enum family : store::family_id { impressions, requests, expiry, times, facts };

std::string key_of(std::uint64_t number) {
  std::string key;
  store::append_u64(key, number);
  return key;
}

} // namespace

expected<std::unique_ptr<journal>> journal::open(const std::filesystem::path& path, journal_options options,
                                                 sender send) {
  store::options how;
  how.families = {"impressions", "requests", "expiry", "times", "facts"};
  how.layout = "gateway 1";
  TROUPE_TRY(db, store::database::open(path, std::move(how)));
  std::unique_ptr<journal> made{new journal{std::move(db), options, std::move(send)}};
  auto at = made->db_->scan(impressions);
  for (; at.valid(); at.next()) {
    auto number = store::read_u64(at.key());
    if (made->waiting_++ == 0)
      made->first_ = number;
    made->next_ = number + 1;
  }
  TROUPE_CHECK(at.check());
  made->committed_ = made->next_;
  if (made->waiting_ == 0)
    made->first_ = made->next_;
  made->committer_ = std::thread{[self = made.get()] { self->commit_loop(); }};
  made->sending_ = std::thread{[self = made.get()] { self->send_loop(); }};
  return made;
}

journal::journal(std::unique_ptr<store::database> db, journal_options options, sender send)
    : db_{std::move(db)}, options_{options}, send_{std::move(send)} {}

journal::~journal() {
  stop();
}

void journal::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wake_commit_.notify_all();
  wake_send_.notify_all();
  if (committer_.joinable())
    committer_.join();
  if (sending_.joinable())
    sending_.join();
}

void journal::keep(journal_entry entry, std::function<void(bool)> then) {
  {
    std::lock_guard lock{mutex_};
    if (!stopping_) {
      if (options_.recent > 0 && !entry.inspection.empty()) {
        recent_order_.push_back(entry.request_id);
        recent_[entry.request_id] = entry.inspection;
        while (recent_order_.size() > options_.recent) {
          recent_.erase(recent_order_.front());
          recent_order_.pop_front();
        }
      }
      bool has = !entry.impressions.empty();
      bool room = !has || waiting_ < options_.most_answers;
      if (has && room)
        ++waiting_;
      if (!room)
        ++dropped_;
      queue_.push_back({std::move(entry), room, std::move(then)});
      wake_commit_.notify_one();
      return;
    }
  }
  ++dropped_;
  then(false);
}

void journal::commit_loop() {
  for (;;) {
    std::deque<pending> group;
    {
      std::unique_lock lock{mutex_};
      wake_commit_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty())
        return;
      group.swap(queue_);
    }
    store::write_batch batch;
    auto next = next_;
    bool any = false;
    auto gone = key_of(static_cast<std::uint64_t>(micros_of(wall_now() + options_.ttl)));
    for (auto& each : group) {
      if (each.kept && !each.entry.impressions.empty()) {
        batch.put(impressions, key_of(next++),
                  encode_batch(std::span<const record>{each.entry.impressions}).text());
        any = true;
      }
      if (!each.entry.inspection.empty()) {
        batch.put(requests, each.entry.request_id, each.entry.inspection);
        batch.put(expiry, gone + "r" + each.entry.request_id, "");
      }
    }
    auto done = batch.empty() ? expected<void>{}
                              : db_->write(batch, any && options_.sync ? store::durability::synced
                                                                       : store::durability::buffered);
    if (!done)
      log::error("journal-failed", "gateway cannot keep the impressions of {} answers: {}", group.size(),
                 render(done.error()));
    else {
      std::lock_guard lock{mutex_};
      next_ = next;
      committed_ = next;
    }
    for (auto& each : group) {
      if (!done && each.kept && !each.entry.impressions.empty()) {
        --waiting_;
        ++dropped_;
      }
      each.then(each.kept && done.has_value());
    }
    if (done && any)
      wake_send_.notify_one();
  }
}

void journal::send_loop() {
  constexpr std::size_t most = 2'000;
  auto pause = 50ms;
  for (;;) {
    std::uint64_t end = 0;
    {
      std::unique_lock lock{mutex_};
      wake_send_.wait(lock, [&] { return stopping_ || first_ < committed_; });
      if (stopping_)
        return;
      end = committed_;
    }
    std::vector<record> records;
    std::uint64_t answers = 0, last = first_;
    store::write_batch
        erase; // Key by key: each range that is erased would slow every later look at the table.
    {
      auto at = db_->scan(impressions, key_of(first_), key_of(end), {.fill_cache = false});
      for (; at.valid() && records.size() < most; at.next()) {
        last = store::read_u64(at.key()) + 1;
        ++answers;
        erase.erase(impressions, at.key());
        auto held = batch::open(chunk::copy(as_bytes(at.value())));
        if (!held) {
          log::error("journal-corrupt", "gateway drops an entry of its queue: {}", render(held.error()));
          ++refused_;
          continue;
        }
        for (std::size_t i = 0; i < held->size(); ++i)
          records.push_back(to_record((*held)[i]));
      }
      if (!at.valid() && answers == 0)
        last = end;
    }
    auto sent = records.empty() ? expected<std::uint64_t>{0} : send_(records);
    // Only what can never be right is given up: a key that is missing, a bug, a newer log may be put right.
    if (!sent && sent.error().code != ec::invalid_argument && sent.error().code != ec::conflict) {
      log::warn("impressions-wait", "gateway keeps the impressions of {} answers: {}", waiting_.load(),
                render(sent.error()));
      std::unique_lock lock{mutex_};
      if (wake_send_.wait_for(lock, pause, [&] { return stopping_; }))
        return;
      pause = std::min<std::chrono::milliseconds>(pause * 2, 2s);
      continue;
    }
    pause = 50ms;
    if (!sent) {
      log::error("impressions-refused", "gateway gives up {} impressions: {}", records.size(),
                 render(sent.error()));
      refused_ += records.size();
    } else {
      refused_ += *sent;
      sent_ += records.size() - *sent;
    }
    if (auto done = erase.empty() ? expected<void>{} : db_->write(erase, store::durability::buffered); !done)
      log::warn("journal-failed", "gateway will send impressions again: {}", render(done.error()));
    std::lock_guard lock{mutex_};
    first_ = last;
    waiting_ -= std::min<std::uint64_t>(answers, waiting_);
  }
}

expected<std::optional<std::string>> journal::inspect(const std::string& request_id) const {
  {
    std::lock_guard lock{mutex_};
    if (auto found = recent_.find(request_id); found != recent_.end())
      return found->second;
  }
  return db_->find(requests, request_id);
}

timestamp journal::first_time(const std::string& id, timestamp now) {
  std::lock_guard lock{times_mutex_};
  if (auto found = db_->find(times, id); found && *found && (*found)->size() == 8)
    return from_micros(static_cast<std::int64_t>(store::read_u64(**found)));
  store::write_batch batch;
  batch.put(times, id, key_of(static_cast<std::uint64_t>(micros_of(now))));
  batch.put(expiry, key_of(static_cast<std::uint64_t>(micros_of(now + 24h))) + "t" + id, "");
  if (auto done = db_->write(batch, store::durability::buffered); !done)
    log::warn("journal-failed", "gateway cannot keep the time of a row: {}", render(done.error()));
  return now;
}

expected<std::optional<std::string>> journal::fact(std::string_view name) const {
  return db_->find(facts, name);
}

expected<void> journal::set_fact(std::string_view name, std::string_view value) {
  return db_->put(facts, name, value, store::durability::buffered);
}

expected<void> journal::expire(timestamp now) {
  store::write_batch batch;
  auto at = db_->scan(expiry, {}, key_of(static_cast<std::uint64_t>(micros_of(now))), {.fill_cache = false});
  for (; at.valid() && batch.count() < 100'000; at.next()) {
    auto key = at.key();
    batch.erase(key[8] == 'r' ? requests : times, key.substr(9));
    batch.erase(expiry, key);
  }
  TROUPE_CHECK(at.check());
  return batch.empty() ? expected<void>{} : db_->write(batch, store::durability::buffered);
}

journal_counters journal::counters() const noexcept {
  return {waiting_, sent_, dropped_, refused_};
}

} // namespace troupe::gateway
