#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::gateway {

/// Places of the log that an answer must have seen: partition and one past the last record.
using log_offsets = std::vector<std::pair<std::uint32_t, std::uint64_t>>;

/// What an answer must have seen: `3:17,5:4;i1` in X-Consistency-Token, which a write answers and a read
/// takes.
struct consistency_token {
  log_offsets offsets;
  /// Items that the write deleted: rankers learn of them by and by, an answer to this token leaves them out.
  std::vector<std::string> deleted_items;

  friend bool operator==(const consistency_token&, const consistency_token&) = default;
};

/// Of the deleted items no more are named: a header has its bounds.
inline constexpr std::size_t most_deleted_items = 100;

std::string write_token(const consistency_token& token);

/// Empty text: nothing. Fails on anything else that `write_token` does not make, and beyond 1,024 places.
expected<consistency_token> parse_token(std::string_view text);

} // namespace troupe::gateway
