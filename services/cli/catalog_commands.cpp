#include "services/cli/catalog_commands.hpp"

#include "services/cli/container_fleet.hpp"
#include "services/cli/render.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/time.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iostream>

extern char** environ;

namespace troupe::cli {

namespace {

/// Has the service's own program check its settings; it says on stderr what is wrong.
expected<void> check_settings(const context& context, const catalog& fleet, const service_entry& entry) {
  auto program = (context.program.parent_path() / entry.binary).string();
  if (::access(program.c_str(), X_OK) != 0) {
    std::cerr << fmt::format("the settings of {} are not checked: there is no program {}\n", entry.name,
                             program);
    return {};
  }
  std::vector<std::string> args{program,  "--catalog",           fleet.file().string(),
                                "--data", fleet.data().string(), "--check"};
  std::vector<char*> argv;
  for (auto& arg : args)
    argv.push_back(arg.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  int failed = ::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0)
    return fail(ec::io_failed, "cannot run {}: {}", program, errno_text(failed));
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(ec::invalid_argument, "the settings of {} are not valid; the line above says why",
                entry.name);
  return {};
}

expected<void> check(context& context) {
  TROUPE_TRY(fleet, context.catalog());
  std::uint32_t replicas = 0;
  for (const auto& entry : fleet->services()) {
    TROUPE_CHECK(check_settings(context, *fleet, entry));
    replicas += entry.replicas;
  }
  if (context.json)
    fmt::print("{{\"valid\":true,\"file\":{},\"services\":{},\"replicas\":{},\"sha256\":{}}}\n",
               json_string(fleet->file().string()), fleet->services().size(), replicas,
               json_string(fleet->content()));
  else
    fmt::print("{} is valid: {} services, {} replicas\n", fleet->file().string(), fleet->services().size(),
               replicas);
  return {};
}

std::string span_text(std::chrono::milliseconds span) {
  return to_duration_text(span);
}

std::string list_json(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const auto& item : items)
    out += (out.size() > 1 ? "," : "") + json_string(item);
  return out + "]";
}

std::string json_of(const config_value& value) {
  if (const auto* text = std::get_if<std::string>(&value))
    return json_string(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value))
    return list_json(*list);
  return to_text(value);
}

std::string settings_json(const config_section& settings) {
  std::string out = "{";
  for (const auto& [key, value] : settings.values)
    out += fmt::format("{}{}:{}", out.size() > 1 ? "," : "", json_string(key), json_of(value));
  return out + "}";
}

std::string entry_json(const service_entry& entry) {
  return fmt::format(
      R"({{"name":{},"binary":{},"contract":{},"contract_version":{},"replicas":{},"least_replicas":{},"needs":{},"calls":{},"endpoints":{},)"
      R"("binds":{},"admin_address":{},"admin_port":{},"start_timeout":{},"drain_timeout":{},)"
      R"("retry_budget":{},"max_in_flight":{},"encrypted":{},"memory_bytes":{},"cpus":{},"container":{{)"
      R"("replicas":{},"most_replicas":{},"volume_bytes":{},"port":{},"settings":{}}},"settings":{}}})",
      json_string(entry.name), json_string(entry.binary), json_string(entry.contract), entry.contract_version,
      entry.replicas, entry.least_replicas, list_json(entry.needs), list_json(entry.calls),
      list_json(entry.endpoints), list_json(entry.binds), json_string(entry.admin_address), entry.admin_port,
      json_string(span_text(entry.start_timeout)), json_string(span_text(entry.drain_timeout)),
      entry.retry_budget, entry.max_in_flight, entry.curve.enabled(), entry.resources.memory_bytes,
      entry.resources.cpus, entry.container.replicas, entry.container.most_replicas,
      entry.container.volume_bytes, entry.container.port, settings_json(entry.container.settings),
      settings_json(entry.settings));
}

void print_entry(const service_entry& entry) {
  fmt::print("[{}]\n", entry.name);
  auto line = [](std::string_view key, const std::string& value) { fmt::print("  {:<16} {}\n", key, value); };
  line("contract", fmt::format("{} version {}", entry.contract, entry.contract_version));
  line("binary", entry.binary);
  line("replicas", entry.least_replicas == 0 ? fmt::format("{}", entry.replicas)
                                             : fmt::format("{} to {}", entry.least_replicas, entry.replicas));
  line("needs", entry.needs.empty() ? "-" : fmt::format("{}", fmt::join(entry.needs, ", ")));
  line("calls", entry.calls.empty() ? "-" : fmt::format("{}", fmt::join(entry.calls, ", ")));
  for (std::uint32_t replica = 0; replica < entry.replicas; ++replica) {
    auto bind = entry.binds[replica] == entry.endpoints[replica]
                    ? ""
                    : fmt::format(" (listens on {})", entry.binds[replica]);
    line(fmt::format("endpoint {}", replica), entry.endpoints[replica] + bind);
  }
  line("admin", entry.admin_port == 0 ? fmt::format("{}, any port", entry.admin_address)
                                      : fmt::format("http://{}:{}", entry.admin_address, entry.admin_port));
  line("timeouts",
       fmt::format("start {}, drain {}", span_text(entry.start_timeout), span_text(entry.drain_timeout)));
  line("retry_budget", fmt::format("{}", entry.retry_budget));
  line("max_in_flight", fmt::format("{}", entry.max_in_flight));
  line("encrypted",
       entry.curve.enabled() ? fmt::format("yes, {} callers allowed", entry.curve.allow.size()) : "no");
  for (const auto& [key, value] : entry.settings.values)
    line("settings." + key, to_text(value));
  const auto& box = entry.container;
  auto mebibytes = [](std::uint64_t bytes) {
    return bytes == 0 ? std::string{"none"} : fmt::format("{} MiB", bytes >> 20);
  };
  auto limit = [](double value, std::string text) { return value == 0 ? "not limited" : std::move(text); };
  line("resources", fmt::format("memory {}, processors {}",
                                limit(static_cast<double>(entry.resources.memory_bytes),
                                      mebibytes(entry.resources.memory_bytes)),
                                limit(entry.resources.cpus, fmt::format("{}", entry.resources.cpus))));
  auto least = containers_of(entry), most = endpoints_of(entry, container_target::kubernetes);
  line("container", fmt::format("{} of it{}, volume {}{}", least,
                                most > least ? fmt::format(", under load up to {}", most) : "",
                                mebibytes(box.volume_bytes),
                                box.port == 0 ? "" : fmt::format(", HTTP port {}", box.port)));
  for (const auto& [key, value] : box.settings.values)
    line("container.settings." + key, to_text(value));
}

expected<void> show(context& context) {
  TROUPE_TRY(fleet, context.catalog());
  if (context.json) {
    std::string services;
    for (const auto& entry : fleet->services())
      services += (services.empty() ? "" : ",") + entry_json(entry);
    fmt::print("{{\"fleet\":{},\"file\":{},\"data\":{},\"services\":[{}]}}\n", json_string(fleet->fleet()),
               json_string(fleet->file().string()), json_string(fleet->data().string()), services);
    return {};
  }
  fmt::print("fleet {} from {}, data in {}\n", fleet->fleet(), fleet->file().string(),
             fleet->data().string());
  for (const auto& entry : fleet->services())
    print_entry(entry);
  return {};
}

expected<void> write_files(context& context, const std::string& out,
                           const expected<rendered_files>& rendered) {
  TROUPE_TRY(fleet, context.catalog());
  TROUPE_TRY(files, rendered);
  std::vector<std::string> wrote;
  auto folder = out.empty() ? fleet->folder() : std::filesystem::path{out};
  for (const auto& [path, text] : files) {
    auto file = folder / path;
    std::error_code err;
    std::filesystem::create_directories(file.parent_path(), err);
    std::ofstream written{file, std::ios::binary | std::ios::trunc};
    written << text;
    if (!written.flush())
      return fail(ec::io_failed, "cannot write {}: {}", file.string(), errno_text(errno));
    wrote.push_back(file.string());
    if (!context.json)
      fmt::print("wrote {}\n", wrote.back());
  }
  if (context.json)
    fmt::print("{{\"wrote\":{}}}\n", list_json(wrote));
  return {};
}

} // namespace

void add_catalog_commands(command_line::command& app, context& context) {
  auto* group = app.add_command("catalog", "The catalog of the fleet");
  group->require_command();
  auto* check_sub =
      group->add_command("check", "Whether the catalog and the settings of every service are valid");
  context.command(*check_sub, [&context] { return check(context); });
  auto* show_sub = group->add_command("show", "Every service with its endpoints, limits and settings");
  context.command(*show_sub, [&context] { return show(context); });
  auto* render = group->add_command("render", "Write the files that run the fleet in containers");
  render->require_command();
  auto out = std::make_shared<std::string>();
  auto describe = [&](const char* name, const char* what) {
    auto* sub = render->add_command(name, what);
    sub->add_option("--out", *out, "Folder to write into; else that of the catalog");
    return sub;
  };
  context.command(*describe("compose", "compose.yaml, fleet/catalog.toml and prometheus/prometheus.yml"),
                  [&context, out]() -> expected<void> {
                    TROUPE_TRY(fleet, context.catalog());
                    return write_files(context, *out, render_compose(*fleet));
                  });
  auto images = std::make_shared<image_names>();
  auto* kubernetes = describe("kubernetes", "kubernetes.yaml, with the files of fleet/ in it");
  kubernetes
      ->add_option("--images", images->prefix, "Where the images lie, as TROUPE_IMAGES of scripts/images")
      ->show_default();
  kubernetes->add_option("--tag", images->tag, "Their tag, as TROUPE_TAG of scripts/images")->show_default();
  context.command(*kubernetes, [&context, out, images]() -> expected<void> {
    TROUPE_TRY(fleet, context.catalog());
    return write_files(context, *out, render_kubernetes(*fleet, *images));
  });
}

} // namespace troupe::cli
