#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace bench {

/// hnswlib over vectors that outlive it, compiled for the processor that builds the bench.
class hnswlib_peer {
public:
  enum class kind { all, graph }; ///< Looks at all vectors; at those that a graph of neighbours leads to.

  /// A graph is built by two threads: 16 links, 60 candidates.
  hnswlib_peer(std::span<const float> vectors, std::size_t width, kind of);
  ~hnswlib_peer();

  /// `breadth`: candidates of a graph that are kept open.
  void search(const float* query, std::size_t best, std::size_t breadth,
              std::vector<std::int64_t>& rows) const;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace bench
