#include "tests/bench/hnswlib_peer.hpp"

#include <hnswlib/hnswlib.h>

#include <atomic>
#include <thread>

namespace bench {

struct hnswlib_peer::impl {
  hnswlib::InnerProductSpace space;
  std::unique_ptr<hnswlib::BruteforceSearch<float>> all;
  std::unique_ptr<hnswlib::HierarchicalNSW<float>> graph;
};

hnswlib_peer::hnswlib_peer(std::span<const float> vectors, std::size_t width, kind of)
    : impl_{new impl{hnswlib::InnerProductSpace{width}, nullptr, nullptr}} {
  auto count = vectors.size() / width;
  auto row = [&](std::size_t at) { return const_cast<float*>(vectors.data()) + at * width; };
  if (of == kind::all) {
    impl_->all = std::make_unique<hnswlib::BruteforceSearch<float>>(&impl_->space, count);
    for (std::size_t i = 0; i < count; ++i)
      impl_->all->addPoint(row(i), i);
    return;
  }
  impl_->graph = std::make_unique<hnswlib::HierarchicalNSW<float>>(&impl_->space, count, 16, 60);
  impl_->graph->addPoint(row(0), 0);
  std::atomic<std::size_t> next{1};
  auto add = [&] {
    for (auto at = next++; at < count; at = next++)
      impl_->graph->addPoint(row(at), at);
  };
  std::jthread second{add};
  add();
}

hnswlib_peer::~hnswlib_peer() = default;

void hnswlib_peer::search(const float* query, std::size_t best, std::size_t breadth,
                          std::vector<std::int64_t>& rows) const {
  rows.clear();
  if (impl_->graph)
    impl_->graph->setEf(breadth);
  auto found = impl_->graph ? impl_->graph->searchKnn(query, best) : impl_->all->searchKnn(query, best);
  for (; !found.empty(); found.pop())
    rows.push_back(static_cast<std::int64_t>(found.top().second));
}

} // namespace bench
