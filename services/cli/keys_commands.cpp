#include "services/cli/keys_commands.hpp"

#include "common/command_line/command_line.hpp"
#include "common/security/keys.hpp"

#include <iostream>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;

struct keys_options {
  std::string name;
  std::string folder;
};

fs::path stem_of(const context& context, const keys_options& given) {
  auto folder = given.folder.empty() ? context.data / "keys" : fs::path{given.folder};
  return folder / given.name;
}

expected<void> generate(const context& context, const keys_options& given) {
  auto stem = stem_of(context, given);
  std::error_code err;
  fs::create_directories(stem.parent_path(), err);
  if (err)
    return fail(ec::io_failed, "cannot create folder {}: {}", stem.parent_path().string(), err.message());
  fs::permissions(stem.parent_path(), fs::perms::owner_all, err);
  auto keys = security::make_key_pair();
  TROUPE_CHECK(security::write_key_pair(stem, keys));
  if (context.json)
    fmt::print("{{\"name\":{},\"public\":{},\"secret_file\":{},\"public_file\":{}}}\n",
               json_string(given.name), json_string(keys.public_key), json_string(stem.string() + ".secret"),
               json_string(stem.string() + ".public"));
  else
    fmt::print("{}\nwrote {}.secret (keep it) and {}.public (give it away)\n", keys.public_key, stem.string(),
               stem.string());
  return {};
}

/// A pair for every service of the catalog and for the command line, where the files of `troupe catalog
/// render` look for them; those that are there stay.
expected<void> generate_fleet(context& context, const keys_options& given) {
  TROUPE_TRY(fleet, context.catalog());
  auto folder = given.folder.empty() ? fleet->folder() : fs::path{given.folder};
  auto secrets = folder / "secrets";
  auto open = folder / "fleet" / "keys";
  std::error_code err;
  for (const auto& each : {secrets, open}) {
    fs::create_directories(each, err);
    if (err)
      return fail(ec::io_failed, "cannot create folder {}: {}", each.string(), err.message());
  }
  std::vector<std::string> names{"cli"};
  for (const auto& entry : fleet->services())
    names.push_back(entry.name);
  std::size_t made = 0;
  for (const auto& name : names) {
    if (fs::exists(secrets / (name + ".secret"), err))
      continue;
    TROUPE_CHECK(security::write_key_pair(secrets / name, security::make_key_pair()));
    fs::rename(secrets / (name + ".public"), open / (name + ".public"), err);
    if (err)
      return fail(ec::io_failed, "cannot move {}.public to {}: {}", (secrets / name).string(), open.string(),
                  err.message());
    ++made;
  }
  if (context.json)
    fmt::print("{{\"made\":{},\"kept\":{},\"secrets\":{},\"public\":{}}}\n", made, names.size() - made,
               json_string(secrets.string()), json_string(open.string()));
  else
    fmt::print("{} key pairs made, {} kept: secrets in {}, public keys in {}\n", made, names.size() - made,
               secrets.string(), open.string());
  return {};
}

expected<void> show(const context& context, const keys_options& given) {
  TROUPE_TRY(key, security::read_public_key(stem_of(context, given).string() + ".public"));
  if (context.json)
    fmt::print("{{\"name\":{},\"public\":{}}}\n", json_string(given.name), json_string(key));
  else
    fmt::print("{}\n", key);
  return {};
}

} // namespace

void add_keys_commands(command_line::command& app, context& context) {
  auto* group = app.add_command("keys", "Key pairs for encrypted endpoints (CURVE)");
  group->require_command();
  auto options = std::make_shared<keys_options>();
  auto describe = [&](command_line::command* sub) {
    sub->add_option("name", options->name, "Whose keys: a service, or cli")->required();
    sub->add_option("--folder", options->folder, "Where the files lie; else <data>/keys");
    return sub;
  };
  context.command(*describe(group->add_command("generate", "Make a key pair; refuses to replace one")),
                  [&context, options] { return generate(context, *options); });
  auto* all = group->add_command("fleet", "Make the pairs of a fleet of containers; those that exist stay");
  all->add_option("folder", options->folder, "Gets secrets/ and fleet/keys/; else the folder of the catalog");
  context.command(*all, [&context, options] { return generate_fleet(context, *options); });
  context.command(*describe(group->add_command("show", "Print a public key")),
                  [&context, options] { return show(context, *options); });
}

} // namespace troupe::cli
