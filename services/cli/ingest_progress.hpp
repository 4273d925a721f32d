#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace troupe::wire {
struct ImportStatus;
} // namespace troupe::wire

namespace troupe::cli {

/// A bar on one line of a terminal's stderr: share read, rows, rows per second, time left, what is waited
/// for. Wiped at the end.
class import_progress {
public:
  explicit import_progress(bool shown) : shown_{shown} {}
  ~import_progress();
  import_progress(const import_progress&) = delete;
  import_progress& operator=(const import_progress&) = delete;

  void show(const wire::ImportStatus& status);

private:
  bool shown_;
  bool used_ = false;
  std::chrono::steady_clock::time_point last_{};
  std::uint64_t last_rows_ = 0;
  std::uint64_t last_bytes_ = 0;
  double rows_per_s_ = 0;
  double bytes_per_s_ = 0;
};

/// A bar on one line of a terminal's stderr: share of the bytes done, and how many; where `total` is 0
/// nobody knows it, and there is no share. Wiped at the end.
class byte_progress {
public:
  byte_progress(bool shown, std::string what, std::uint64_t total)
      : shown_{shown}, what_{std::move(what)}, total_{total} {}
  ~byte_progress();
  byte_progress(const byte_progress&) = delete;
  byte_progress& operator=(const byte_progress&) = delete;

  void show(std::uint64_t done);

private:
  bool shown_;
  bool used_ = false;
  std::string what_;
  std::uint64_t total_;
  std::chrono::steady_clock::time_point last_{};
};

/// `[######----]  60% `
std::string bar(double share, std::size_t width);

} // namespace troupe::cli
