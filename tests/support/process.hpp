#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace troupe::testing {

/// A program that runs beside the test. Killed with the object.
class child {
public:
  child() = default;
  /// Starts `argv`; what it prints is appended to `out` and `err`. The process is killed when this one ends,
  /// and already when the thread does that started it.
  child(const std::vector<std::string>& argv, const std::filesystem::path& out,
        const std::filesystem::path& err);
  ~child();
  child(child&& other) noexcept;
  child& operator=(child&& other) noexcept;

  pid_t pid() const noexcept { return pid_; }
  void signal(int number) const noexcept;

  /// Its exit code (128 + signal when it was killed), or nothing when it still runs after `limit`.
  std::optional<int> wait(std::chrono::milliseconds limit);

private:
  pid_t pid_ = -1;
  std::optional<int> code_;
};

/// What a program that ran to its end left behind.
struct outcome {
  int code = -1; ///< -1: it did not end in time and was killed.
  std::string out;
  std::string err;
};

outcome run(const std::vector<std::string>& argv, std::chrono::milliseconds limit = std::chrono::seconds{60});

/// The processes below this one (at any depth) whose program file is called `program`.
std::vector<pid_t> descendants(std::string_view program = {});

/// While it stands, orphans are adopted; when it stands longer than `limit`, everything below this process is
/// killed and the process ends with exit code 3, saying so: no test hangs for ever.
class time_limit {
public:
  explicit time_limit(std::chrono::seconds limit);

private:
  std::jthread watch_;
};

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::string_view text);

} // namespace troupe::testing
