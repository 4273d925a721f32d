#include "common/core/error.hpp"

#include <cerrno>
#include <cstring>

namespace troupe {

std::string_view to_string(ec code) noexcept {
  switch (code) {
  case ec::invalid_argument:
    return "invalid_argument";
  case ec::not_found:
    return "not_found";
  case ec::already_exists:
    return "already_exists";
  case ec::conflict:
    return "conflict";
  case ec::corrupt:
    return "corrupt";
  case ec::io_failed:
    return "io_failed";
  case ec::disk_full:
    return "disk_full";
  case ec::overloaded:
    return "overloaded";
  case ec::too_late:
    return "too_late";
  case ec::stopping:
    return "stopping";
  case ec::unavailable:
    return "unavailable";
  case ec::unauthorized:
    return "unauthorized";
  case ec::unsupported_version:
    return "unsupported_version";
  case ec::canceled:
    return "canceled";
  case ec::internal:
    return "internal";
  }
  return "unknown";
}

error_disposition disposition_of(ec code) noexcept {
  switch (code) {
  case ec::disk_full:
  case ec::overloaded:
  case ec::too_late:
  case ec::stopping:
  case ec::unavailable:
  case ec::io_failed:
    return error_disposition::retry_later;
  case ec::invalid_argument:
  case ec::conflict:
  case ec::unauthorized:
  case ec::unsupported_version:
    return error_disposition::fix_input;
  case ec::not_found:
  case ec::already_exists:
  case ec::canceled:
  case ec::corrupt:
    return error_disposition::never;
  case ec::internal:
    return error_disposition::report_bug;
  }
  return error_disposition::report_bug;
}

std::string render(const error& err) {
  return fmt::format("{}: {}", to_string(err.code), err.text);
}

unexpected<error> with_context(std::string_view doing, error cause) {
  return unexpected<error>{error{cause.code, fmt::format("{}: {}", doing, cause.text)}};
}

std::string errno_text(int number) {
  char buffer[256];
  return strerror_r(number, buffer, sizeof buffer);
}

ec errno_code(int number) noexcept {
  switch (number) {
  case ENOSPC:
  case EDQUOT:
    return ec::disk_full;
  case ENOENT:
    return ec::not_found;
  default:
    return ec::io_failed;
  }
}

} // namespace troupe
