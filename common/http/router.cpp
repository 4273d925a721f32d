#include "common/http/router.hpp"

#include <algorithm>
#include <array>
#include <cassert>

namespace troupe::http {

namespace {

int hex_of(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

/// The segments of a path, as many as a pattern may have, and how many there are.
struct path_segments {
  static constexpr std::size_t most = 8;

  explicit path_segments(std::string_view path) {
    if (path.starts_with('/'))
      path.remove_prefix(1);
    for (;;) {
      auto slash = path.find('/');
      if (count < most)
        at[count] = path.substr(0, slash);
      ++count;
      if (slash == std::string_view::npos)
        return;
      path.remove_prefix(slash + 1);
    }
  }

  std::array<std::string_view, most> at;
  std::size_t count = 0;
};

bool is_parameter(std::string_view segment) {
  return segment.starts_with('{');
}

} // namespace

expected<std::string> percent_decode(std::string_view text, bool form) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (form && text[i] == '+') {
      out += ' ';
      continue;
    }
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    auto high = i + 2 < text.size() ? hex_of(text[i + 1]) : -1;
    auto low = i + 2 < text.size() ? hex_of(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return fail(ec::invalid_argument, "the address has a % that two hexadecimal digits do not follow");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                 c == '_' || c == '.' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

expected<query_values> query_values::parse(std::string_view query) {
  query_values out;
  while (!query.empty()) {
    auto end = query.find('&');
    auto part = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (part.empty())
      continue;
    auto equals = part.find('=');
    TROUPE_TRY(name, percent_decode(part.substr(0, equals), true));
    TROUPE_TRY(value, percent_decode(equals == std::string_view::npos ? "" : part.substr(equals + 1), true));
    out.values_.emplace_back(std::move(name), std::move(value));
  }
  return out;
}

std::optional<std::string_view> query_values::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : values_)
    if (key == name)
      return value;
  return std::nullopt;
}

std::size_t router::add(std::string method, std::string_view pattern, bool head) {
  route made{std::move(method), {}, false};
  made.head = head && made.method == "GET";
  path_segments of{pattern};
  assert(of.count <= path_segments::most);
  for (std::size_t i = 0; i < of.count; ++i)
    made.segments.emplace_back(of.at[i]);
  routes_.push_back(std::move(made));
  return routes_.size() - 1;
}

router::outcome router::find(std::string_view method, std::string_view path) const {
  outcome out;
  std::vector<std::string_view> allowed;
  auto allow = [&](const route& of) {
    for (std::string_view each : {std::string_view{of.method}, std::string_view{of.head ? "HEAD" : ""}})
      if (!each.empty() && std::ranges::find(allowed, each) == allowed.end())
        allowed.push_back(each);
  };
  path_segments segments{path};
  std::size_t fewest = ~std::size_t{0};
  for (std::size_t r = 0; r < routes_.size(); ++r) {
    const auto& each = routes_[r];
    if (path == "*")
      allow(each);
    if (each.segments.size() != segments.count)
      continue;
    match made{r, {}};
    bool fits = true;
    for (std::size_t i = 0; fits && i < segments.count; ++i) {
      if (!is_parameter(each.segments[i])) {
        fits = each.segments[i] == segments.at[i];
        continue;
      }
      auto value = percent_decode(segments.at[i]);
      fits = value && !value->empty();
      if (fits)
        made.parameters.push_back(std::move(*value));
    }
    if (!fits)
      continue;
    if (!each.takes(method)) {
      allow(each);
      continue;
    }
    if (made.parameters.size() < fewest) {
      fewest = made.parameters.size();
      out.found = std::move(made);
    }
  }
  if (out.found || allowed.empty())
    return out;
  for (auto each : allowed)
    out.allow += std::string{each} + ", ";
  out.allow += "OPTIONS";
  return out;
}

} // namespace troupe::http
