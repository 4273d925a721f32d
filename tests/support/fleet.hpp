#pragma once

#include "tests/support/process.hpp"

#include "common/testing/temp_dir.hpp"

#include <boost/json/value.hpp>

#include <functional>

namespace troupe::testing {

using json = boost::json::value;
using namespace std::chrono_literals;

/// The real services of one data folder, started by `troupe up` and driven by the `troupe` client alone.
class fleet {
public:
  /// `name` names the log under build/<preset>/Testing. Starts nothing.
  /// `settings` is TOML put behind the catalog; all admin ports are free ones. One fleet at a time in a
  /// process; one that stands longer than `limit` ends the test.
  explicit fleet(std::string name, std::string settings = {}, std::chrono::seconds limit = 400s);
  ~fleet();

  /// Puts another catalog in the place of ours, and gives the client this CURVE key, by reference.
  void replace_catalog(const std::string& text, std::string key);

  /// Starts `troupe up` and waits until every service is ready.
  void up(std::vector<std::string> more = {});
  /// Ctrl-C, and waits; true when it ended by itself with exit code 0.
  bool down();
  bool is_up() const noexcept { return static_cast<bool>(up_); }

  /// `troupe --data ... WORDS`.
  outcome troupe(std::vector<std::string> words, std::chrono::milliseconds limit = 120s) const;
  /// The same with --json; REQUIREs exit code 0 and JSON on stdout.
  json ask(std::vector<std::string> words, std::chrono::milliseconds limit = 120s) const;
  /// Starts a command and leaves it running.
  child start(std::vector<std::string> words, const std::filesystem::path& out) const;

  /// Waits until all services say ready; false after `limit`.
  bool ready(std::chrono::milliseconds limit = 60s) const;
  /// Every service answers `status` as ready, now.
  bool ready_now() const;

  /// The process of a service, or nothing between two lives.
  std::optional<pid_t> pid_of(std::string_view service) const;

  const std::filesystem::path& data() const noexcept { return data_; }
  const std::filesystem::path& log() const noexcept { return log_; }
  const std::filesystem::path& temp() const noexcept { return temp_.path(); }

private:
  std::vector<std::string> command(std::vector<std::string> words, bool as_json) const;

  time_limit limit_;
  temp_dir temp_;
  std::string name_;
  std::filesystem::path data_;
  std::filesystem::path log_;
  std::string key_;
  std::optional<child> up_;
};

/// Asks again every 50 ms until `done` or `limit`; what `done` said last.
bool wait_until(const std::function<bool()>& done, std::chrono::milliseconds limit);

/// Where the data sets lie (TROUPE_DATA, or ../shared/data beside the checkout); prints "skipped: no data"
/// and gives nothing when `file` is not there.
std::optional<std::filesystem::path> data_set(const std::string& file);

std::filesystem::path source_dir();
std::filesystem::path bin_dir();
std::filesystem::path log_dir();

/// A number of a JSON object, found at any depth by its key (first in document order); -1 when there is none.
std::int64_t number(const json& from, std::string_view key);
/// A text of a JSON object, which has to be there.
std::string text(const json& from, std::string_view key);

} // namespace troupe::testing
