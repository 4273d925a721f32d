#include "services/cli/ingest_progress.hpp"

#include "common/core/time.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <cstdio>

namespace troupe::cli {

std::string bar(double share, std::size_t width) {
  share = std::clamp(share, 0.0, 1.0);
  auto full = static_cast<std::size_t>(share * static_cast<double>(width));
  return fmt::format("[{}{}] {:3.0f}%", std::string(full, '#'), std::string(width - full, '-'), share * 100);
}

void import_progress::show(const wire::ImportStatus& status) {
  auto now = std::chrono::steady_clock::now();
  if (!shown_)
    return;
  auto seconds = std::chrono::duration<double>(now - last_).count();
  if (used_ && seconds < 0.2)
    return;
  if (used_) { // A moving average, so that the figures can be read.
    auto blend = [](double old, double fresh) { return old == 0 ? fresh : 0.7 * old + 0.3 * fresh; };
    rows_per_s_ =
        blend(rows_per_s_,
              static_cast<double>(status.rows_read() - std::min(last_rows_, status.rows_read())) / seconds);
    bytes_per_s_ = blend(
        bytes_per_s_,
        static_cast<double>(status.bytes_read() - std::min(last_bytes_, status.bytes_read())) / seconds);
  }
  used_ = true;
  last_ = now;
  last_rows_ = status.rows_read();
  last_bytes_ = status.bytes_read();
  auto share = status.bytes_total() == 0
                   ? 0.0
                   : static_cast<double>(status.bytes_read()) / static_cast<double>(status.bytes_total());
  std::string left = "-";
  if (bytes_per_s_ > 0)
    left = to_duration_text(std::chrono::seconds{
        static_cast<std::int64_t>(static_cast<double>(status.bytes_total() - status.bytes_read()) /
                                  bytes_per_s_) +
        1});
  std::string waiting = status.error() ? status.error()->str() : std::string{};
  fmt::print(stderr, "\r\033[K{} {} rows, {:.0f} rows/s, {} left {}", bar(share, 30), status.rows_read(),
             rows_per_s_, left, waiting.substr(0, 60));
  std::fflush(stderr);
}

import_progress::~import_progress() {
  if (used_)
    fmt::print(stderr, "\r\033[K");
}

void byte_progress::show(std::uint64_t done) {
  using namespace std::chrono_literals;
  auto now = std::chrono::steady_clock::now();
  if (!shown_ || (used_ && now - last_ < 100ms))
    return;
  used_ = true;
  last_ = now;
  if (total_ == 0) {
    fmt::print(stderr, "\r\033[K{} {:.1f} MB", what_, static_cast<double>(done) / 1e6);
    std::fflush(stderr);
    return;
  }
  auto share = static_cast<double>(done) / static_cast<double>(total_);
  fmt::print(stderr, "\r\033[K{} {} {:.1f} of {:.1f} MB", what_, bar(share, 30),
             static_cast<double>(done) / 1e6, static_cast<double>(total_) / 1e6);
  std::fflush(stderr);
}

byte_progress::~byte_progress() {
  if (used_)
    fmt::print(stderr, "\r\033[K");
}

} // namespace troupe::cli
