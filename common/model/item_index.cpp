#include "common/model/item_index.hpp"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/impl/FaissException.h>
#include <omp.h>

#include <cmath>

namespace troupe::model {

namespace {

constexpr int links = 32;          // Neighbours an item of the graph has.
constexpr int build_breadth = 160; // Candidates looked at while it is built...
constexpr std::size_t breadth =
    512; // ...and while it is searched, at least: recall@100 of 0.91 among 50,000 items (retrieval_bench).

} // namespace

struct item_index::impl {
  std::unique_ptr<faiss::Index> index;
  bool exact = true;
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
  made->exact = count <= flat_up_to;
  omp_set_num_threads(1); // Of this thread: no team of threads beside those that serve.
  try {
    auto d = static_cast<faiss::Index::idx_t>(width);
    if (made->exact) {
      made->index = std::make_unique<faiss::IndexFlatIP>(d);
    } else {
      auto graph =
          std::make_unique<faiss::IndexHNSWFlat>(static_cast<int>(d), links, faiss::METRIC_INNER_PRODUCT);
      graph->hnsw.efConstruction = build_breadth;
      graph->hnsw.efSearch = static_cast<int>(breadth);
      made->index = std::move(graph);
    }
    made->index->add(static_cast<faiss::Index::idx_t>(count), vectors.data());
  } catch (const std::exception& problem) {
    return fail(ec::internal, "cannot build the index of {} items: {}", count, problem.what());
  }
  item_index out;
  out.impl_ = std::move(made);
  return out;
}

std::vector<item_index::hit> item_index::search(std::span<const float> vector, std::size_t most) const {
  auto& index = *impl_->index;
  most = std::min(most, size());
  if (vector.size() != static_cast<std::size_t>(index.d) || most == 0)
    return {};
  omp_set_num_threads(1);
  std::vector<float> scores(most);
  std::vector<faiss::Index::idx_t> rows(most);
  if (impl_->exact) {
    index.search(1, vector.data(), static_cast<faiss::Index::idx_t>(most), scores.data(), rows.data());
  } else {
    // The graph gives no more than its breadth: ask wider where more is wanted.
    auto wide = std::max(most, breadth);
    faiss::SearchParametersHNSW how;
    how.efSearch = static_cast<int>(wide);
    index.search(1, vector.data(), static_cast<faiss::Index::idx_t>(most), scores.data(), rows.data(), &how);
  }
  std::vector<hit> out;
  for (std::size_t i = 0; i < most; ++i)
    if (rows[i] >= 0)
      out.emplace_back(static_cast<std::uint32_t>(rows[i]), scores[i]);
  return out;
}

std::vector<float> item_index::vector(std::uint32_t row) const {
  std::vector<float> out(static_cast<std::size_t>(impl_->index->d));
  impl_->index->reconstruct(row, out.data());
  return out;
}

std::size_t item_index::size() const noexcept {
  return impl_ ? static_cast<std::size_t>(impl_->index->ntotal) : 0;
}

bool item_index::exact() const noexcept {
  return impl_->exact;
}

} // namespace troupe::model
