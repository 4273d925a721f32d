// Nearest neighbours among 50,000 items: the ranker's item index beside raw Faiss, flat and HNSW, and how
// many of the 100 best it finds. Then what it costs to make a user's vector (SASRec, two towers) and to score
// 500 candidates (DCN), on one thread.
#include "tests/bench/report.hpp"

#include "common/model/item_index.hpp"
#include "common/model/scorer.hpp"
#include "common/model/test_weights.hpp"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <set>

namespace {

using namespace troupe;
using model::testing::test_weights;

constexpr std::size_t width = 64;
constexpr std::size_t best = 100;

std::mt19937 source{17};

std::vector<float> normal(std::size_t count, float deviation) {
  std::normal_distribution<float> draw{0, deviation};
  std::vector<float> out(count);
  for (auto& each : out)
    each = draw(source);
  return out;
}

/// Vectors as models learn them: tastes in common, things of their own, popular ones longer.
std::vector<float> vectors(std::size_t count, const std::vector<float>& tastes) {
  std::vector<float> out;
  auto groups = tastes.size() / width;
  for (std::size_t i = 0; i < count; ++i) {
    auto own = normal(width, 0.6f);
    auto length = 1 + 0.3f * std::abs(normal(1, 1)[0]);
    auto group = source() % groups;
    for (std::size_t d = 0; d < width; ++d)
      out.push_back(length * (tastes[group * width + d] + own[d]));
  }
  return out;
}

using found = std::vector<std::set<std::int64_t>>;

/// Percent of the best that were not found.
double lost(const found& truth, const found& got) {
  double missed = 0;
  for (std::size_t q = 0; q < truth.size(); ++q)
    for (auto each : truth[q])
      missed += got[q].contains(each) ? 0 : 1;
  return 100 * missed / static_cast<double>(truth.size() * best);
}

template <class Search>
bench::samples time_all(const std::vector<float>& queries, found& got, Search&& search) {
  bench::samples out;
  for (std::size_t q = 0; q < queries.size() / width; ++q) {
    std::set<std::int64_t> rows;
    out.time([&] { search(queries.data() + q * width, rows); });
    got.push_back(std::move(rows));
  }
  return out;
}

bench::samples raw(const faiss::Index& index, const std::vector<float>& queries, found& got) {
  std::vector<float> scores(best);
  std::vector<faiss::Index::idx_t> ids(best);
  return time_all(queries, got, [&](const float* query, auto& rows) {
    index.search(1, query, static_cast<faiss::Index::idx_t>(best), scores.data(), ids.data());
    rows.insert(ids.begin(), ids.end());
  });
}

bench::samples ours(const model::item_index& index, const std::vector<float>& queries, found& got) {
  return time_all(queries, got, [&](const float* query, auto& rows) {
    for (auto& [row, score] : index.search({query, width}, best))
      rows.insert(row);
  });
}

void say(const std::string& name, bench::samples& mine, bench::samples& limit) {
  bench::report({.name = name,
                 .unit = "us",
                 .value = mine.p50_us(),
                 .limit_name = "raw Faiss",
                 .limit = limit.p50_us(),
                 .aim = 0.8,
                 .p50_us = mine.p50_us(),
                 .p99_us = mine.p99_us()});
}

void retrieval(std::size_t items, std::size_t asked) {
  auto tastes = normal(50 * width, 1);
  auto all = vectors(items, tastes), queries = vectors(asked, tastes);
  omp_set_num_threads(1);
  faiss::IndexFlatIP flat{width};
  flat.add(static_cast<faiss::Index::idx_t>(items), all.data());
  faiss::IndexHNSWFlat graph{static_cast<int>(width), 32, faiss::METRIC_INNER_PRODUCT};
  graph.hnsw.efConstruction = 160;
  graph.hnsw.efSearch = 128; // As the ranker's.
  graph.add(static_cast<faiss::Index::idx_t>(items), all.data());
  auto exact = model::item_index::build(all, width, items), near = model::item_index::build(all, width, 0);
  if (!exact || !near) {
    std::cerr << "cannot build the indexes\n";
    std::exit(1);
  }
  found truth, by_graph, by_exact, by_near;
  auto raw_flat = raw(flat, queries, truth), raw_graph = raw(graph, queries, by_graph);
  auto our_flat = ours(*exact, queries, by_exact), our_graph = ours(*near, queries, by_near);
  auto label = std::to_string(items / 1000) + "k items, best 100, ";
  say(label + "flat", our_flat, raw_flat);
  say(label + "HNSW", our_graph, raw_graph);
  bench::report({.name = label + "HNSW: not found",
                 .unit = "%",
                 .value = lost(truth, by_near),
                 .limit_name = "raw Faiss, the same breadth",
                 .limit = lost(truth, by_graph)});
  bench::report({.name = label + "flat: not found", .unit = "%", .value = lost(truth, by_exact)});
}

test_weights& layer(test_weights& to, const std::string& name, std::size_t in, std::size_t out) {
  return to
      .add<float>(name + ".weight", "[" + std::to_string(out) + "," + std::to_string(in) + "]",
                  normal(in * out, 0.1f))
      .add<float>(name + ".bias", "[" + std::to_string(out) + "]", normal(out, 0.1f));
}

std::string shape(std::size_t rows, std::size_t columns) {
  return "[" + std::to_string(rows) + "," + std::to_string(columns) + "]";
}

std::unique_ptr<model::scorer> sasrec(std::size_t items, std::size_t longest) {
  test_weights w;
  w.add<float>("item_embedding", shape(items, width), normal(items * width, 0.1f))
      .add<float>("position_embedding", shape(longest, width), normal(longest * width, 0.1f));
  auto norm = [&](const std::string& name) {
    w.add<float>(name + ".weight", "[64]", std::vector<float>(width, 1))
        .add<float>(name + ".bias", "[64]", std::vector<float>(width, 0));
  };
  for (std::string block : {"block.0.", "block.1."}) {
    norm(block + "attention_norm");
    norm(block + "feed_norm");
    for (auto* each : {"query", "key", "value", "output"})
      layer(w, block + "attention." + each, width, width);
    layer(w, block + "feed.in", width, 4 * width);
    layer(w, block + "feed.out", 4 * width, width);
  }
  norm("final_norm");
  return std::move(*model::load_sasrec(w.done(), {2, model::activation::gelu, 1e-5f}));
}

std::unique_ptr<model::scorer> two_tower(std::size_t items) {
  test_weights w;
  w.add<float>("item_vectors", shape(items, width), normal(items * width, 0.1f))
      .add<float>("history_embedding", shape(items, width), normal(items * width, 0.1f))
      .add<float>("pooling.query", "[64]", normal(width, 0.1f))
      .add<float>("pooling.recency", "[50]", normal(50, 0.1f));
  layer(w, "user_tower.0", width, 128);
  layer(w, "user_tower.1", 128, width);
  return std::move(*model::load_two_tower(w.done(), {}));
}

/// Ten numbers and two categories of eight: 36 inputs, two cross layers, two deep ones of 64.
std::unique_ptr<model::scorer> dcn(std::vector<float>& of_items, std::size_t count) {
  test_weights w;
  model::dcn_shape structure;
  for (int i = 0; i < 10; ++i)
    structure.features.push_back({"v.n" + std::to_string(i),
                                  i < 5 ? model::dcn_feature::entity::user : model::dcn_feature::entity::item,
                                  model::dcn_feature::kind::number, true});
  for (auto* name : {"v.genres", "item"})
    structure.features.push_back(
        {name, model::dcn_feature::entity::item, model::dcn_feature::kind::category, false});
  w.add<float>("number.mean", "[10]", std::vector<float>(10, 0))
      .add<float>("number.deviation", "[10]", std::vector<float>(10, 1));
  for (auto* name : {"embedding.v.genres", "embedding.item"})
    w.add<float>(name, shape(1000, 8), normal(8000, 0.1f));
  layer(w, "cross.0", 36, 36);
  layer(w, "cross.1", 36, 36);
  layer(w, "deep.0", 36, 64);
  layer(w, "deep.1", 64, 64);
  layer(w, "head", 100, 1);
  auto made = std::move(*model::load_dcn(w.done(), std::move(structure)));
  of_items.resize(count * made->input_width());
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<model::feature> features(5, static_cast<double>(i % 17));
    features.emplace_back(std::string_view{"Drama"});
    features.emplace_back(std::string_view{"item-17"});
    made->item_input(features, std::span{of_items}.subspan(i * made->input_width(), made->input_width()));
  }
  return made;
}

void scoring(std::size_t rounds) {
  constexpr std::size_t items = 5000, candidates = 500;
  std::vector<model::row> rows;
  for (std::size_t i = 0; i < candidates; ++i)
    rows.push_back(static_cast<model::row>(i * 7 % items));
  std::vector<float> scores(candidates);
  auto measure = [&](const std::string& name, const model::scorer& by, std::size_t history,
                     const model::candidates& of) {
    model::user_context context;
    for (std::size_t i = 0; i < history; ++i)
      context.history.push_back(static_cast<model::row>(i * 13 % items));
    bench::samples steps;
    for (std::size_t i = 0; i < rounds; ++i)
      steps.time([&] { by.score(context, of, scores); });
    bench::report({.name = name,
                   .unit = "us",
                   .value = steps.p50_us(),
                   .limit_name = "aim: 2 ms a request",
                   .limit = 2000,
                   .aim = 1,
                   .p50_us = steps.p50_us(),
                   .p99_us = steps.p99_us()});
  };
  measure("SASRec, d 64, 2 blocks, 50 items", *sasrec(items, 50), 50, rows);
  measure("SASRec, d 64, 2 blocks, 200 items", *sasrec(items, 200), 200, rows);
  measure("two towers, 50 items, 500 candidates", *two_tower(items), 50, rows);
  std::vector<float> of_items;
  auto by = dcn(of_items, candidates);
  std::vector<const float*> inputs;
  for (std::size_t i = 0; i < candidates; ++i)
    inputs.push_back(of_items.data() + i * by->input_width());
  measure("DCN, 12 features, 500 candidates", *by, 0, {rows, inputs});
}

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  scoring(quick ? 50 : 1000);
  retrieval(quick ? 5'000 : 50'000, quick ? 50 : 500);
}
