#include "common/log/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>

namespace troupe::log {

namespace {

using clock = std::chrono::steady_clock;

struct repeats {
  clock::time_point second;
  std::uint32_t written = 0;
  std::uint64_t left_out = 0;
};

/// More event ids than this in one process are a mistake; their lines pass without a limit.
constexpr std::size_t max_events = 1'000;

struct state {
  std::atomic<level> least{level::info};
  std::mutex mutex;
  options now;
  std::map<std::string, repeats, std::less<>> events;
  std::shared_ptr<spdlog::logger> out;

  state() {
    out = std::make_shared<spdlog::logger>("troupe", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    out->set_level(spdlog::level::trace);
    format();
  }

  void format() {
    auto prefix = now.identity.empty() ? std::string{} : now.identity + " ";
    out->set_pattern((now.time ? "%Y-%m-%dT%H:%M:%S.%eZ %l " : "%l ") + prefix + "%v",
                     spdlog::pattern_time_type::utc);
  }
};

// Never destroyed: threads may still write while the process ends.
state& global() {
  static auto* instance = new state;
  return *instance;
}

spdlog::level::level_enum native(level at) noexcept {
  switch (at) {
  case level::debug:
    return spdlog::level::debug;
  case level::info:
    return spdlog::level::info;
  case level::warn:
    return spdlog::level::warn;
  case level::error:
    return spdlog::level::err;
  case level::off:
    return spdlog::level::off;
  }
  return spdlog::level::info;
}

} // namespace

void start(options options) {
  auto& log = global();
  std::lock_guard lock{log.mutex};
  log.least = options.least;
  log.now = std::move(options);
  log.format();
}

level level_of(std::string_view name) noexcept {
  if (name == "debug")
    return level::debug;
  if (name == "warn")
    return level::warn;
  if (name == "error")
    return level::error;
  return name == "off" ? level::off : level::info;
}

bool enabled(level at) noexcept {
  return at >= global().least.load(std::memory_order_relaxed) && at != level::off;
}

void write(level at, std::string_view event, std::string_view text) {
  auto& log = global();
  std::lock_guard lock{log.mutex};
  std::uint64_t left_out = 0;
  auto found = log.events.find(event);
  if (found == log.events.end() && log.events.size() < max_events)
    found = log.events.try_emplace(std::string{event}).first;
  if (found != log.events.end()) {
    auto& seen = found->second;
    auto now = clock::now();
    if (now - seen.second >= std::chrono::seconds{1}) {
      seen.second = now;
      seen.written = 0;
    }
    if (seen.written >= log.now.burst) {
      ++seen.left_out;
      return;
    }
    ++seen.written;
    left_out = std::exchange(seen.left_out, 0);
  }
  if (left_out > 0)
    log.out->log(native(at), "{} {} ({} more like this left out)", event, text, left_out);
  else
    log.out->log(native(at), "{} {}", event, text);
}

void flush() {
  global().out->flush();
}

} // namespace troupe::log
