#pragma once

#include "common/store/codec.hpp"

#include <cstdint>
#include <vector>

namespace troupe::validator {

/// How many different values a stream held. Exact up to `exact_limit` values; above it a HyperLogLog
/// (Flajolet, Fusy, Gandouet and Meunier, 2007) of 4,096 registers read with Ertl's estimator ("New
/// cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), whose standard error
/// is 1.04 / sqrt(4096) = 1.6 %. At most 4 KiB. Merging equals adding both streams, exactly. Not thread-safe.
class distinct_sketch {
public:
  static constexpr std::size_t exact_limit = 512;
  static constexpr unsigned precision = 12;

  /// `hash` must be 64 well-mixed bits of the value.
  void add(std::uint64_t hash);
  void merge(const distinct_sketch& other);

  double estimate() const noexcept;
  bool exact() const noexcept { return registers_.empty(); }

  void save(store::encoder& out) const;
  static distinct_sketch load(store::decoder& in);

  friend bool operator==(const distinct_sketch&, const distinct_sketch&) = default;

private:
  void add_register(std::uint64_t hash) noexcept;
  void leave_exact();

  std::vector<std::uint64_t> seen_;     // Sorted; used while exact.
  std::vector<std::uint8_t> registers_; // Empty while exact.
};

} // namespace troupe::validator
