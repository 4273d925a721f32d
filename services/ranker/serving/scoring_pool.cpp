#include "services/ranker/serving/scoring_pool.hpp"

#include "common/core/thread_name.hpp"

#include <optional>
#include <utility>

namespace troupe::ranker {

scoring_pool::scoring_pool(std::size_t threads, std::size_t bound, std::size_t most_together,
                           metrics::registry& registry)
    : bound_{bound}, most_together_{most_together}, queued_{registry.gauge(
                                                        "troupe_ranker_queued_jobs",
                                                        "Requests that wait for a thread that ranks.")} {
  for (std::size_t i = 0; i < threads; ++i) {
    name_thread(threads_.emplace_back([this] { run(); }), "ranker-score");
  }
}

scoring_pool::~scoring_pool() {
  stop();
}

void scoring_pool::post(deadline until, const scoring_work_ptr& next) {
  std::optional<error> refused;
  {
    std::lock_guard lock{mutex_};
    if (stopping_) {
      refused = error{ec::stopping, "the ranker is draining"};
    } else if (waiting_.size() >= bound_) {
      refused = error{ec::overloaded, fmt::format("{} requests wait to be ranked", bound_)};
    } else {
      waiting_.emplace(until.at(), next);
      queued_.set(static_cast<double>(waiting_.size()));
    }
  }
  if (refused)
    next->refuse(std::move(*refused));
  else
    wake_.notify_one();
}

void scoring_pool::stop() {
  decltype(waiting_) left;
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    left.swap(waiting_);
    if (!left.empty())
      queued_.set(0);
  }
  wake_.notify_all();
  for (auto& [until, each] : left)
    each->refuse({ec::stopping, "the ranker is draining"});
  for (auto& each : threads_)
    each.join();
  threads_.clear();
}

void scoring_pool::take_with(const scoring_work& first, deadline until, std::vector<scoring_work_ptr>& into) {
  constexpr std::size_t spare = 3; // No two pieces of work take the same.
  auto* kind = first.kind();
  auto left = until.left();
  auto one_more = [&] {
    auto count = into.size() + 2;
    return count <= most_together_ && waiting_.size() > free_ && took_ * spare * count <= left;
  };
  for (auto each = waiting_.begin(); kind && each != waiting_.end() && one_more();)
    if (each->second->kind() == kind && !deadline{each->first}.passed()) {
      into.push_back(std::move(each->second));
      each = waiting_.erase(each);
    } else {
      ++each;
    }
}

void scoring_pool::run() {
  std::vector<scoring_work_ptr> others;
  std::unique_lock lock{mutex_};
  while (true) {
    ++free_;
    wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    --free_;
    if (stopping_)
      return;
    auto next = waiting_.extract(waiting_.begin());
    bool late = deadline{next.key()}.passed();
    if (!late)
      take_with(*next.mapped(), deadline{next.key()}, others);
    queued_.set(static_cast<double>(waiting_.size()));
    lock.unlock();
    auto began = deadline::clock::now();
    if (late)
      next.mapped()->refuse({ec::too_late, "the deadline passed while the request waited"});
    else
      next.mapped()->run(others);
    auto took = (deadline::clock::now() - began) / (others.size() + 1);
    next = {}; // What they hold goes before the lock is taken again.
    others.clear();
    lock.lock();
    if (!late)
      took_ = took_.count() == 0 ? took : took_ + (took - took_) / 8;
  }
}

} // namespace troupe::ranker
