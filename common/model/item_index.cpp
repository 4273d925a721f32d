#include "common/model/item_index.hpp"

#include "common/model/kernels.hpp"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/impl/FaissException.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace troupe::model {

namespace {

constexpr int links = 32;          // Neighbours an item of the graph has.
constexpr int build_breadth = 160; // Candidates looked at while it is built...
// ...and while it is searched, at least. Wider costs more than looking at all items does: 512 finds 3 of 100
// more among 50,000 items in eight times the time (retrieval_bench).
constexpr int breadth = 128;

bool is_allowed(std::span<const std::uint64_t> rows, std::size_t row) noexcept {
  return rows.empty() || (row / 64 < rows.size() && (rows[row / 64] >> (row % 64) & 1) != 0);
}

/// Faiss's flat vectors with our dot product: Debian builds Faiss without the vectors of newer processors,
/// and its own takes most of the time of a search.
class flat_vectors final : public faiss::IndexFlatIP {
public:
  explicit flat_vectors(idx_t width) : IndexFlatIP{width} {}

  const float* row(idx_t at) const { return get_xb() + at * d; }

  /// The `most` greatest products with `query` among the allowed rows, best first; equal ones by their rows.
  void best(const item_index::query& of) const {
    auto better = [](const item_index::hit& a, const item_index::hit& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    };
    auto& heap = *of.found; // Its front is the worst.
    auto most = std::min(of.most, static_cast<std::size_t>(ntotal));
    heap.reserve(most + 1);
    for (idx_t i = 0; i < ntotal; ++i) {
      if (!is_allowed(of.allowed, static_cast<std::size_t>(i)))
        continue;
      auto score = dot(of.vector.data(), row(i), static_cast<std::size_t>(d));
      if (heap.size() == most && score <= heap.front().second)
        continue;
      heap.emplace_back(static_cast<std::uint32_t>(i), score);
      std::ranges::push_heap(heap, better);
      if (heap.size() > most) {
        std::ranges::pop_heap(heap, better);
        heap.pop_back();
      }
    }
    std::ranges::sort_heap(heap, better);
  }

  faiss::FlatCodesDistanceComputer* get_FlatCodesDistanceComputer() const override {
    return new computer{*this};
  }

private:
  struct computer final : faiss::FlatCodesDistanceComputer {
    const flat_vectors& of;
    const float* query = nullptr;

    explicit computer(const flat_vectors& from)
        : FlatCodesDistanceComputer{from.codes.data(), from.code_size}, of{from} {}
    void set_query(const float* x) override { query = x; }
    float distance_to_code(const std::uint8_t* code) override {
      return dot(query, reinterpret_cast<const float*>(code), static_cast<std::size_t>(of.d));
    }
    float symmetric_dis(idx_t a, idx_t b) override {
      return dot(of.row(a), of.row(b), static_cast<std::size_t>(of.d));
    }
  };
};

} // namespace

struct item_index::impl {
  std::unique_ptr<flat_vectors> vectors;
  std::unique_ptr<faiss::IndexHNSW> graph; ///< Over the vectors; null: all of them are looked at.
};

expected<item_index> item_index::build(std::vector<float> vectors, std::size_t width,
                                       std::size_t flat_up_to) {
  if (width == 0 || vectors.size() % width != 0)
    return fail(ec::corrupt, "{} numbers are no vectors of width {}", vectors.size(), width);
  for (auto each : vectors)
    if (!std::isfinite(each))
      return fail(ec::corrupt, "an item vector holds a number that is not finite");
  auto count = vectors.size() / width;
  auto made = std::make_shared<impl>();
  omp_set_num_threads(1); // Of this thread: no team of threads beside those that serve.
  try {
    made->vectors = std::make_unique<flat_vectors>(static_cast<faiss::Index::idx_t>(width));
    faiss::Index* index = made->vectors.get();
    if (count > flat_up_to) {
      made->graph = std::make_unique<faiss::IndexHNSW>(index, links);
      made->graph->hnsw.efConstruction = build_breadth;
      made->graph->hnsw.efSearch = breadth;
      index = made->graph.get();
    }
    index->add(static_cast<faiss::Index::idx_t>(count), vectors.data());
  } catch (const std::exception& problem) {
    return fail(ec::internal, "cannot build the index of {} items: {}", count, problem.what());
  }
  item_index out;
  out.impl_ = std::move(made);
  return out;
}

void item_index::search(std::span<const query> of) const {
  auto& vectors = *impl_->vectors;
  for (auto& each : of) {
    each.found->clear();
    if (each.vector.size() != static_cast<std::size_t>(vectors.d) || each.most == 0)
      continue;
    if (!impl_->graph || !each.allowed.empty()) {
      vectors.best(each);
      continue;
    }
    omp_set_num_threads(1);
    auto most = std::min(each.most, size());
    std::vector<float> scores(most);
    std::vector<faiss::Index::idx_t> rows(most);
    impl_->graph->search(1, each.vector.data(), static_cast<faiss::Index::idx_t>(most), scores.data(),
                         rows.data());
    for (std::size_t i = 0; i < most; ++i)
      if (rows[i] >= 0)
        each.found->emplace_back(static_cast<std::uint32_t>(rows[i]), scores[i]);
  }
}

std::vector<item_index::hit> item_index::search(std::span<const float> vector, std::size_t most) const {
  std::vector<hit> out;
  query one{vector, most, {}, &out};
  search({&one, 1});
  return out;
}

std::span<const float> item_index::vector(std::uint32_t row) const {
  return {impl_->vectors->row(row), static_cast<std::size_t>(impl_->vectors->d)};
}

std::size_t item_index::size() const noexcept {
  return impl_ ? static_cast<std::size_t>(impl_->vectors->ntotal) : 0;
}

bool item_index::exact() const noexcept {
  return !impl_->graph;
}

} // namespace troupe::model
