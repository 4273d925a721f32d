#include "services/ranker/serving/scoring_pool.hpp"

#include "common/core/thread_name.hpp"

#include <optional>
#include <utility>

namespace troupe::ranker {

scoring_pool::scoring_pool(std::size_t threads, std::size_t bound, metrics::registry& registry)
    : bound_{bound}, queued_{registry.gauge("troupe_ranker_queued_jobs",
                                            "Requests that wait for a thread that ranks.")} {
  for (std::size_t i = 0; i < threads; ++i) {
    name_thread(threads_.emplace_back([this] { run(); }), "ranker-score");
  }
}

scoring_pool::~scoring_pool() {
  stop();
}

void scoring_pool::post(deadline until, job next) {
  std::optional<error> refused;
  {
    std::lock_guard lock{mutex_};
    if (stopping_) {
      refused = error{ec::stopping, "the ranker is draining"};
    } else if (jobs_.size() >= bound_) {
      refused = error{ec::overloaded, fmt::format("{} requests wait to be ranked", bound_)};
    } else {
      jobs_.emplace(until.at(), std::move(next));
      queued_.set(static_cast<double>(jobs_.size()));
    }
  }
  if (refused)
    next(&*refused);
  else
    wake_.notify_one();
}

void scoring_pool::stop() {
  decltype(jobs_) left;
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    left.swap(jobs_);
    if (!left.empty())
      queued_.set(0);
  }
  wake_.notify_all();
  const error refused{ec::stopping, "the ranker is draining"};
  for (auto& [until, each] : left)
    each(&refused);
  for (auto& each : threads_)
    each.join();
  threads_.clear();
}

void scoring_pool::run() {
  const error late{ec::too_late, "the deadline passed while the request waited"};
  std::unique_lock lock{mutex_};
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_)
      return;
    auto next = jobs_.extract(jobs_.begin());
    queued_.set(static_cast<double>(jobs_.size()));
    lock.unlock();
    next.mapped()(deadline{next.key()}.passed() ? &late : nullptr);
    next = {}; // What it holds goes before the lock is taken again.
    lock.lock();
  }
}

} // namespace troupe::ranker
