#include "services/feature_store/read_pool.hpp"

#include "services/feature_store/reader.hpp"

#include "common/net/payload.hpp"

#include <algorithm>

namespace troupe::feature_store {

namespace {

/// The request's payload, or nullptr when the bytes are none.
const wire::ReadFeatures* payload_of(const net::request& asked) {
  auto read = net::read_as<wire::ReadFeatures>(asked.payload, "TRPF", "ReadFeatures");
  return read ? *read : nullptr;
}

} // namespace

read_pool::read_pool(std::shared_ptr<state_engine> engine, std::shared_ptr<service_metrics> metrics,
                     unsigned threads, clock now)
    : engine_{std::move(engine)}, metrics_{std::move(metrics)}, now_{std::move(now)} {
  for (unsigned i = 0; i < threads; ++i)
    threads_.emplace_back([this] { work(); });
}

read_pool::~read_pool() {
  stop();
}

void read_pool::take(net::request asked) {
  {
    std::lock_guard lock{mutex_};
    if (!stopping_) {
      waiting_.push_back(std::move(asked));
      wake_.notify_one();
      return;
    }
  }
  asked.respond.fail({ec::stopping, "the feature store is draining"});
}

void read_pool::run(std::function<void()> work) {
  std::lock_guard lock{mutex_};
  if (!stopping_)
    other_.push_back(std::move(work));
  wake_.notify_one();
}

void read_pool::advanced() {
  std::lock_guard lock{mutex_};
  if (parked_.empty())
    return;
  look_again_ = true;
  wake_.notify_one();
}

void read_pool::expire(std::unique_lock<std::mutex>& lock) {
  std::vector<net::request> late;
  for (auto& each : parked_)
    if (each.until.passed())
      late.push_back(std::move(each));
  std::erase_if(parked_, [](auto& each) { return !each.respond; });
  if (late.empty())
    return;
  metrics_->parked.set(static_cast<double>(parked_.size()));
  lock.unlock();
  for (auto& each : late) {
    metrics_->read_failures.add();
    each.respond.fail({ec::too_late, "the offsets that the read names were not applied in time"});
  }
  lock.lock();
}

void read_pool::work() {
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    if (!waiting_.empty()) {
      auto asked = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      answer(asked);
      lock.lock();
      continue;
    }
    if (look_again_) {
      look_again_ = false;
      for (auto& each : parked_)
        waiting_.push_back(std::move(each));
      parked_.clear();
      continue;
    }
    if (!other_.empty()) {
      auto next = std::move(other_.front());
      other_.pop_front();
      lock.unlock();
      next();
      lock.lock();
      continue;
    }
    expire(lock);
    if (stopping_ || !waiting_.empty() || look_again_ || !other_.empty())
      continue;
    if (parked_.empty()) {
      wake_.wait(lock);
    } else {
      auto first = std::min_element(parked_.begin(), parked_.end(),
                                    [](auto& a, auto& b) { return a.until.at() < b.until.at(); });
      wake_.wait_until(lock, first->until.at());
    }
  }
}

void read_pool::answer(net::request& asked) {
  auto began = std::chrono::steady_clock::now();
  auto* payload = payload_of(asked);
  if (!payload) {
    metrics_->read_failures.add();
    asked.respond.fail({ec::corrupt, "the payload is not a ReadFeatures"});
    return;
  }
  if (asked.until.passed()) {
    metrics_->read_failures.add();
    asked.respond.fail({ec::too_late, "the read waited past its deadline"});
    return;
  }
  if (!offsets_reached(*engine_, *payload)) {
    std::lock_guard lock{mutex_};
    // The offsets may have been reached since they were looked at: then nobody will say so again.
    if (draining_) {
      asked.respond.fail({ec::stopping, "the feature store is draining"});
      return;
    }
    if (!offsets_reached(*engine_, *payload)) {
      parked_.push_back(std::move(asked));
      metrics_->parked.set(static_cast<double>(parked_.size()));
      wake_.notify_one();
      return;
    }
  }
  auto values = payload->ids() && payload->features()
                    ? payload->ids()->size() * std::size_t{payload->features()->size()}
                    : 0;
  auto result = answer_read(*engine_, *payload, now_());
  if (result) {
    metrics_->reads.add();
    metrics_->values.add(static_cast<double>(values));
  } else {
    metrics_->read_failures.add();
  }
  asked.respond.finish(std::move(result));
  metrics_->read_seconds.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
}

void read_pool::drain() {
  std::vector<net::request> left;
  {
    std::lock_guard lock{mutex_};
    draining_ = true;
    left.swap(parked_);
  }
  for (auto& each : left)
    each.respond.fail({ec::stopping, "the feature store is draining"});
}

void read_pool::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    wake_.notify_all();
  }
  for (auto& each : threads_)
    each.join();
  threads_.clear();
  for (auto* list : {&parked_})
    for (auto& each : *list)
      each.respond.fail({ec::stopping, "the feature store is draining"});
  for (auto& each : waiting_)
    each.respond.fail({ec::stopping, "the feature store is draining"});
  parked_.clear();
  waiting_.clear();
  other_.clear();
}

} // namespace troupe::feature_store
