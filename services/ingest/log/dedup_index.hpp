#pragma once

#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/store/database.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace troupe::ingest {

/// Which ids and which refused rows the log has met, by hash. What is added goes with the log's own write.
/// Any thread.
class dedup_index {
public:
  explicit dedup_index(store::database& db) : db_{db} {}

  /// Tells those of `ids` that are known, and the hash of their content; 0 for a refused row.
  expected<void> look_up(std::span<const hash128> ids,
                         const std::function<void(const hash128& id, std::uint64_t content)>& tell) const;

  expected<bool> holds(const hash128& id) const;

  static void add(store::write_batch& to, const hash128& id, std::uint64_t content);
  static void remove(store::write_batch& from, const hash128& id);

private:
  store::database& db_;
};

} // namespace troupe::ingest
