#include "services/cli/key_commands.hpp"

#include "common/security/api_keys.hpp"

#include <CLI/CLI.hpp>

namespace troupe::cli {

namespace {

struct key_options {
  std::string name;
  std::string scopes = "read";
  double rate = 0;
};

std::filesystem::path file_of(const context& context) {
  return context.data / "api-keys.toml";
}

expected<void> create(const context& context, const key_options& given) {
  TROUPE_TRY(scopes, security::parse_scopes(given.scopes));
  TROUPE_TRY(key, security::create_api_key(file_of(context), given.name, scopes, given.rate));
  if (context.json)
    fmt::print("{{\"name\":{},\"key\":{},\"scopes\":{}}}\n", json_string(given.name), json_string(key),
               json_string(given.scopes));
  else {
    fmt::print("{}\n", key);
    fmt::print(
        stderr,
        "keep it: it is stored nowhere. Gateways know it within a second, and from now on ask everybody "
        "for a key\n");
  }
  return {};
}

expected<void> list(const context& context) {
  TROUPE_TRY(keys, security::read_api_keys(file_of(context)));
  std::string out;
  for (const auto& each : keys) {
    if (context.json)
      out += fmt::format(R"({}{{"id":{},"name":{},"scopes":{},"rate":{},"created":{},"revoked":{}}})",
                         out.empty() ? "" : ",", json_string(each.id), json_string(each.name),
                         json_string(security::scopes_text(each.scopes)), each.rate,
                         json_string(to_rfc3339(each.created)), each.revoked);
    else
      out +=
          fmt::format("{}  {:<24} {:<16} {:<20} {}\n", each.id, each.name, security::scopes_text(each.scopes),
                      each.rate > 0 ? fmt::format("{}/s", each.rate) : "no own rate",
                      each.revoked ? "revoked" : "since " + to_rfc3339(each.created));
  }
  if (context.json)
    fmt::print("{{\"keys\":[{}]}}\n", out);
  else
    fmt::print("{}", out.empty() ? "there are no API keys: gateways serve loopback only\n" : out);
  return {};
}

expected<void> revoke(const context& context, const key_options& given) {
  TROUPE_CHECK(security::revoke_api_key(file_of(context), given.name));
  if (context.json)
    fmt::print("{{\"revoked\":{}}}\n", json_string(given.name));
  else
    fmt::print("revoked {}; gateways refuse it within a second\n", given.name);
  return {};
}

} // namespace

void add_key_commands(CLI::App& app, context& context) {
  auto* group = app.add_subcommand("api-keys", "Keys of HTTP callers");
  group->require_subcommand(1);
  auto options = std::make_shared<key_options>();
  auto* make = group->add_subcommand("create", "Make a key and print it once");
  make->add_option("name", options->name, "What it is for")->required();
  make->add_option("--scopes", options->scopes, "read, write, admin; several with commas; admin includes all")
      ->capture_default_str();
  make->add_option("--rate", options->rate, "Requests a second; 0: as the gateway is set")
      ->capture_default_str();
  context.command(*make, [&context, options] { return create(context, *options); });
  context.command(*group->add_subcommand("list", "Show all keys, without their secrets"),
                  [&context] { return list(context); });
  auto* end = group->add_subcommand("revoke", "End a key");
  end->add_option("name", options->name, "Its name or id")->required();
  context.command(*end, [&context, options] { return revoke(context, *options); });
}

} // namespace troupe::cli
