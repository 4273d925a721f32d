#include "services/gateway/http/admission.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/routes.hpp"

#include "common/core/text_start.hpp"
#include "common/http/problem.hpp"

#include <sodium.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <random>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

/// Who sent a request: a key, or an address where there are no keys.
struct caller {
  std::string id;
  double rate = 0; ///< Requests a second; 0: that of the gateway.
};

std::uint64_t secret_word() {
  std::uint64_t out = 0;
  randombytes_buf(&out, sizeof out);
  return out;
}

/// For ids of traces, which nobody must be unable to guess: without asking the system each time.
std::uint64_t random_word() {
  static thread_local std::mt19937_64 source{secret_word()};
  return source();
}

/// W3C Trace Context, 3.2: `00-<32 hex>-<16 hex>-<2 hex>`, of a later version perhaps with more behind it. A
/// new trace for anything else.
net::trace_context parse_trace(std::string_view header) {
  auto hex = [&](std::size_t at, std::size_t digits, std::uint64_t& out) {
    auto part = header.substr(at, digits);
    auto [end, err] = std::from_chars(part.data(), part.data() + part.size(), out, 16);
    return err == std::errc{} && end == part.data() + part.size() &&
           std::ranges::none_of(part, [](char c) { return c >= 'A' && c <= 'F'; });
  };
  net::trace_context out;
  std::uint64_t version = 0, parent = 0, flags = 0;
  bool good = header.size() >= 55 && hex(0, 2, version) && version != 255 &&
              (header.size() == 55 || (version > 0 && header[55] == '-')) && header[2] == '-' &&
              header[35] == '-' && header[52] == '-' && hex(3, 16, out.trace_high) &&
              hex(19, 16, out.trace_low) && hex(36, 16, parent) && hex(53, 2, flags) &&
              (out.trace_high | out.trace_low) != 0 && parent != 0;
  if (!good)
    out = {random_word(), random_word() | 1, 0, 0};
  else
    out.flags = static_cast<std::uint8_t>(flags & 1);
  out.span = random_word() | 1;
  return out;
}

/// The host in `http://localhost:8080`, `localhost:8080` or `[::1]:8080`.
std::string_view host_in(std::string_view text) {
  if (auto scheme = text.find("://"); scheme != std::string_view::npos)
    text.remove_prefix(scheme + 3);
  if (text.starts_with('['))
    return text.substr(1, text.find(']') - 1);
  return text.substr(0, text.find(':'));
}

/// Sent to a name of this machine, and not by a page from elsewhere: a browser would send those too.
bool local(const http::request& asked) {
  auto own = [](std::string_view text) {
    auto host = host_in(text);
    return text.empty() || host == "localhost" || http::is_loopback(host);
  };
  return own(asked.header("host")) && own(asked.header("origin"));
}

std::optional<http::response> find_route(gateway_deps& deps, exchange& one) {
  auto& path = one.request.path;
  if (path.find('%') != std::string::npos)
    if (auto whole = http::percent_decode(path); !whole)
      return http::problem(whole.error());
  auto found = deps.router.find(one.request.method, path);
  if (!found.found && found.allow.empty())
    return http::problem(404, "not_found",
                         "there is no such address; /openapi.json lists them, / says where to go");
  if (!found.found) {
    auto answer = one.request.method == "OPTIONS"
                      ? http::response{204, {}, {}}
                      : http::problem(405, "invalid_argument", "this address takes " + found.allow);
    answer.headers.emplace_back("Allow", found.allow);
    return answer;
  }
  one.to = &routes()[found.found->route];
  one.parameters = std::move(found.found->parameters);
  for (const auto& each : one.parameters)
    if (each.size() > 1'024 || !valid_utf8(each) || holds_control(each))
      return http::problem(400, "invalid_argument",
                           "an id in the address has at most 1024 bytes and is percent-encoded UTF-8 without "
                           "control characters");
  return std::nullopt;
}

std::optional<http::response> authorise(gateway_deps& deps, const exchange& one, caller& caller) {
  if (!deps.keys->guarded()) {
    caller.id = one.request.peer;
    if (local(one.request))
      return std::nullopt;
    return http::problem(403, "unauthorized",
                         "without API keys only programs of this machine are answered, and no page of a "
                         "browser that came from elsewhere; `troupe api-keys create` makes a key");
  }
  if (one.to->scope == 0)
    return std::nullopt;
  auto given = one.request.header("authorization");
  constexpr std::string_view scheme = "bearer ";
  bool bearer =
      given.size() > scheme.size() && std::ranges::equal(scheme, given.substr(0, scheme.size()),
                                                         [](char a, char b) { return a == (b | 0x20); });
  if (bearer)
    given.remove_prefix(scheme.size());
  else
    given = one.request.header("x-api-key");
  auto key = deps.keys->find(given);
  if (!key) {
    auto answer =
        http::problem(401, "unauthorized",
                      "give an API key: Authorization: Bearer KEY; `troupe api-keys create` makes one");
    answer.headers.emplace_back("WWW-Authenticate", "Bearer");
    return answer;
  }
  caller.id = key->id;
  caller.rate = key->rate;
  if (!key->may(static_cast<security::scope>(one.to->scope)))
    return http::problem(403, "unauthorized",
                         "this API key lacks the scope " + security::scopes_text(one.to->scope));
  return std::nullopt;
}

/// The query has the parameters of the route and no others; one is given once, unless it is a list. A name
/// that is written wrong would else be an answer to another question.
expected<void> read_query(exchange& one) {
  if (one.request.query.empty())
    return {};
  TROUPE_TRY(query, http::query_values::parse(one.request.query));
  one.query = std::move(query);
  const auto& given = one.query.all();
  auto known = words_in(one.to->parameters);
  for (auto each = given.begin(); each != given.end(); ++each) {
    const auto& name = each->first;
    bool list = std::ranges::find(known, name + "[]") != known.end();
    if (!list && (name.ends_with(']') || std::ranges::find(known, name) == known.end())) {
      std::string names;
      for (auto word : known)
        names += fmt::format("{}{}", names.empty() ? "" : ", ", word.substr(0, word.find('[')));
      return fail(ec::invalid_argument, "there is no query parameter '{}' here, {}", text_start(name, 64),
                  names.empty() ? "nor any other" : "only " + names);
    }
    if (name != "filter" && (!valid_utf8(each->second) || holds_control(each->second)))
      return fail(ec::invalid_argument, "the query parameter '{}' is no UTF-8 or holds a control character",
                  name);
    if (!list && std::any_of(given.begin(), each, [&](const auto& before) { return before.first == name; }))
      return fail(ec::invalid_argument, "the query parameter '{}' is given more than once", name);
  }
  return {};
}

/// Headers that mean one thing are there once: which of two counts would be a guess.
expected<void> check_headers(const exchange& one) {
  const auto& given = one.request.headers;
  std::string_view twice;
  auto look_for = [&](std::string_view name) {
    auto count =
        std::ranges::count_if(given, [&](const auto& each) { return http::same_name(each.first, name); });
    if (count > 1 && twice.empty())
      twice = name;
  };
  for_each_word(one.to->headers, look_for);
  look_for("Authorization");
  look_for("X-Api-Key");
  if (!twice.empty())
    return fail(ec::invalid_argument, "the header {} is given more than once", twice);
  return {};
}

/// What the header of a request says, its body aside.
std::optional<http::response> read_head(exchange& one) {
  if (auto read = read_query(one); !read)
    return http::problem(read.error());
  if (auto good = check_headers(one); !good)
    return http::problem(good.error());
  for (const auto& [name, value] : one.request.headers)
    if (http::same_name(name, "content-encoding") && !http::same_name(value, "identity")) {
      auto answer =
          http::problem(415, "invalid_argument", "a body is taken as it is, without a Content-Encoding");
      answer.headers.emplace_back("Accept-Encoding", "identity");
      return answer;
    }
  auto after = parse_token(one.request.header("x-consistency-token"));
  if (!after)
    return http::problem(after.error());
  one.after = std::move(*after);
  return std::nullopt;
}

/// All that can be said of a request without its body, and without counting it.
std::optional<http::response> examine(gateway_deps& deps, exchange& one, caller& caller) {
  if (auto refused = find_route(deps, one))
    return refused;
  if (auto refused = authorise(deps, one, caller))
    return refused;
  return read_head(one);
}

http::response too_many() {
  return http::problem({ec::overloaded, "the gateway has as many requests at work as it takes"}, 1s);
}

std::optional<http::response> limit(gateway_deps& deps, exchange& one, const caller& caller) {
  if (one.to->scope == 0)
    return std::nullopt;
  auto rate = caller.rate > 0 ? caller.rate : deps.settings->rate;
  if (auto wait = deps.keys->over_rate(caller.id, rate, deadline::clock::now())) {
    auto answer = http::problem(429, "overloaded", fmt::format("more than {} requests a second", rate));
    answer.headers.emplace_back("Retry-After", fmt::format("{:.0f}", std::ceil(wait->count())));
    return answer;
  }
  one.counted = true;
  if (++deps.in_flight > deps.settings->max_in_flight)
    return too_many();
  return std::nullopt;
}

} // namespace

std::optional<http::response> admit(gateway_deps& deps, exchange& one) {
  one.trace = parse_trace(one.request.header("traceparent"));
  caller caller;
  if (auto refused = examine(deps, one, caller))
    return refused;
  return limit(deps, one, caller);
}

std::optional<http::response> refuse_before_body(const std::shared_ptr<gateway_deps>& deps,
                                                 const http::request& head) {
  exchange one{deps, head, {}}; // Without anybody to answer: it only looks.
  caller caller;
  auto refused = examine(*deps, one, caller);
  if (!refused && one.to->scope != 0 && deps->in_flight >= deps->settings->max_in_flight)
    refused = too_many();
  if (refused)
    deps->seen->answered(one.to, refused->status, {}, one.us());
  return refused;
}

} // namespace troupe::gateway
