#pragma once

#include "common/store/codec.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::sketch {

/// The most frequent values of a stream: Misra and Gries (1982) with the median decrement of Anderson et al.
/// ("A high-performance algorithm for identifying frequent items in data streams", 2017). Exact up to
/// `capacity` different values; above, a count is short by at most `shortfall()`, which is at most total /
/// (capacity / 2), and every value above that is listed. Merging keeps the bound (Agarwal et al., "Mergeable
/// summaries", 2012). Values longer than 64 bytes are kept by their first 64. Not thread-safe.
class top_values {
public:
  static constexpr std::size_t capacity = 128;
  static constexpr std::size_t longest = 64;

  struct entry {
    std::uint64_t hash = 0;
    std::uint64_t count = 0; ///< At least this often, at most this plus `shortfall()`.
    std::string value;

    friend bool operator==(const entry&, const entry&) = default;
  };

  void add(std::uint64_t hash, std::string_view value, std::uint64_t times = 1);
  void merge(const top_values& other);

  bool exact() const noexcept { return shortfall_ == 0; }
  std::uint64_t shortfall() const noexcept { return shortfall_; }

  /// At most `limit` entries, most frequent first, equal ones by value.
  std::vector<entry> list(std::size_t limit) const;

  void save(store::encoder& out) const;
  static top_values load(store::decoder& in);

private:
  entry& slot_of(std::uint64_t hash) noexcept;
  void prune();

  static constexpr std::size_t slots = 256;

  std::vector<entry> table_; // Open addressing; count 0 is free. Made by the first `add`.
  std::size_t used_ = 0;
  std::uint64_t shortfall_ = 0;
};

} // namespace troupe::sketch
