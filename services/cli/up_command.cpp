#include "services/cli/up_command.hpp"

#include "services/cli/supervisor.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/time.hpp"
#include "common/log/log.hpp"

#include <iostream>

namespace troupe::cli {

namespace {

struct up_options {
  std::vector<std::string> set;
  bool any_admin_port = false;
  bool no_colour = false;
  std::string longest_delay;
};

expected<void> up(context& context, const up_options& given) {
  TROUPE_TRY(fleet, context.catalog());
  supervisor_options options;
  options.catalog = fleet;
  options.programs = context.program.parent_path();
  options.any_admin_port = given.any_admin_port;
  options.colour = !given.no_colour && stderr_is_terminal();
  if (!given.longest_delay.empty()) {
    TROUPE_TRY(delay, parse_duration(given.longest_delay));
    options.longest_delay = std::chrono::duration_cast<std::chrono::milliseconds>(delay);
  }
  for (const auto& assignment : given.set) {
    auto dot = assignment.find('.');
    if (dot == std::string::npos || assignment.find('=') == std::string::npos || assignment.find('=') < dot)
      return context.wrong_usage(
          fmt::format("--set {}: expected service.key=value, such as ingest.threads=2", assignment));
    auto service = assignment.substr(0, dot);
    TROUPE_CHECK(fleet->find(service).map([](auto) {}));
    options.set[service].push_back(assignment.substr(dot + 1));
  }
  options.on_ready = [&context] { std::cout << (context.json ? "{\"ready\":true}" : "ready") << std::endl; };
  log::start({.identity = "up"});
  keep_to_ourselves();
  return supervisor{std::move(options)}.run();
}

} // namespace

void add_up_commands(command_line::command& app, context& context) {
  auto* sub =
      app.add_command("up", "Start every service of the catalog on this machine, and keep them running");
  auto options = std::make_shared<up_options>();
  sub->add_option("--set", options->set, "service.key=value: a setting of one service")->one_each_time();
  sub->add_flag("--any-admin-port", options->any_admin_port,
                "Free ports for metrics and health, instead of those of the catalog; see <data>/run/*.admin");
  sub->add_option("--longest-delay", options->longest_delay,
                  "Longest wait before a service that died starts again, such as 500ms (10s)")
      ->check(check_duration);
  sub->add_flag("--no-colour", options->no_colour, "Plain prefixes");
  sub->footer("Prints \"ready\" when every service is. Ctrl-C stops them in order; again, a second later, "
              "kills them.");
  context.command(*sub, [&context, options] { return up(context, *options); });
}

} // namespace troupe::cli
