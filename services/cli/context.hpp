#pragma once

#include "common/catalog/catalog.hpp"
#include "common/command_line/exit_codes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace troupe::command_line {
class command;
} // namespace troupe::command_line

namespace troupe::net {
class client;
} // namespace troupe::net

/// The command-line client. Each area adds its commands by a function of the shape
///
///     void add_ingest_commands(command_line::command& app, cli::context& context);
///
/// in which every command ends with `context.command(*sub, [&context, options] { return run(context,
/// *options); });`. Exit codes: 0 it worked, 1 it failed, 2 the usage was wrong, 130 it was interrupted.
namespace troupe::cli {

class context {
public:
  explicit context(std::filesystem::path program = {});
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  /// --json: print one JSON document instead of text.
  bool json = false;
  static constexpr auto default_data = "troupe-data";
  /// --catalog, or compose/catalog.toml here or in a folder above, or beside the program, or that of the
  /// machine.
  std::filesystem::path catalog_file;
  /// --data, or ./troupe-data; with the catalog of the machine /var/lib/troupe.
  std::filesystem::path data = default_data;
  /// --key: our CURVE secret by reference, for services that ask for one.
  std::string own_secret;
  /// This program: those of the services lie beside it.
  std::filesystem::path program;

  /// The catalog, read at the first call.
  expected<catalog_ptr> catalog();

  /// A blocking client of all replicas of `service` ("ingest"), made at the first call and kept. The pointer
  /// is the context's.
  expected<net::client*> client(std::string_view service);

  /// Runs `body` when the command is given. An error ends in one line on stderr (what failed, why, what to do
  /// next) and exit code 1; `hint` says what to do about a service that does
  /// not answer. Ctrl-C ends in 130.
  void command(command_line::command& sub, std::function<expected<void>()> body, std::string hint = {});

  /// Exit 1 although nothing went wrong: a check that found something, a service that is not ready.
  void say_no() noexcept { exit_code_ = 1; }

  /// The error of a command that was given in a way that cannot be: exit code 2.
  unexpected<error> wrong_usage(std::string text) {
    exit_code_ = exit_usage;
    return unexpected<error>{error{ec::invalid_argument, std::move(text)}};
  }

  int exit_code() const noexcept { return exit_code_; }

  /// True once Ctrl-C was pressed; long loops look at it. Only after `watch_interrupt()`.
  static bool interrupted() noexcept;
  static void watch_interrupt();

private:
  struct clients;
  catalog_ptr catalog_;
  std::unique_ptr<clients> clients_;
  int exit_code_ = 0;
};

/// For `->check` of an option that takes a duration: what is wrong with `text`, empty where nothing is.
std::string check_duration(const std::string& text);

/// `text` as a JSON string, quotes included.
std::string json_string(std::string_view text);

/// True when stdout is a terminal, so that progress bars and colours make sense.
bool stdout_is_terminal();
bool stderr_is_terminal();

} // namespace troupe::cli
