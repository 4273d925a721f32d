#include "services/gateway/store/slate_outbox.hpp"

#include "common/core/thread_name.hpp"
#include "common/event/batch_buffer.hpp"
#include "common/log/log.hpp"

#include <algorithm>
#include <thread>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

/// A sync costs as much for one answer as for many. Where answers come so often that another is likely to
/// come within the time of one, it is waited for.
constexpr std::chrono::microseconds gather_for{500}, often = 2 * gather_for;

} // namespace

expected<std::unique_ptr<slate_outbox>> slate_outbox::open(std::shared_ptr<store::database> in,
                                                           options options) {
  std::unique_ptr<slate_outbox> made{new slate_outbox{std::move(in), options}};
  auto at = made->db_->scan(slates);
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
  name_thread(made->committer_, "outbox");
  return made;
}

slate_outbox::~slate_outbox() {
  stop();
}

void slate_outbox::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wake_.notify_all();
  if (committer_.joinable())
    committer_.join();
}

void slate_outbox::on_commit(std::function<void()> tell) {
  std::lock_guard lock{mutex_};
  committed_tell_ = std::move(tell);
}

void slate_outbox::append(chunk slate, std::vector<store_row> beside, told then) {
  {
    std::lock_guard lock{mutex_};
    if (!stopping_) {
      bool room = slate.empty() || waiting_ < options_.bound;
      if (!room) {
        slate = {};
        ++dropped_;
      }
      if (!slate.empty())
        ++waiting_;
      queue_.push_back({std::move(slate), room, std::move(beside), std::move(then)});
      wake_.notify_one();
      return;
    }
  }
  dropped_ += !slate.empty();
  then(false);
}

void slate_outbox::commit_loop() {
  using clock = std::chrono::steady_clock;
  auto last = clock::now();
  clock::duration between = often; // Two answers, on average of late.
  for (;;) {
    std::deque<pending> group;
    std::function<void()> tell;
    {
      std::unique_lock lock{mutex_};
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty())
        return;
      if (options_.sync && between < often && !stopping_) {
        lock.unlock(); // Asleep, not woken by each of them.
        std::this_thread::sleep_for(gather_for);
        lock.lock();
      }
      auto now = clock::now();
      auto seen = std::min<clock::duration>(now - last, often * 8) / static_cast<int>(queue_.size());
      between += (seen - between) / 8;
      last = now;
      group.swap(queue_);
      tell = committed_tell_;
    }
    store::write_batch batch;
    auto next = next_;
    for (auto& each : group) {
      if (!each.slate.empty())
        batch.put(slates, number_key(next++), each.slate.text());
      for (const auto& row : each.beside)
        batch.put(row.of, row.key, row.value);
    }
    bool any = next != next_;
    auto done = batch.empty() ? expected<void>{}
                              : db_->write(batch, any && options_.sync ? store::durability::synced
                                                                       : store::durability::buffered);
    if (done) {
      std::lock_guard lock{mutex_};
      next_ = next;
      committed_ = next;
    } else
      log::error("outbox-failed", "gateway cannot keep the slates of {} answers: {}", group.size(),
                 render(done.error()));
    for (auto& each : group) {
      if (!done && !each.slate.empty()) {
        --waiting_;
        ++dropped_;
      }
      each.then(each.kept && done.has_value());
    }
    if (done && any && tell)
      tell();
  }
}

slate_outbox::page slate_outbox::next(std::size_t most, std::size_t most_bytes) {
  std::uint64_t from = 0, end = 0;
  {
    std::lock_guard lock{mutex_};
    from = first_;
    end = committed_;
  }
  page out;
  if (from == end)
    return out;
  std::vector<batch_buffer> held_back;
  auto at = db_->scan(slates, number_key(from), number_key(end), {.fill_cache = false});
  std::size_t bytes = 0;
  for (; at.valid(); at.next()) {
    bytes += at.value().size();
    out.more = out.count >= most || (!out.answers.empty() && bytes > most_bytes);
    if (out.more)
      break;
    out.answers.push_back(store::read_u64(at.key()));
    auto held = batch::open(chunk::copy(as_bytes(at.value())));
    if (!held) {
      log::error("outbox-damaged", "gateway gives up the slate of an answer: {}", render(held.error()));
      ++out.damaged;
      continue;
    }
    out.count += held_back.emplace_back(*held).records();
  }
  std::vector<joined_part> parts;
  for (auto& each : held_back)
    parts.push_back({&each});
  if (!parts.empty())
    out.records = join_batches(parts);
  return out;
}

expected<void> slate_outbox::remove(const page& done, std::uint64_t refused) {
  if (done.answers.empty())
    return {};
  store::write_batch erase; // Key by key: each range that is erased would slow every later look at the table.
  for (auto number : done.answers)
    erase.erase(slates, number_key(number));
  auto erased = db_->write(erase, store::durability::buffered);
  refused = std::min<std::uint64_t>(refused, done.count);
  refused_ += refused + done.damaged;
  sent_ += done.count - refused;
  std::lock_guard lock{mutex_};
  first_ = done.answers.back() + 1;
  waiting_ -= std::min<std::uint64_t>(done.answers.size(), waiting_);
  return erased;
}

outbox_counters slate_outbox::counters() const noexcept {
  return {waiting_, sent_, dropped_, refused_};
}

} // namespace troupe::gateway
