#pragma once

#include "common/core/time.hpp"
#include "common/security/api_keys.hpp"

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::gateway {

/// Who callers are, what they may, and how fast. Any thread.
///
/// Operation: `refresh` looks at the file of API keys again; a periodic task calls it each second, so a key
/// that is made or revoked counts within one. From the first key on everybody needs one, for the life of the
/// process; a file that cannot be read leaves the keys that were known in force. Limits: buckets of 100,000
/// callers; then all begin anew.
class key_ring {
public:
  static expected<std::unique_ptr<key_ring>> open(std::filesystem::path file);

  /// Reads the file again. Blocks.
  void refresh();

  /// Whether callers need a key.
  bool guarded() const noexcept { return guarded_; }

  /// The key that `given` is; nothing for none.
  std::optional<security::api_key> find(std::string_view given) const;

  /// Takes a token of the caller's bucket, filled at `rate` a second and never above one second's worth. When
  /// it is empty: how long until the next token.
  std::optional<std::chrono::duration<double>> over_rate(const std::string& caller, double rate,
                                                         deadline::clock::time_point now);

private:
  struct bucket {
    double tokens = 0;
    deadline::clock::time_point at;
  };

  explicit key_ring(std::filesystem::path file) : file_{std::move(file)} {}

  std::filesystem::path file_;
  std::atomic<bool> guarded_{false};
  mutable std::mutex keys_mutex_;
  std::vector<security::api_key> keys_;
  std::mutex buckets_mutex_;
  std::unordered_map<std::string, bucket> buckets_;
};

} // namespace troupe::gateway
