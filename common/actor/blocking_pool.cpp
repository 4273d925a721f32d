#include "common/actor/blocking_pool.hpp"

#include "common/core/thread_name.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace troupe {

blocking_pool::blocking_pool(options options, metrics::registry& registry)
    : options_{std::move(options)}, queued_{registry.gauge("troupe_pool_queued_tasks",
                                                           "Tasks that wait for a thread of the pool.",
                                                           {{"pool", options_.name}})},
      refused_{registry.counter("troupe_pool_refused_total", "Tasks refused because the pool was full.",
                                {{"pool", options_.name}})} {
  for (std::size_t i = 0; i < std::max<std::size_t>(options_.threads, 1); ++i) {
    name_thread(threads_.emplace_back([this] { run(); }), options_.name);
  }
}

blocking_pool::~blocking_pool() {
  {
    std::lock_guard lock{mutex_};
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& each : threads_)
    each.join();
}

expected<void> blocking_pool::post(std::function<void()> task) {
  {
    std::lock_guard lock{mutex_};
    if (tasks_.size() >= options_.bound) {
      refused_.add();
      return fail(ec::overloaded, "{} tasks wait for the pool {}", options_.bound, options_.name);
    }
    tasks_.push_back(std::move(task));
    queued_.set(static_cast<double>(tasks_.size()));
  }
  wake_.notify_one();
  return {};
}

void blocking_pool::run() {
  if (options_.niceness > 0) // Of Linux: of this thread alone, whatever POSIX says.
    ::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) + options_.niceness);
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock{mutex_};
      wake_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty())
        return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      queued_.set(static_cast<double>(tasks_.size()));
    }
    task();
  }
}

} // namespace troupe
