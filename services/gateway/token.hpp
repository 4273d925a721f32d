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

/// `3:17,5:4`: what a write answers in X-Consistency-Token, and a read takes there to see that write.
std::string write_token(const log_offsets& offsets);

/// Empty text: no offsets. Fails on anything else that `write_token` does not make, and beyond 1,024 places.
expected<log_offsets> read_token(std::string_view text);

} // namespace troupe::gateway
