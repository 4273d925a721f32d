#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::ingest {

/// Threads for work that blocks: reading files, reading the log, writing the lake. Its queue is bounded by
/// those who post: a source posts one task at a time, a request one while it is in flight. Destroyed, it runs
/// what is queued first.
class worker_pool {
public:
  explicit worker_pool(std::size_t threads);
  ~worker_pool();
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;

  void post(std::function<void()> task);

private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe::ingest
