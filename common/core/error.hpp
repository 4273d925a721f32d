#pragma once

#include <fmt/format.h>
#include <tl/expected.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {

/// Everything that can go wrong, as one closed list. Numbers travel on the wire: add at the end only.
enum class ec : std::uint8_t {
  invalid_argument = 1, ///< The caller sent something that can never be right.
  not_found,            ///< The named thing does not exist.
  already_exists,       ///< The named thing exists and must not be replaced.
  conflict,             ///< The same identity arrived with different content, or a state forbids the step.
  corrupt,              ///< Stored or received bytes fail their check.
  io_failed,            ///< The operating system refused a read or a write.
  disk_full,            ///< No space left; nothing was written, and work goes on when there is room.
  overloaded,           ///< A bound was reached; try again after the time given.
  too_late,             ///< The deadline has passed; the work was not done.
  stopping,             ///< The service is draining; ask another replica.
  unavailable,          ///< No replica could be reached.
  unauthorized,         ///< The caller's key is missing, wrong or not on the list.
  unsupported_version,  ///< The bytes come from a version this program cannot read.
  canceled,             ///< Somebody asked for the work to end.
  internal,             ///< Our mistake.
};

/// What a caller should do about an error.
enum class error_disposition : std::uint8_t { retry_later, never, fix_input, report_bug };

/// The stable name of `code`, as logs and JSON show it: `disk_full`.
std::string_view to_string(ec code) noexcept;

/// What the receiver of `code` can do about it.
error_disposition disposition_of(ec code) noexcept;

/// A failure: its code, and one sentence saying what was being done, with what, and why it failed.
struct error {
  ec code = ec::internal;
  std::string text;

  friend bool operator==(const error&, const error&) = default;
};

/// `disk_full: cannot append 812 events to the log at /data/log: no space left on device`.
std::string render(const error& err);

/// A value or the error that prevented it.
template <class T>
using expected = tl::expected<T, error>;

using tl::unexpected;

/// Builds the error side of an `expected`: `return fail(ec::not_found, "no mapping {}", name);`.
template <class... Args>
unexpected<error> fail(ec code, fmt::format_string<Args...> text, Args&&... args) {
  return unexpected<error>{error{code, fmt::format(text, std::forward<Args>(args)...)}};
}

/// Passes an error on with what was being done put before it.
unexpected<error> with_context(std::string_view doing, error cause);

/// The text for the current `errno`, thread-safe.
std::string errno_text(int number);

/// Maps an `errno` to our code: ENOSPC and EDQUOT to disk_full, ENOENT to not_found, the rest to io_failed.
ec errno_code(int number) noexcept;

} // namespace troupe

// NOLINTBEGIN(bugprone-macro-parentheses): a name that is declared takes none.

/// Leaves the function with the error of `expression` when it failed; otherwise defines `name` as its value.
#define TROUPE_TRY(name, expression)                                                                         \
  auto name##_or_error = (expression);                                                                       \
  if (!name##_or_error)                                                                                      \
    return ::troupe::unexpected<::troupe::error>{std::move(name##_or_error).error()};                        \
  auto&& name = *name##_or_error

// NOLINTEND(bugprone-macro-parentheses)

/// Leaves the function with the error of `expression` (an `expected<void>`) when it failed.
#define TROUPE_CHECK(expression)                                                                             \
  do {                                                                                                       \
    if (auto troupe_result = (expression); !troupe_result)                                                   \
      return ::troupe::unexpected<::troupe::error>{std::move(troupe_result).error()};                        \
  } while (false)
