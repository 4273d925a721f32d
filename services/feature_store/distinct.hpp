#pragma once

#include "common/store/codec.hpp"

#include <cstdint>
#include <vector>

namespace troupe::feature_store {

/// Counts distinct 64-bit hashes: exactly up to `exact_limit`, then by HyperLogLog (Flajolet et al., 2007;
/// 4,096 registers, standard error 1.6 %). A function of the set of hashes, whatever their order; mergeable.
class distinct_sketch {
public:
  static constexpr std::size_t exact_limit = 1024;

  void add(std::uint64_t hash);
  void merge(const distinct_sketch& other);
  double estimate() const;

  bool exact() const noexcept { return registers_.empty(); }
  /// While exact: the hashes, sorted.
  const std::vector<std::uint64_t>& hashes() const noexcept { return hashes_; }

  void encode(store::encoder& out) const;
  static distinct_sketch decode(store::decoder& in);

  std::size_t bytes() const noexcept { return sizeof *this + hashes_.capacity() * 8 + registers_.capacity(); }

private:
  static constexpr unsigned precision = 12;
  void add_register(std::uint64_t hash);
  void widen();

  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint8_t> registers_;
};

} // namespace troupe::feature_store
