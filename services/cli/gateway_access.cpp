#include "services/cli/gateway_access.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/json/parse.hpp"

#include <boost/json.hpp>

#include <cstdlib>
#include <sstream>

namespace troupe::cli {

namespace json = boost::json;

void gateway_options::bind(command_line::command& sub) {
  sub.add_option("--url", url, "Address of the gateway; else as catalog and data folder of the fleet say");
  sub.add_option("--api-key", key,
                 "API key by reference: file:PATH or env:NAME; else env:TROUPE_API_KEY where set");
  sub.add_option("--ca", ca_file, "PEM file that the certificate of an https gateway is checked against");
}

namespace {

expected<std::string> key_of(const std::string& reference) {
  if (reference.empty()) {
    const char* set = std::getenv("TROUPE_API_KEY");
    return std::string{set ? set : ""};
  }
  if (reference.starts_with("env:")) {
    const char* set = std::getenv(reference.c_str() + 4);
    if (!set)
      return fail(ec::not_found, "the environment has no {}", reference.substr(4));
    return std::string{set};
  }
  if (!reference.starts_with("file:"))
    return fail(ec::invalid_argument,
                "--api-key takes file:PATH or env:NAME, not the key itself: others could read it");
  TROUPE_TRY(text, read_file(reference.substr(5)));
  auto key = text.substr(0, text.find('\n'));
  if (key.empty())
    return fail(ec::not_found, "there is no key in {}", reference.substr(5));
  return key;
}

/// The first gateway as the catalog has it, where each is a host of its own; else empty.
std::string url_of(const service_entry& gateway) {
  std::string_view endpoint = gateway.endpoints.front();
  if (!gateway.own_hosts || !endpoint.starts_with("tcp://"))
    return {};
  auto& settings = gateway.settings.values;
  auto port = settings.find("http_port");
  bool tls = settings.contains("tls_certificate");
  endpoint.remove_prefix(6);
  return fmt::format("{}://{}:{}", tls ? "https" : "http", endpoint.substr(0, endpoint.rfind(':')),
                     port == settings.end() ? "8080" : to_text(port->second));
}

expected<std::string> default_url(context& own) {
  TROUPE_TRY(fleet, own.catalog());
  if (auto gateway = fleet->find("gateway"))
    if (auto url = url_of(**gateway); !url.empty())
      return url;
  auto file = own.data / "run" / "gateway-0.port";
  auto text = read_file(file);
  if (!text && text.error().code != ec::not_found)
    return with_context("looking for the gateway", text.error());
  std::istringstream in{text.value_or("")};
  std::string port, scheme;
  if (!(in >> port >> scheme))
    return fail(ec::unavailable,
                "no gateway runs in {}: there is no {}; start it with `troupe up`, or give --url",
                own.data.string(), file.string());
  return scheme + "://127.0.0.1:" + port;
}

} // namespace

expected<gateway_access> gateway_access::open(context& own, const gateway_options& given) {
  auto url = given.url;
  if (url.empty()) {
    TROUPE_TRY(found, default_url(own));
    url = std::move(found);
  }
  TROUPE_TRY(to, http::client_target::parse(url));
  to.ca_file = given.ca_file;
  TROUPE_TRY(key, key_of(given.key));
  http::header_list headers;
  if (!key.empty())
    headers.emplace_back("Authorization", "Bearer " + key);
  return gateway_access{http::client{std::move(to)}, std::move(headers), std::move(url)};
}

expected<json::value> gateway_access::call(std::string_view method, std::string_view target,
                                           std::string body) {
  auto headers = headers_;
  if (!body.empty())
    headers.emplace_back("Content-Type", "application/json");
  auto answered =
      client_.call(method, target, std::move(body), deadline::in(std::chrono::seconds{30}), headers);
  if (!answered)
    return fail(answered.error().code, "no gateway answers at {}: {}; `troupe status` says whether it runs",
                url_, answered.error().text);
  auto& got = *answered;
  auto read = parse_json(got.body);
  if (got.status == 401)
    return fail(
        ec::unauthorized,
        "the gateway asks for an API key: `troupe api-keys create NAME` makes one, --api-key file:PATH or "
        "TROUPE_API_KEY gives it");
  if (got.status / 100 == 2) {
    if (!read)
      return fail(ec::corrupt, "the gateway answered {} {} with no JSON", method, target);
    return std::move(*read);
  }
  auto code = got.status == 403                        ? ec::unauthorized
              : got.status == 404                      ? ec::not_found
              : got.status == 409                      ? ec::conflict
              : got.status == 429 || got.status == 503 ? ec::overloaded
              : got.status >= 500                      ? ec::unavailable
                                                       : ec::invalid_argument;
  return fail(code, "the gateway answered {} {} with {}: {}", method, target, got.status,
              read ? text_at(*read, "detail") : std::string{"no problem document"});
}

std::string text_at(const json::value& from, std::string_view key) {
  const auto* object = from.if_object();
  const auto* found = object ? object->if_contains(json::string_view{key.data(), key.size()}) : nullptr;
  const auto* text = found ? found->if_string() : nullptr;
  return text ? std::string{text->data(), text->size()} : std::string{};
}

double number_at(const json::value& from, std::string_view key) {
  const auto* object = from.if_object();
  const auto* found = object ? object->if_contains(json::string_view{key.data(), key.size()}) : nullptr;
  return found && found->is_number() ? found->to_number<double>() : 0;
}

} // namespace troupe::cli
