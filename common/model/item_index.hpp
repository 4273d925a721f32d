#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace troupe::model {

/// Finds the items whose vectors have the greatest dot product with a given one. Exact up to `flat_up_to`
/// items: all are looked at, in eight bits a number first (item_scan.hpp). Beyond that they lie in lists
/// about the centres of k-means (Jegou, Douze and Schmid 2011, without their codes), and only the lists that
/// can hold one of the best are looked at: of a thousand some forty, a quarter at most, more of them where
/// few rows are allowed. Where very few are, the vectors of those are looked at, exactly. Immutable; any
/// thread; each search runs on the thread of its caller.
class item_index {
public:
  using hit = std::pair<std::uint32_t, float>; ///< Row and dot product.

  /// One of the searches that are made together.
  struct query {
    std::span<const float> vector; ///< As wide as the items'; of another width it finds nothing.
    std::size_t most = 0;
    /// The rows that may be found, bit r % 64 of word r / 64; rows past its end may not. Empty: all rows may.
    std::span<const std::uint64_t> allowed;
    /// Becomes the best `most` rows, best first; fewer where there are fewer. A product that is no number
    /// counts as minus infinity.
    std::vector<hit>* found = nullptr;
  };

  /// `vectors` has rows of `width` finite numbers. Fails with ec::corrupt on anything else.
  static expected<item_index> build(std::vector<float> vectors, std::size_t width, std::size_t flat_up_to);

  /// Answers all of them in one pass over the items. Allocates nothing once `found` and the memory that each
  /// thread keeps for it are large enough.
  void search(std::span<const query> of) const;

  /// The vector of a row.
  std::span<const float> vector(std::uint32_t row) const;

  std::size_t size() const noexcept;
  bool exact() const noexcept;

private:
  struct impl;
  std::shared_ptr<const impl> impl_;
};

} // namespace troupe::model
