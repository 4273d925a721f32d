#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

/// The log of this process, on stderr. Each line has a stable event id first, then a sentence: subject, verb,
/// object.
///
///     log::info("release-activated", "scorer activated release {}", id);
///
/// info: a stranger understands it. warn: degraded but handled. error: somebody should look. Repeats of one
/// event id are limited to a burst per second; the next line says how many were left out. Never a secret, a
/// key or a person's data. Every function may be called from any thread, before `start` too.
namespace troupe::log {

enum class level : std::uint8_t { debug, info, warn, error, off };

struct options {
  std::string identity; ///< Put into every line: `ingest/0`.
  level least = level::info;
  std::uint32_t burst = 20; ///< Lines of one event id per second; more are counted, not written.
  bool time = true;         ///< Start lines with the time (RFC 3339, UTC).
};

/// Sets the options of this process; may be called again.
void start(options options);

/// Reads `debug`, `info`, `warn`, `error` or `off`; info for anything else.
level level_of(std::string_view name) noexcept;

bool enabled(level at) noexcept;
void write(level at, std::string_view event, std::string_view text);

/// Everything written so far is on stderr when this returns.
void flush();

template <class... Args>
void debug(std::string_view event, fmt::format_string<Args...> text, Args&&... args) {
  if (enabled(level::debug))
    write(level::debug, event, fmt::format(text, std::forward<Args>(args)...));
}

template <class... Args>
void info(std::string_view event, fmt::format_string<Args...> text, Args&&... args) {
  if (enabled(level::info))
    write(level::info, event, fmt::format(text, std::forward<Args>(args)...));
}

template <class... Args>
void warn(std::string_view event, fmt::format_string<Args...> text, Args&&... args) {
  if (enabled(level::warn))
    write(level::warn, event, fmt::format(text, std::forward<Args>(args)...));
}

template <class... Args>
void error(std::string_view event, fmt::format_string<Args...> text, Args&&... args) {
  if (enabled(level::error))
    write(level::error, event, fmt::format(text, std::forward<Args>(args)...));
}

} // namespace troupe::log
