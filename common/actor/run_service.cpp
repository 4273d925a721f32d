#include "common/actor/run_service.hpp"

#include "common/actor/component_runner.hpp"
#include "common/actor/signal_watch.hpp"
#include "common/command_line/command_line.hpp"
#include "common/command_line/exit_codes.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/resource_limits.hpp"
#include "common/http/client.hpp"
#include "common/http/server.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iostream>
#include <thread>

namespace troupe::detail {

namespace {

using namespace std::chrono_literals;

/// What the command line of a service says.
struct flags {
  std::string catalog = "compose/catalog.toml";
  std::string data = "troupe-data";
  std::uint32_t replica = 0;
  std::string config;
  std::vector<std::string> set;
  int admin_port = -1;
  int ready_fd = -1;
  bool check = false;
  bool probe = false;
};

/// The keys that every service has.
struct runtime_config {
  std::uint32_t threads = std::clamp(std::thread::hardware_concurrency(), 2u, 4u);
  std::string log_level = "info";

  void bind(config_keys& keys) {
    keys.add("threads", threads, "Threads of the actor scheduler.", between(1, 256));
    keys.add("log_level", log_level, "The least level that is written.",
             one_of({"debug", "info", "warn", "error"}));
  }
};

/// Of a start that failed.
int exit_code_of(const error& err) {
  return err.code == ec::already_exists ? exit_address_in_use : exit_failed;
}

int complain(const std::string& name, const error& err, int code) {
  log::error("start-failed", "{} cannot start: {}", name, err.text);
  log::flush();
  return code;
}

/// Holds the data folder of a replica for this process alone, until the process ends.
expected<int> lock_folder(const std::filesystem::path& folder) {
  TROUPE_CHECK(make_own_folder(folder));
  auto file = (folder / "lock").string();
  int fd = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(errno_code(errno), "cannot open {}: {}", file, errno_text(errno));
  ::fchmod(fd, 0600); // It may have been made by an older version.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return fail(ec::conflict,
                "data folder {} is in use by another process; stop that one first, or give another --data",
                folder.string());
  }
  return fd;
}

http::response admin(const http::request& asked, const metrics::registry& registry, const health& state) {
  bool known = asked.path == "/metrics" || asked.path == "/health/live" || asked.path == "/health/ready";
  bool about = asked.method == "OPTIONS" && (known || asked.path == "*");
  if (about || (known && asked.method != "GET" && asked.method != "HEAD"))
    return {
        about ? 204u : 405u, "text/plain; charset=utf-8", "only GET\n", {{"Allow", "GET, HEAD, OPTIONS"}}};
  if (asked.path == "/metrics")
    return {200, "text/plain; version=0.0.4; charset=utf-8", registry.text()};
  if (asked.path == "/health/live")
    return {200, "text/plain; charset=utf-8", "live\n"};
  if (asked.path == "/health/ready")
    return {state.read().ready ? 200u : 503u, "application/json", state.json()};
  return {404, "text/plain; charset=utf-8", "there is /metrics, /health/live and /health/ready\n"};
}

/// Whether the service is ready, the gauges of `status`, and the room on the disk of its state.
void export_health(metrics::registry& registry, const std::shared_ptr<health>& state,
                   const std::filesystem::path& data) {
  auto ready = registry.gauge("troupe_service_ready", "1 when the service is ready.");
  auto free = registry.gauge("troupe_service_disk_free_bytes", "Room left on the disk of its state.");
  auto size = registry.gauge("troupe_service_disk_size_bytes", "Size of the disk of its state.");
  registry.on_read([&registry, state, data, ready, free, size]() mutable {
    auto now = state->read();
    ready.set(now.ready ? 1 : 0);
    std::error_code err;
    if (auto space = std::filesystem::space(data, err); !err) {
      free.set(static_cast<double>(space.available));
      size.set(static_cast<double>(space.capacity));
    }
    for (const auto& [name, value] : now.gauges)
      registry
          .gauge("troupe_service_status", "The numbers that troupe status shows, by name.", {{"name", name}})
          .set(value);
  });
}

struct launch {
  std::string name;
  std::string identity; ///< For the log.
  flags given;
  catalog_ptr catalog;
  const service_entry* entry = nullptr;
  runtime_config runtime;
};

/// The settings of the service, as `from` and the command line give them.
expected<config_section> settings_of(const launch& start, const service_entry& from) {
  auto section = from.settings;
  if (!start.given.config.empty()) {
    TROUPE_TRY(file, read_config(start.given.config));
    section.origin = start.given.config;
    for (auto& [key, value] : file.values)
      section.values.insert_or_assign(key, value);
  }
  for (const auto& assignment : start.given.set)
    TROUPE_CHECK(section.set(assignment));
  if (!start.given.set.empty())
    section.origin += " and --set";
  return section;
}

/// Reads the catalog and the settings; everything that is the user's to get right.
expected<config_keys> prepare(launch& start, const service_config& config) {
  TROUPE_TRY(read, catalog::load(start.given.catalog, start.given.data));
  start.catalog = std::make_shared<const catalog>(std::move(read));
  TROUPE_TRY(entry, start.catalog->find(start.name));
  start.entry = entry;
  if (start.given.replica >= entry->replicas)
    return fail(ec::invalid_argument, "--replica {}: the catalog gives {} {} replicas, numbered from 0",
                start.given.replica, start.name, entry->replicas);
  TROUPE_TRY(section, settings_of(start, *entry));
  config_keys keys;
  start.runtime.bind(keys);
  config.bind(keys);
  TROUPE_CHECK(keys.load(section));
  TROUPE_CHECK(config.validate());
  return keys;
}

/// Asks the service that runs on this machine whether it is ready, for health checks of containers: the exit
/// code.
int probe(const launch& start) {
  auto read = catalog::load(start.given.catalog, start.given.data);
  if (!read)
    return complain(start.name, read.error(), exit_usage);
  auto entry = read->find(start.name);
  if (!entry)
    return complain(start.name, entry.error(), exit_usage);
  http::client_target to;
  to.port = start.given.admin_port > 0 ? static_cast<std::uint16_t>(start.given.admin_port)
                                       : (*entry)->port_of((*entry)->admin_port, start.given.replica);
  auto answer = http::client{to}.call("GET", "/health/ready", {}, deadline::in(2s));
  if (!answer) {
    std::cout << answer.error().text << '\n';
    return exit_failed;
  }
  std::cout << answer->body << '\n';
  return answer->status == 200 ? 0 : exit_failed;
}

void say_ready(const launch& start, std::string_view identity) {
  log::info("ready", "{} is ready at {}", identity, start.entry->binds[start.given.replica]);
  if (start.given.ready_fd >= 0) {
    (void)!::write(start.given.ready_fd, "ready\n", 6);
    ::close(start.given.ready_fd);
  }
}

/// Whether a change of this key concerns us: all of ours, and how the services that we call are reached.
bool concerns(const service_entry& us, std::string_view key) {
  auto dot = key.find('.');
  auto service = key.substr(0, dot);
  if (dot == key.npos || service == us.name)
    return true;
  auto rest = key.substr(dot + 1);
  return std::ranges::find(us.calls, service) != us.calls.end() &&
         (rest == "endpoint" || rest == "replicas" || rest == "retry_budget" || rest == "max_in_flight" ||
          rest.starts_with("curve."));
}

void take_changed_catalog(const launch& start, service_context& context) {
  auto changed = context.watch()->check();
  if (!changed)
    return log::warn("catalog-refused", "{}", changed.error().text);
  std::erase_if(*changed, [&](const std::string& key) { return !concerns(*start.entry, key); });
  if (changed->empty())
    return;
  auto entry = context.catalog()->find(start.name);
  if (!entry)
    return log::warn("catalog-refused", "{} runs on, and is no longer in the catalog {}", context.identity(),
                     context.catalog()->file().string());
  if (auto settings = settings_of(start, **entry)) {
    auto level = settings->values.find("log_level");
    const auto* name = level == settings->values.end() ? nullptr : std::get_if<std::string>(&level->second);
    log::start(
        {.identity = start.identity, .least = log::level_of(name ? *name : runtime_config{}.log_level)});
  }
  log::info("catalog-changed", "{} took the changed catalog {}: {}", context.identity(),
            context.catalog()->file().string(), describe_change(*changed));
}

/// Waits for the end: a signal, or the death of a component. Gives the exit code.
int serve(const launch& start, service_context& context, component_runner& runner,
          const signal_watch& signals) {
  bool announced = false;
  descriptor_watch descriptors{context.health()};
  auto next_look = std::chrono::steady_clock::now() + 2s;
  while (!signals.asked_to_stop()) {
    if (auto dead = runner.wait(announced ? 500ms : 20ms)) {
      context.health()->add(context.health(), "service").failed(*dead);
      log::error("component-died", "{} stops because {}", context.identity(), dead->text);
      return exit_failed;
    }
    if (!announced && context.health()->read().ready) {
      announced = true;
      say_ready(start, context.identity());
    }
    if (std::chrono::steady_clock::now() < next_look)
      continue;
    next_look = std::chrono::steady_clock::now() + 2s;
    descriptors.look();
    take_changed_catalog(start, context);
  }
  return 0;
}

int live(const launch& start, const list_components& list, const service_config& config,
         signal_watch& signals) {
  auto replica = start.given.replica;
  auto data = start.catalog->data_of(start.name, replica);
  auto lock = lock_folder(data);
  if (!lock)
    return complain(start.name, lock.error(), exit_failed);
  if (auto made = make_own_folder(start.catalog->data() / "run"); !made)
    return complain(start.name, made.error(), exit_failed);

  for (const auto& each : misfits(start.name, config.holds(), resources::of(data)))
    log::warn("does-not-fit", "{}", each);

  service_context::parts parts;
  parts.service = start.name;
  parts.replica = replica;
  parts.data = data;
  parts.watch = std::make_shared<catalog_watch>(start.catalog);
  parts.health = health::make(start.name, replica);
  auto registry = parts.registry;
  auto state = parts.health;
  export_health(*registry, state, data);

  auto port = start.given.admin_port >= 0 ? start.given.admin_port
                                          : start.entry->port_of(start.entry->admin_port, replica);
  auto server = http::server::start(
      {.address = start.entry->admin_address, .port = static_cast<std::uint16_t>(port)},
      [registry, state](const http::request& asked) { return admin(asked, *registry, *state); });
  if (!server)
    return complain(start.name,
                    {server.error().code,
                     fmt::format("component admin: key admin_port = {}: {}", port, server.error().text)},
                    exit_code_of(server.error()));
  auto admin_file = start.catalog->data() / "run" / fmt::format("{}-{}.admin", start.name, replica);
  std::ofstream{admin_file, std::ios::trunc} << start.entry->admin_address << ':' << (*server)->port()
                                             << '\n';

  caf::actor_system_config caf_config;
  caf_config.set("scheduler.policy", caf::atom("sharing"));
  caf_config.set("scheduler.max-threads", static_cast<std::size_t>(start.runtime.threads));
  int code = 0;
  {
    caf::actor_system system{caf_config};
    parts.system = &system;
    auto context = config.make_context(std::move(parts));
    {
      auto components = list(); // Outlives what is made of it, and is gone before the actor system.
      component_runner runner{context};
      signals.on_stop(runner.waker());
      auto started = runner.start(components, [&] { return signals.asked_to_stop(); });
      if (!started) {
        code = complain(start.name, started.error(), exit_code_of(started.error()));
      } else {
        state->set_phase(health::phase::running);
        code = serve(start, context, runner, signals);
      }
      state->set_phase(health::phase::draining);
      auto now = context.catalog()->find(start.name); // It may have changed since the start.
      auto drain = now ? (*now)->drain_timeout : start.entry->drain_timeout;
      log::info("stopping", "{} stops, within {}", context.identity(),
                to_duration_text(std::chrono::microseconds{drain}));
      signals.end_within(drain + 5s);
      if (!runner.stop(deadline::in(drain)))
        code = exit_failed;
      signals.on_stop({});
    }
  }
  std::error_code ignored;
  std::filesystem::remove(admin_file, ignored);
  log::info("stopped", "{}/{} stopped", start.name, replica);
  log::flush();
  return code;
}

} // namespace

int run_service(const std::string& name, int argc, char** argv, const list_components& components,
                const service_config& config) {
  launch start;
  start.name = name;
  auto& given = start.given;
  command_line::program app{
      "troupe-" + start.name,
      fmt::format("The service {} of a Troupe fleet. Usually started by `troupe up`.", start.name)};
  app.add_option("--catalog", given.catalog, "Catalog of the fleet")->show_default();
  app.add_option("--data", given.data, "Data folder of the fleet")->show_default();
  app.add_option("--replica", given.replica, "Which replica this process is, from 0")->show_default();
  app.add_option("--config", given.config, "TOML file with settings, over those of the catalog");
  app.add_option("--set", given.set, "key=value: a setting, over those of the files")->one_each_time();
  app.add_option("--admin-port", given.admin_port,
                 "Port for metrics and health, instead of the catalog's; 0: any")
      ->check(command_line::between(0, 65'535));
  app.add_option("--ready-fd", given.ready_fd, "Write \"ready\" to this descriptor when ready");
  app.add_flag("--check", given.check, "Check catalog and settings, print the settings in effect, and end");
  app.add_flag("--probe", given.probe,
               "Ask the service that runs here whether it is ready: exit code 0 or 1");
  {
    config_keys keys;
    runtime_config runtime;
    runtime.bind(keys);
    config.bind(keys);
    app.footer("Settings, with defaults:\n" + keys.help());
  }
  if (auto end = app.parse(argc, argv))
    return *end;
  keep_to_ourselves();
  raise_descriptor_limit();
  // Under a supervisor every line already carries the name.
  start.identity = given.ready_fd >= 0 ? std::string{} : fmt::format("{}/{}", start.name, given.replica);
  log::start({.identity = start.identity});
  if (given.probe)
    return probe(start);
  auto keys = prepare(start, config);
  if (!keys)
    return complain(start.name, keys.error(), keys.error().code == ec::io_failed ? exit_failed : exit_usage);
  if (given.check) {
    std::cout << keys->show();
    return 0;
  }
  log::start({.identity = start.identity, .least = log::level_of(start.runtime.log_level)});
  auto shown = keys->show();
  std::ranges::replace(shown, '\n', ' ');
  log::info("configuration", "{}/{} runs with {}", start.name, given.replica, shown);
  signal_watch signals;
  return live(start, components, config, signals);
}

} // namespace troupe::detail
