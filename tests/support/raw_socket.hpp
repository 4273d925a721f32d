#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace troupe::testing {

/// A peer on a unix socket that says what no good client would say: bare bytes, or ZMTP 3.0 (RFC 23) frames.
class raw_socket {
public:
  explicit raw_socket(const std::filesystem::path& path);
  ~raw_socket();
  raw_socket(const raw_socket&) = delete;
  raw_socket& operator=(const raw_socket&) = delete;

  bool connected() const noexcept { return fd_ >= 0; }
  /// False when the other side has closed.
  bool send(std::string_view bytes) const;
  /// Greeting and READY command of a DEALER without security.
  bool greet() const;
  /// One message of many frames.
  bool send_frames(const std::vector<std::string>& frames) const;
  /// What has come within `limit`, 64 KiB at most.
  std::string receive(int limit_ms) const;

private:
  int fd_ = -1;
};

} // namespace troupe::testing
