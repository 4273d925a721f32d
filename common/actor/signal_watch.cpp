#include "common/actor/signal_watch.hpp"

#include "common/core/thread_name.hpp"
#include "common/log/log.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <utility>

namespace troupe {

namespace {

/// Written by the handler below; -1 where nobody watches.
std::atomic<int> caught_by_others{-1};

/// Threads of libraries that were started before `main` (OpenBLAS does that) do not block the signals, and
/// the kernel may give one of them what was meant for the process.
void pass_on(int) {
  auto saved = errno;
  if (auto to = caught_by_others.load(); to >= 0)
    (void)::eventfd_write(to, 1);
  errno = saved;
}

constexpr std::int64_t one_signal_ms = 1'000;

std::int64_t now_ms() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::milliseconds{1};
}

} // namespace

signal_watch::signal_watch() {
  sigset_t watched;
  ::sigemptyset(&watched);
  ::sigaddset(&watched, SIGTERM);
  ::sigaddset(&watched, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  caught_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  caught_by_others = caught_;
  struct sigaction handler {};
  handler.sa_handler = pass_on;
  handler.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &handler, nullptr);
  ::sigaction(SIGINT, &handler, nullptr);
  signals_ = ::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  thread_ = std::thread{[this] { run(); }};
  name_thread(thread_, "signals");
}

signal_watch::~signal_watch() {
  quit_ = true;
  ::eventfd_write(wake_, 1);
  thread_.join();
  caught_by_others = -1;
  ::close(caught_);
  ::close(signals_);
  ::close(wake_);
}

void signal_watch::on_stop(std::function<void()> tell) {
  std::lock_guard lock{mutex_};
  tell_ = std::move(tell);
  if (asked_ && tell_)
    tell_();
}

void signal_watch::end_within(std::chrono::milliseconds span) {
  end_at_ = now_ms() + span.count();
  ::eventfd_write(wake_, 1);
}

void signal_watch::run() {
  while (!quit_) {
    pollfd fds[] = {{signals_, POLLIN, 0}, {caught_, POLLIN, 0}, {wake_, POLLIN, 0}};
    int wait = -1;
    if (auto end = end_at_.load(); end != 0)
      wait = static_cast<int>(std::clamp<std::int64_t>(end - now_ms(), 0, 60'000));
    (void)::poll(fds, std::size(fds), wait);
    if (quit_)
      return;
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_, &ignored);
    if (auto end = end_at_.load(); end != 0 && now_ms() >= end) {
      log::error("stop-forced", "the process did not end in time and is ended");
      log::flush();
      ::_exit(1);
    }
    signalfd_siginfo got{};
    got.ssi_signo = SIGTERM;
    if (::read(signals_, &got, sizeof got) != sizeof got && ::eventfd_read(caught_, &ignored) != 0)
      continue;
    auto since = now_ms() - std::exchange(last_ms_, now_ms());
    if (asked_ && since < one_signal_ms)
      continue;
    if (asked_) {
      log::warn("stop-at-once", "a second signal ends the process at once");
      log::flush();
      ::_exit(128 + static_cast<int>(got.ssi_signo));
    }
    std::lock_guard lock{mutex_};
    asked_ = true;
    if (tell_)
      tell_();
  }
}

} // namespace troupe
