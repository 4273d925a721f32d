#include "services/gateway/answer.hpp"

#include "common/core/hash.hpp"
#include "common/json/parse.hpp"
#include "common/log/log.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <charconv>

namespace troupe::gateway {

namespace {

/// W3C Trace Context, 3.2: `00-<32 hex>-<16 hex>-<2 hex>`, of a later version perhaps with more behind it. A
/// new trace for anything else.
net::trace_context read_trace(std::string_view header) {
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

} // namespace

api::api(api_parts parts) : parts_{std::move(parts)}, settings_{*parts_.settings} {
  if (parts_.metrics) {
    auto degraded = [&](const char* how) {
      return parts_.metrics->counter("troupe_gateway_degraded_answers_total",
                                     "Answers with items that say `degraded`: of the fallback list, or of a "
                                     "ranker that lacked something.",
                                     {{"how", how}});
    };
    fallbacks_ = degraded("fallback");
    lesser_ = degraded("ranked");
  }
  for (const auto& each : routes())
    router_.add(each.method, each.pattern);
}

api::~api() {
  stop();
  std::unique_lock lock{stop_mutex_};
  stop_wake_.wait(lock, [&] { return under_way_ == 0; });
}

net::client::done api::noted(net::client::done then) {
  {
    std::lock_guard lock{stop_mutex_};
    ++under_way_;
  }
  return [this, then = std::move(then)](expected<net::reply> got) {
    then(std::move(got));
    std::lock_guard lock{stop_mutex_};
    --under_way_;
    stop_wake_.notify_all();
  };
}

expected<std::shared_ptr<api>> api::open(api_parts parts) {
  if (::sodium_init() < 0)
    return fail(ec::internal, "libsodium does not start");
  std::shared_ptr<api> made{new api{std::move(parts)}};
  auto& own = *made;
  TROUPE_TRY(keys, key_ring::open(own.parts_.key_file));
  own.keys_ = std::move(keys);
  journal_options how{own.settings_.queue_answers, own.settings_.sync_impressions,
                      own.settings_.inspect_recent, own.settings_.inspect_ttl};
  auto ingest = own.parts_.behind.ingest;
  auto who = own.parts_.who;
  auto* self = &own;
  TROUPE_TRY(kept, journal::open(
                       own.parts_.state, how,
                       [self, ingest](const std::vector<record>& records) -> expected<std::uint64_t> {
                         TROUPE_TRY(client, must_have(ingest, "ingest"));
                         FlatBufferBuilder out;
                         auto held = encode_batch(std::span<const record>{records});
                         auto source = out.CreateString("gateway");
                         auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(held.data()),
                                                       held.size());
                         out.Finish(wire::CreateAppend(out, source, batch), "TRPI");
                         TROUPE_TRY(got, self->ask_and_wait(*client, wire::Kind::append, bytes_of(out), 10s));
                         TROUPE_TRY(reply, read_as<wire::AppendReply>(got.payload, "TRPI", "AppendReply"));
                         std::uint64_t refused = 0;
                         if (reply->rows())
                           for (const auto* each : *reply->rows())
                             refused += each->outcome() == wire::Outcome::quarantined;
                         return refused;
                       }));
  own.journal_ = std::move(kept);
  TROUPE_TRY(table, own.journal_->fact("routing"));
  if (table)
    if (auto read = routing_table::read(chunk::own(std::move(*table))))
      own.routing_.set(std::make_shared<const routing_table>(std::move(*read)));
  TROUPE_TRY(list, own.journal_->fact("trending"));
  if (list) {
    if (auto read = parse_json(*list); read && read->is_array())
      for (const auto& each : read->get_array())
        own.trending_.push_back(
            {json::value_to<std::string>(each.at(0)), json::value_to<std::string>(each.at(1))});
  }
  own.routing_thread_ = std::thread{[self] { self->routing_loop(); }};
  own.report_thread_ = std::thread{[self] { self->report_loop(); }};
  own.chores_thread_ = std::thread{[self] { self->chores_loop(); }};
  return made;
}

void api::stop() {
  {
    std::lock_guard lock{stop_mutex_};
    stopping_ = true;
  }
  stop_wake_.notify_all();
  for (auto* each : {&routing_thread_, &report_thread_, &chores_thread_})
    if (each->joinable())
      each->join();
  if (journal_)
    journal_->stop();
}

void api::serve(http::request asked, http::responder respond) {
  auto one = std::make_shared<call>();
  one->asked = std::move(asked);
  one->respond = std::move(respond);
  try {
    one->trace = read_trace(one->asked.header("traceparent"));
    for (auto step : {&api::find_route, &api::authorise, &api::admit})
      if (auto refused = (this->*step)(*one))
        return finish(one, std::move(*refused));
    dispatch(one);
  } catch (const std::exception& err) {
    refuse(one, {ec::internal, err.what()});
  }
}

std::optional<http::response> api::find_route(call& one) {
  auto& path = one.asked.path;
  if (auto whole = http::percent_decode(path); !whole)
    return http::problem(whole.error());
  auto found = router_.find(one.asked.method, path);
  if (!found.found && found.allow.empty())
    return http::problem(404, "not_found", "there is no such address; /openapi.json lists them");
  if (found.found)
    one.to = &routes()[found.found->route];
  // An answer that nobody sees would be an impression that nobody had.
  bool blind = one.to && one.to->what == operation::recommend_user && one.asked.method == "HEAD";
  if (!found.found || blind) {
    auto allow = blind ? std::string{"GET"} : found.allow;
    auto answer = http::problem(405, "invalid_argument", "this address takes " + allow);
    answer.headers.emplace_back("Allow", allow);
    return answer;
  }
  one.parameters = std::move(found.found->parameters);
  for (const auto& each : one.parameters)
    if (each.size() > 1'024 || !valid_utf8(each))
      return http::problem(400, "invalid_argument",
                           "an id in the address has at most 1024 bytes and is percent-encoded UTF-8");
  return std::nullopt;
}

std::optional<http::response> api::authorise(call& one) {
  if (!keys_->guarded()) {
    one.caller = one.asked.peer;
    if (local(one.asked))
      return std::nullopt;
    return http::problem(403, "unauthorized",
                         "without API keys only programs of this machine are answered, and no page of a "
                         "browser that came from elsewhere; `troupe api-keys create` makes a key");
  }
  if (one.to->scope == 0)
    return std::nullopt;
  auto given = one.asked.header("authorization");
  constexpr std::string_view scheme = "bearer ";
  bool bearer =
      given.size() > scheme.size() && std::ranges::equal(scheme, given.substr(0, scheme.size()),
                                                         [](char a, char b) { return a == (b | 0x20); });
  if (bearer)
    given.remove_prefix(scheme.size());
  else
    given = one.asked.header("x-api-key");
  auto key = keys_->find(given);
  if (!key) {
    auto answer =
        http::problem(401, "unauthorized",
                      "give an API key: Authorization: Bearer KEY; `troupe api-keys create` makes one");
    answer.headers.emplace_back("WWW-Authenticate", "Bearer");
    return answer;
  }
  one.caller = key->id;
  one.rate = key->rate;
  if (!key->may(static_cast<security::scope>(one.to->scope)))
    return http::problem(403, "unauthorized",
                         "this API key lacks the scope " + security::scopes_text(one.to->scope));
  return std::nullopt;
}

std::optional<http::response> api::admit(call& one) {
  auto query = http::query_values::parse(one.asked.query);
  if (!query)
    return http::problem(query.error());
  one.query = std::move(*query);
  if (auto coding = one.asked.header("content-encoding"); !coding.empty() && coding != "identity")
    return http::problem(415, "invalid_argument", "a body is taken as it is, without a Content-Encoding");
  auto after = read_token(one.asked.header("x-consistency-token"));
  if (!after)
    return http::problem(after.error());
  one.after = std::move(*after);
  if (one.to->scope == 0)
    return std::nullopt;
  auto rate = one.rate > 0 ? one.rate : settings_.rate;
  if (auto wait = keys_->over_rate(one.caller, rate, deadline::clock::now())) {
    auto answer = http::problem(429, "overloaded", fmt::format("more than {} requests a second", rate));
    answer.headers.emplace_back("Retry-After", fmt::format("{:.0f}", std::ceil(wait->count())));
    return answer;
  }
  one.counted = true;
  if (++in_flight_ > settings_.max_in_flight)
    return http::problem({ec::overloaded, "the gateway has as many requests at work as it takes"}, 1s);
  return std::nullopt;
}

void api::refuse(const call_ptr& one, const error& err) {
  // Where a service behind us does not know our key, the caller's is not the one at fault.
  if (err.code == ec::unauthorized)
    return refuse(one, {ec::unavailable, "a service behind the gateway refuses it: " + err.text});
  bool later = err.code == ec::overloaded || err.code == ec::unavailable || err.code == ec::stopping;
  finish(one, http::problem(err, later ? 1000ms : 0ms));
}

void api::observe(const route* to, unsigned status, const std::string& arm, std::uint64_t us) {
  if (!parts_.metrics)
    return;
  metrics::histogram into;
  {
    std::lock_guard lock{latencies_mutex_};
    auto [at, fresh] = latencies_.try_emplace({to, status / 100, arm});
    if (fresh)
      at->second = parts_.metrics->histogram(
          "troupe_gateway_request_seconds", "Time from the last byte of a request to its answer.",
          {{"route", to ? fmt::format("{} {}", to->method, to->pattern) : "none"},
           {"status", fmt::format("{}xx", status / 100)},
           {"arm", arm}});
    into = at->second;
  }
  into.observe(static_cast<double>(us) / 1e6);
}

void api::finish(const call_ptr& one, http::response given) {
  if (!one->respond)
    return;
  given.headers.emplace_back("traceparent",
                             fmt::format("00-{:016x}{:016x}-{:016x}-{:02x}", one->trace.trace_high,
                                         one->trace.trace_low, one->trace.span, one->trace.flags));
  if (!one->request_id.empty())
    given.headers.emplace_back("X-Request-Id", one->request_id);
  if (!one->token.empty())
    given.headers.emplace_back("X-Consistency-Token", one->token);
  observe(one->to, given.status, one->arm.name, one->us());
  if (one->counted)
    --in_flight_;
  one->respond.reply(std::move(given));
}

void api::dispatch(const call_ptr& one) {
  const auto& body = one->asked.body;
  row_rules rules{record_kind::event, std::string{one->asked.header("idempotency-key")}, settings_.max_rows,
                  wall_now()};
  auto rows = [&](record_kind kind) {
    rules.kind = kind;
    auto read = read_rows(body, rules);
    if (!read && read.error().code == ec::overloaded)
      return finish(one, http::problem(413, "too_large", read.error().text));
    if (!read)
      return refuse(one, read.error());
    write_rows(one, std::move(*read));
  };
  auto entity = [&](record_kind kind, std::string_view text) {
    rules.kind = kind;
    auto read = read_entity(text, one->parameters[0], rules);
    if (!read)
      return refuse(one, read.error());
    std::vector<row> list;
    list.push_back(std::move(*read));
    write_rows(one, std::move(list));
  };
  using enum operation;
  switch (one->to->what) {
  case live:
    return finish(one, {200, "text/plain; charset=utf-8", "live\n"});
  case ready: {
    bool good = !parts_.health || parts_.health->read().ready;
    return finish(one, {good ? 200u : 503u, "application/json",
                        parts_.health ? parts_.health->json() : "{\"ready\":true}"});
  }
  case operation::metrics:
    return finish(
        one, {200, "text/plain; version=0.0.4; charset=utf-8", parts_.metrics ? parts_.metrics->text() : ""});
  case operation::openapi:
    return finish(one, {200, "application/json", openapi_});
  case events:
    return rows(record_kind::event);
  case items:
    return rows(record_kind::item);
  case users:
    return rows(record_kind::user);
  case put_item:
    return entity(record_kind::item, body);
  case put_user:
    return entity(record_kind::user, body);
  case delete_item:
    return entity(record_kind::item, R"({"attributes":{"deleted":true}})");
  case delete_user:
    return entity(record_kind::user, R"({"attributes":{"deleted":true}})");
  case get_item:
    return read_entity_of(one, "item");
  case get_user:
    return read_entity_of(one, "user");
  case recommend_user:
  case operation::recommend:
    return this->recommend(one);
  case similar:
    return similar_items(one);
  case inspect:
    return inspect_request(one);
  default:
    return pass_on(one, one->to->what, one->parameters.empty() ? std::string{} : one->parameters[0],
                   one->query, body);
  }
}

} // namespace troupe::gateway
