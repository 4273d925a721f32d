#include "common/http/problem.hpp"

#include "common/core/json_string.hpp"

namespace troupe::http {

unsigned status_of(ec code) noexcept {
  switch (code) {
  case ec::invalid_argument:
    return 400;
  case ec::unauthorized:
    return 401;
  case ec::not_found:
    return 404;
  case ec::already_exists:
  case ec::conflict:
    return 409;
  case ec::overloaded:
  case ec::stopping:
  case ec::unavailable:
  case ec::canceled:
    return 503;
  case ec::too_late:
    return 504;
  case ec::disk_full:
    return 507;
  case ec::corrupt:
  case ec::unsupported_version:
    return 502;
  case ec::io_failed:
  case ec::internal:
    break;
  }
  return 500;
}

std::string_view reason_of(unsigned status) noexcept {
  switch (status) {
  case 200:
    return "OK";
  case 202:
    return "Accepted";
  case 204:
    return "No Content";
  case 400:
    return "Bad Request";
  case 401:
    return "Unauthorized";
  case 403:
    return "Forbidden";
  case 404:
    return "Not Found";
  case 405:
    return "Method Not Allowed";
  case 408:
    return "Request Timeout";
  case 409:
    return "Conflict";
  case 413:
    return "Content Too Large";
  case 414:
    return "URI Too Long";
  case 415:
    return "Unsupported Media Type";
  case 417:
    return "Expectation Failed";
  case 421:
    return "Misdirected Request";
  case 422:
    return "Unprocessable Content";
  case 429:
    return "Too Many Requests";
  case 431:
    return "Request Header Fields Too Large";
  case 500:
    return "Internal Server Error";
  case 501:
    return "Not Implemented";
  case 502:
    return "Bad Gateway";
  case 503:
    return "Service Unavailable";
  case 504:
    return "Gateway Timeout";
  case 505:
    return "HTTP Version Not Supported";
  case 507:
    return "Insufficient Storage";
  default:
    return "Unknown";
  }
}

namespace {

/// Length of the valid UTF-8 sequence at `at`, 0 when there is none.
std::size_t sequence_at(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  auto first = byte(at);
  std::size_t length = first < 0x80   ? 1
                       : first < 0xc2 ? 0
                       : first < 0xe0 ? 2
                       : first < 0xf0 ? 3
                       : first < 0xf5 ? 4
                                      : 0;
  if (length == 0 || at + length > text.size())
    return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(at + i) & 0xc0) != 0x80)
      return 0;
  if (length >= 3) {
    auto second = byte(at + 1);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
      return 0;
  }
  return length;
}

} // namespace

std::string json_quoted(std::string_view text) {
  std::string readable, out;
  readable.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    auto length = sequence_at(text, i);
    if (length == 0) {
      readable += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    readable += text.substr(i, length);
    i += length;
  }
  append_json_string(out, readable);
  return out;
}

response problem(unsigned status, std::string_view code, std::string_view detail) {
  return {status,
          "application/problem+json",
          fmt::format(R"({{"type":"about:blank","title":{},"status":{},"code":{},"detail":{}}})",
                      json_quoted(reason_of(status)), status, json_quoted(code), json_quoted(detail)),
          {}};
}

response problem(const error& err, std::chrono::milliseconds retry_after) {
  auto out = problem(status_of(err.code), to_string(err.code), err.text);
  if (retry_after.count() > 0)
    out.headers.emplace_back("Retry-After", std::to_string((retry_after.count() + 999) / 1000));
  return out;
}

} // namespace troupe::http
