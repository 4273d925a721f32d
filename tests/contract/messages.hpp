#pragma once

#include "common/core/bytes.hpp"

#include <functional>
#include <string>
#include <vector>

namespace troupe::contract {

/// One released message: the file of its golden bytes, how this program writes it, and what a reader must
/// find in the golden bytes (every field once, by value).
struct message {
  std::string file; ///< `judge.v1.bin`.
  std::function<chunk()> write;
  std::function<bool(byte_view)> read; ///< False: not verified, or another value.
};

std::vector<message> released_messages();

} // namespace troupe::contract
