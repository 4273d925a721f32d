#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace troupe::trainer {

/// Calls `body(begin, end, worker)` for `threads` contiguous parts of [0, count). The parts depend on `count`
/// and `threads` alone; a body whose rows are independent gives the same result for any number of threads.
template <class Body>
void parallel_for(std::uint64_t count, unsigned threads, Body body) {
  auto parts = std::max<std::uint64_t>(1, std::min<std::uint64_t>(threads, count));
  std::vector<std::jthread> helpers;
  for (std::uint64_t part = 1; part < parts; ++part)
    helpers.emplace_back([=, &body] { body(count * part / parts, count * (part + 1) / parts, part); });
  body(std::uint64_t{0}, count / parts, std::uint64_t{0});
}

} // namespace troupe::trainer
