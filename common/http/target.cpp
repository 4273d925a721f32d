#include "common/http/target.hpp"

#include "common/http/problem.hpp"

#include <algorithm>

namespace troupe::http {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

response bad(std::string_view why) {
  return problem(400, "invalid_argument", why);
}

} // namespace

bool is_authority(std::string_view text) noexcept {
  std::size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos || end < 3)
      return false;
    // An address of six, perhaps with the name of an interface behind a percent sign.
    if (!std::ranges::all_of(text.substr(1, end - 1), [](char c) {
          return is_digit(c) || is_letter(c) || std::string_view{":.%-_~"}.find(c) != std::string_view::npos;
        }))
      return false;
    ++end;
  } else {
    end = std::min(text.find(':'), text.size());
    if (end == 0 || !std::ranges::all_of(text.substr(0, end), [](char c) {
          return is_digit(c) || is_letter(c) ||
                 std::string_view{"-._~%!$&'()*+,;="}.find(c) != std::string_view::npos;
        }))
      return false;
  }
  auto port = text.substr(end);
  return port.empty() || (port.starts_with(':') && std::ranges::all_of(port.substr(1), is_digit));
}

std::optional<response> read_target(std::string_view target, bool secure, request& into) {
  if (target == "*") {
    if (into.method != "OPTIONS")
      return bad("only OPTIONS can ask for *, the server as a whole");
    into.path = target;
    return std::nullopt;
  }
  if (target.find('#') != std::string_view::npos)
    return bad("the target of a request has no fragment");
  std::string from_root;
  if (!target.starts_with('/')) {
    auto scheme = target.find("://");
    if (scheme == std::string_view::npos)
      return bad("the target of a request is a path, or an address as a whole");
    auto authority = target.substr(scheme + 3);
    auto end = std::min(authority.find_first_of("/?"), authority.size());
    auto rest = authority.substr(end);
    authority = authority.substr(0, end);
    if (!is_authority(authority))
      return bad("the target of the request names no host");
    if (!same_name(target.substr(0, scheme), secure ? "https" : "http"))
      return problem(421, "invalid_argument",
                     fmt::format("only addresses of {} are served here", secure ? "https" : "http"));
    std::erase_if(into.headers, [](const auto& each) { return same_name(each.first, "host"); });
    into.headers.emplace_back("Host", authority); // HTTP/1.0 need not have sent one.
    // Without a path it is the root; OPTIONS means the server as a whole by that.
    if (rest.empty() && into.method == "OPTIONS") {
      into.path = "*";
      return std::nullopt;
    }
    from_root = rest.starts_with('/') ? rest : fmt::format("/{}", rest);
    target = from_root;
  }
  auto mark = target.find('?');
  into.path = target.substr(0, mark);
  if (mark != std::string_view::npos)
    into.query = target.substr(mark + 1);
  return std::nullopt;
}

} // namespace troupe::http
