#include "services/cli/context.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/json_string.hpp"
#include "common/core/time.hpp"
#include "common/log/log.hpp"
#include "common/net/client.hpp"
#include "common/net/component.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <optional>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;

/// Where Debian packages put the catalog of a machine and what its services keep.
constexpr auto system_catalog = "/etc/troupe/catalog.toml";
constexpr auto system_data = "/var/lib/troupe";

std::atomic<bool> interrupt_seen = false;

constexpr int exit_interrupted = 130; // As a shell says of a program that Ctrl-C ended.

void on_interrupt(int) {
  if (interrupt_seen.exchange(true))
    ::_exit(exit_interrupted);
}

/// compose/catalog.toml in `from` or a folder above it.
std::optional<fs::path> look_upwards(fs::path from) {
  for (;; from = from.parent_path()) {
    auto file = from / "compose" / "catalog.toml";
    std::error_code ignored;
    if (fs::exists(file, ignored))
      return file;
    if (from == from.root_path() || from.empty())
      return std::nullopt;
  }
}

std::string_view advice(ec code) {
  switch (code) {
  case ec::unavailable:
    return "is the fleet running? `troupe status` shows it, `troupe up` starts it";
  case ec::overloaded:
  case ec::stopping:
  case ec::too_late:
    return "try again later";
  case ec::disk_full:
    return "make room on the disk; nothing acknowledged is lost";
  case ec::unauthorized:
    return "give the right key with --key, and have it on the service's allow-list";
  default:
    return {};
  }
}

} // namespace

struct context::clients {
  std::map<std::string, std::unique_ptr<net::client>, std::less<>> open;
};

context::context(fs::path given) : clients_{std::make_unique<clients>()} {
  std::error_code err;
  program = fs::read_symlink("/proc/self/exe", err);
  if (err)
    program = std::move(given);
  log::start({.identity = "", .least = log::level::warn, .time = false});
}

context::~context() = default;

expected<catalog_ptr> context::catalog() {
  if (catalog_)
    return catalog_;
  auto file = catalog_file;
  if (file.empty()) {
    std::error_code err;
    auto found = look_upwards(fs::current_path(err));
    if (!found)
      found = look_upwards(program.parent_path());
    if (!found && fs::exists(system_catalog, err)) {
      found = system_catalog;
      if (data == default_data)
        data = system_data;
    }
    if (!found)
      return fail(ec::not_found,
                  "there is no compose/catalog.toml here, beside {} or in a folder above, and no {}; name "
                  "one with --catalog",
                  program.string(), system_catalog);
    file = *found;
  }
  TROUPE_TRY(read, troupe::catalog::load(file, data));
  catalog_ = std::make_shared<const troupe::catalog>(std::move(read));
  catalog_file = catalog_->file();
  return catalog_;
}

expected<net::client*> context::client(std::string_view service) {
  auto found = clients_->open.find(service);
  if (found != clients_->open.end())
    return found->second.get();
  TROUPE_TRY(fleet, catalog());
  TROUPE_TRY(made, net::open_client(*fleet, service, "cli", own_secret));
  auto* client = made.get();
  clients_->open.emplace(service, std::move(made));
  return client;
}

void context::command(command_line::command& sub, std::function<expected<void>()> body, std::string hint) {
  sub.on_given([this, path = sub.path(), body = std::move(body), hint = std::move(hint)] {
    auto done = body();
    if (interrupted())
      exit_code_ = exit_interrupted;
    if (done)
      return;
    const auto& err = done.error();
    // A hint says what to do about a service that does not answer.
    bool silent = disposition_of(err.code) == error_disposition::retry_later;
    std::string next{hint.empty() || !silent ? advice(err.code) : std::string_view{hint}};
    std::cout.flush();
    std::cerr << fmt::format("troupe {}: {}{}{}\n", path, render(err), next.empty() ? "" : "; ", next);
    if (exit_code_ == 0)
      exit_code_ = 1;
  });
}

bool context::interrupted() noexcept {
  return interrupt_seen;
}

void context::watch_interrupt() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::string check_duration(const std::string& text) {
  auto read = parse_duration(text);
  return read ? std::string{} : read.error().text;
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

} // namespace troupe::cli
