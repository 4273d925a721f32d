#include "services/cli/key_commands.hpp"

#include "common/command_line/command_line.hpp"
#include "common/security/api_keys.hpp"

namespace troupe::cli {

namespace {

struct key_options {
  std::string name;
  std::string scopes = "read";
  double rate = 0;
};

/// Where the gateways of the catalog look for keys: their setting api_keys, else api-keys.toml of the data
/// folder.
expected<std::filesystem::path> file_of(context& context) {
  TROUPE_TRY(fleet, context.catalog());
  TROUPE_TRY(gateway, fleet->find("gateway"));
  auto set = gateway->settings.values.find("api_keys");
  const auto* file = set == gateway->settings.values.end() ? nullptr : std::get_if<std::string>(&set->second);
  return file == nullptr || file->empty() ? context.data / "api-keys.toml" : fleet->resolve(*file);
}

/// A file that cannot be changed here, such as that of a container, is changed where it was made.
template <class T>
expected<T> changed_file(expected<T> done) {
  if (!done && done.error().code == ec::io_failed)
    return fail(ec::io_failed,
                "{}; gateways read that file, so make keys where it can be written (containers: docker/keys)",
                done.error().text);
  return done;
}

expected<void> create(context& context, const key_options& given) {
  TROUPE_TRY(scopes, security::parse_scopes(given.scopes));
  TROUPE_TRY(file, file_of(context));
  TROUPE_TRY(before, security::read_api_keys(file));
  TROUPE_TRY(key, changed_file(security::create_api_key(file, given.name, scopes, given.rate)));
  if (context.json)
    fmt::print("{{\"name\":{},\"key\":{},\"scopes\":{}}}\n", json_string(given.name), json_string(key),
               json_string(given.scopes));
  else {
    fmt::print("{}\n", key);
    fmt::print(
        stderr,
        "keep it: it is stored nowhere. Gateways know it within a second, and from now on ask everybody "
        "for a key\n");
    if (before.empty())
      fmt::print(stderr, "it is the first: a gateway that runs listens on 127.0.0.1 only until it is started "
                         "again\n");
  }
  return {};
}

expected<void> list(context& context) {
  TROUPE_TRY(file, file_of(context));
  TROUPE_TRY(keys, security::read_api_keys(file));
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

expected<void> revoke(context& context, const key_options& given) {
  TROUPE_TRY(file, file_of(context));
  TROUPE_CHECK(changed_file(security::revoke_api_key(file, given.name)));
  if (context.json)
    fmt::print("{{\"revoked\":{}}}\n", json_string(given.name));
  else
    fmt::print("revoked {}; gateways refuse it within a second\n", given.name);
  return {};
}

} // namespace

void add_key_commands(command_line::command& app, context& context) {
  auto* group = app.add_command("api-keys", "Keys of HTTP callers");
  group->require_command();
  auto options = std::make_shared<key_options>();
  auto* make = group->add_command("create", "Make a key and print it once");
  make->add_option("name", options->name, "What it is for")->required();
  make->add_option("--scopes", options->scopes, "read, write, admin; several with commas; admin includes all")
      ->check([](const std::string& text) {
        auto read = security::parse_scopes(text);
        return read ? std::string{} : read.error().text;
      })
      ->show_default();
  make->add_option("--rate", options->rate, "Requests a second; 0: as the gateway is set")->show_default();
  context.command(*make, [&context, options] { return create(context, *options); });
  context.command(*group->add_command("list", "Show all keys, without their secrets"),
                  [&context] { return list(context); });
  auto* end = group->add_command("revoke", "End a key");
  end->add_option("name", options->name, "Its name or id")->required();
  context.command(*end, [&context, options] { return revoke(context, *options); });
}

} // namespace troupe::cli
