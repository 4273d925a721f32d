#pragma once

#include "common/store/codec.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace troupe::sketch {

/// How many different values a stream held. Exact up to `exact_limit` values; above it a HyperLogLog
/// (Flajolet, Fusy, Gandouet and Meunier, 2007) of 4,096 registers read with Ertl's estimator ("New
/// cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), whose standard error
/// is 1.04 / sqrt(4096) = 1.6 %. At most 8 KiB, 4 KiB above the limit. Merging equals adding both streams,
/// exactly. Not thread-safe.
class distinct {
public:
  static constexpr std::size_t exact_limit = 1024;
  static constexpr unsigned precision = 12;

  /// `hash` must be 64 well-mixed bits of the value.
  void add(std::uint64_t hash);
  void merge(const distinct& other);

  double estimate() const noexcept;
  bool exact() const noexcept { return registers_.empty(); }
  /// Of so many hashes, sorted, each once; at most exact_limit.
  static distinct of(std::vector<std::uint64_t> hashes) {
    distinct to;
    to.seen_ = std::move(hashes);
    return to;
  }

  /// While exact: the hashes, sorted.
  const std::vector<std::uint64_t>& hashes() const noexcept { return seen_; }

  /// What is held beside the object.
  std::size_t bytes() const noexcept { return seen_.capacity() * 8 + registers_.capacity(); }

  void save(store::encoder& out) const;
  static distinct load(store::decoder& in);

  friend bool operator==(const distinct&, const distinct&) = default;

private:
  void add_register(std::uint64_t hash) noexcept;
  void leave_exact();

  std::vector<std::uint64_t> seen_;     // Sorted; used while exact.
  std::vector<std::uint8_t> registers_; // Empty while exact.
};

} // namespace troupe::sketch
