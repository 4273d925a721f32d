#pragma once

#include "services/gateway/store/state_database.hpp"

#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace troupe::gateway {

/// When each row without an event time was first seen, by its id, for a day: sent again it has the same time,
/// and so is the same record.
///
/// Operation: all rows of a request are one read of many keys and one write. Concurrency: any thread; one
/// request at a time, so that two that bring the same row agree. Blocks.
class idempotency_store {
public:
  /// What it needs of a database; a test counts the calls.
  struct key_values {
    std::function<expected<std::vector<std::optional<std::string>>>(std::span<const std::string_view>)> read;
    std::function<expected<void>(store::write_batch&)> write;
  };

  explicit idempotency_store(key_values in) : in_{std::move(in)} {}
  explicit idempotency_store(std::shared_ptr<store::database> in);

  /// One time per id, in order: `now` where the id is new. Where the store cannot be read or written, that is
  /// logged and the rows are as new.
  std::vector<timestamp> first_times(std::span<const std::string_view> ids, timestamp now);

private:
  key_values in_;
  std::mutex mutex_;
};

} // namespace troupe::gateway
