#pragma once

#include "common/catalog/catalog.hpp"
#include "common/core/error.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace troupe::cli {

struct supervisor_options {
  catalog_ptr catalog;
  std::filesystem::path programs;                      ///< The folder of the services' programs.
  std::map<std::string, std::vector<std::string>> set; ///< By service: key=value.
  bool any_admin_port = false; ///< Not those of the catalog: several fleets on one machine.
  bool colour = false;
  std::chrono::milliseconds first_delay{100};      ///< Before the first restart; doubled each time...
  std::chrono::milliseconds longest_delay{10'000}; ///< ...up to this.
  std::chrono::milliseconds steady{
      5'000}; ///< Ready for so long, a process starts again from the first delay.
  std::chrono::milliseconds one_signal{
      1'000};                     ///< Signals within so long are one: who supervises us sends two.
  std::function<void()> on_ready; ///< Once, when every process is ready for the first time.
  int log_fd = 2;                 ///< Where the lines of the services go.
};

/// The processes of a fleet on this machine: starts them in the order of their needs, each when those it
/// needs are ready, passes their lines on with a prefix, starts them again when they die (exponential
/// back-off), stops them in reverse.
///
/// One thread, one poll loop. The processes end when this one does (PR_SET_PDEATHSIG).
class supervisor {
public:
  explicit supervisor(supervisor_options options);
  ~supervisor();
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  /// Runs until SIGINT or SIGTERM (a second one, later, kills what is left). Fails when a program is missing,
  /// its configuration is wrong or its address is in use at its first start, when another supervisor holds
  /// the data folder, and when a process had to be killed at the stop.
  expected<void> run();

private:
  using clock = std::chrono::steady_clock;
  enum class state { waiting, starting, ready, resting, stopping, ended };

  struct process {
    const service_entry* entry = nullptr;
    std::uint32_t replica = 0;
    state is = state::waiting;
    pid_t id = -1;
    int lines_fd = -1;
    int ready_fd = -1;
    std::string line;
    bool was_ready = false;
    std::chrono::milliseconds delay{0};
    clock::time_point since; ///< When the state began.
    clock::time_point next;  ///< When to do something: start again, give up waiting.
    std::string prefix;

    std::string identity() const { return entry->name + "/" + std::to_string(replica); }
  };

  expected<void> prepare();
  expected<void> start(process& each);
  void start_what_can();
  void turn();
  void read_signals();
  void read_lines(process& each);
  void read_ready(process& each);
  void write_line(const process& each, std::string_view line);
  void reap();
  void ended(process& each, int status);
  void check_times();
  void begin_stop();
  void stop_what_can();
  bool all(state is) const;
  bool needs_met(const process& each) const;
  bool is_needed(const process& each) const;
  int wait_ms() const;

  /// As the catalog has it now.
  const service_entry& now(const process& each);

  supervisor_options options_;
  catalog_watch watch_;
  catalog_ptr catalog_; ///< Keeps what `now` gave.
  std::vector<process> processes_;
  int signals_ = -1;
  int lock_ = -1;
  bool announced_ = false;
  bool stopping_ = false;
  clock::time_point last_signal_;
  bool killed_ = false;
  expected<void> result_;
};

} // namespace troupe::cli
