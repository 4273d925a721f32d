#pragma once

#include <chrono>
#include <cstdint>
#include <string>

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

/// `[######----]  60% `
std::string bar(double share, std::size_t width);

} // namespace troupe::cli
