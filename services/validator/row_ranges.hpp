#pragma once

#include "common/store/codec.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace troupe::validator {

/// Which rows of a source have been taken: half-open ranges, merged where they touch. A source read in order
/// is one range. At most `most` ranges are kept; beyond that the lowest gap is taken as filled. Not
/// thread-safe.
class row_ranges {
public:
  static constexpr std::size_t most = 256;

  bool contains(std::uint64_t row) const noexcept {
    auto after = from_to_.upper_bound(row);
    return after != from_to_.begin() && std::prev(after)->second > row;
  }

  /// True when any row of [from, to) has been taken.
  bool touches(std::uint64_t from, std::uint64_t to) const noexcept {
    auto after = from_to_.lower_bound(to);
    return from < to && after != from_to_.begin() && std::prev(after)->second > from;
  }

  void add(std::uint64_t from, std::uint64_t to) {
    if (from >= to)
      return;
    auto at = from_to_.upper_bound(from);
    if (at != from_to_.begin() && std::prev(at)->second >= from)
      --at;
    while (at != from_to_.end() && at->first <= to) {
      from = std::min(from, at->first);
      to = std::max(to, at->second);
      at = from_to_.erase(at);
    }
    from_to_.emplace(from, to);
    if (from_to_.size() > most) {
      auto first = from_to_.begin(), second = std::next(first);
      first->second = second->second;
      from_to_.erase(second);
    }
  }

  /// One past the last row taken.
  std::uint64_t end() const noexcept { return from_to_.empty() ? 0 : from_to_.rbegin()->second; }
  std::size_t size() const noexcept { return from_to_.size(); }

  void save(store::encoder& out) const {
    out.whole(from_to_.size());
    for (auto& [from, to] : from_to_) {
      out.whole(from);
      out.whole(to);
    }
  }

  static row_ranges load(store::decoder& in) {
    row_ranges to;
    for (auto left = in.count_of(2); left > 0 && in.ok(); --left) {
      auto from = in.whole();
      to.add(from, in.whole());
    }
    return to;
  }

private:
  std::map<std::uint64_t, std::uint64_t> from_to_;
};

} // namespace troupe::validator
