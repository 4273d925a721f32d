// Nearest neighbours among 50,000 and 1,000,000 items: the ranker's item index beside Faiss and hnswlib, and
// how many of the 100 best it finds. Products of layers beside OpenBLAS, and what it costs to score one
// request with SASRec, two towers and DCN. One thread; once for each instruction set that the processor has.
#include "tests/bench/hnswlib_peer.hpp"
#include "tests/bench/report.hpp"

#include "common/model/item_index.hpp"
#include "common/model/kernels.hpp"
#include "common/model/scorer.hpp"
#include "common/model/test_weights.hpp"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <hwy/targets.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

extern "C" void cblas_sgemm(int order, int of_a, int of_b, int rows, int columns, int inner, float factor,
                            const float* a, int step_a, const float* b, int step_b, float keep, float* c,
                            int step_c);

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

using found = std::vector<std::vector<std::int64_t>>;

/// Percent of the best that were not found.
double lost(const found& truth, const found& got) {
  double missed = 0, all = 0;
  for (std::size_t q = 0; q < truth.size(); ++q) {
    all += static_cast<double>(truth[q].size());
    for (auto each : truth[q])
      missed += std::ranges::find(got[q], each) == got[q].end() ? 1 : 0;
  }
  return 100 * missed / all;
}

template <class Search>
bench::samples time_all(const std::vector<float>& queries, found& got, Search&& search) {
  bench::samples out;
  got.assign(queries.size() / width, {});
  search(queries.data(), got[0]); // Once before: memory is touched, threads have theirs.
  for (std::size_t q = 0; q < got.size(); ++q)
    out.time([&] { search(queries.data() + q * width, got[q]); });
  return out;
}

bench::samples by_faiss(const faiss::Index& index, const std::vector<float>& queries, found& got) {
  std::vector<float> scores(best);
  return time_all(queries, got, [&](const float* query, auto& rows) {
    rows.resize(best);
    index.search(1, query, static_cast<faiss::Index::idx_t>(best), scores.data(), rows.data());
  });
}

bench::samples by_hnswlib(const bench::hnswlib_peer& index, std::size_t breadth,
                          const std::vector<float>& queries, found& got) {
  return time_all(queries, got,
                  [&](const float* query, auto& rows) { index.search(query, best, breadth, rows); });
}

bench::samples ours(const model::item_index& index, const std::vector<float>& queries, found& got,
                    std::span<const std::uint64_t> allowed = {}) {
  std::vector<model::item_index::hit> hits;
  return time_all(queries, got, [&](const float* query, auto& rows) {
    model::item_index::query one{{query, width}, best, allowed, &hits};
    index.search({&one, 1});
    rows.clear();
    for (auto& [row, score] : hits)
      rows.push_back(row);
  });
}

/// A search that is made together with three others: a quarter of the time of the four.
bench::samples four_together(const model::item_index& index, const std::vector<float>& queries) {
  bench::samples out;
  std::vector<std::vector<model::item_index::hit>> hits(4);
  std::vector<model::item_index::query> of(4);
  for (std::size_t q = 0; q + 4 <= queries.size() / width; q += 4) {
    for (std::size_t i = 0; i < 4; ++i)
      of[i] = {{queries.data() + (q + i) * width, width}, best, {}, &hits[i]};
    auto start = bench::clock::now();
    index.search(of);
    out.add((bench::clock::now() - start) / 4);
  }
  return out;
}

void say(const std::string& name, const bench::samples& mine, const std::string& peer = "-",
         double limit = 0) {
  bench::report({.name = name,
                 .unit = "us",
                 .value = mine.p50_us(),
                 .limit_name = peer,
                 .limit = limit,
                 .aim = 1,
                 .p50_us = mine.p50_us(),
                 .p99_us = mine.p99_us()});
}

void say_lost(const std::string& name, double percent, const std::string& peer = "-", double limit = 0) {
  bench::report(
      {.name = name + ": not found", .unit = "%", .value = percent, .limit_name = peer, .limit = limit});
}

model::item_index index_of(const std::vector<float>& all, std::size_t flat_up_to) {
  auto made = model::item_index::build(all, width, flat_up_to);
  if (!made) {
    std::cerr << "cannot build the index: " << made.error().text << '\n';
    std::exit(1);
  }
  return *made;
}

std::string items_named(std::size_t items) {
  return (items < 1'000'000 ? std::to_string(items / 1000) + "k" : std::to_string(items / 1'000'000) + "M") +
         " items, best 100, ";
}

void exact_search(const std::string& set, std::size_t items, std::size_t asked) {
  auto tastes = normal(50 * width, 1);
  auto all = vectors(items, tastes), queries = vectors(asked, tastes);
  omp_set_num_threads(1);
  faiss::IndexFlatIP flat{width};
  flat.add(static_cast<faiss::Index::idx_t>(items), all.data());
  bench::hnswlib_peer looks_at_all{all, width, bench::hnswlib_peer::kind::all};
  auto exact = index_of(all, items), lists = index_of(all, 0);
  found truth, peers, by_exact, by_lists;
  auto raw = by_faiss(flat, queries, truth), native = by_hnswlib(looks_at_all, 0, queries, peers);
  auto mine = ours(exact, queries, by_exact), near = ours(lists, queries, by_lists);
  auto name = items_named(items);
  say(name + "flat" + set, mine, "raw Faiss", raw.p50_us());
  say(name + "flat" + set, mine, "hnswlib, all items", native.p50_us());
  say(name + "flat, four together" + set, four_together(exact, queries), "hnswlib, all items",
      native.p50_us());
  say_lost(name + "flat" + set, lost(truth, by_exact));
  say(name + "lists" + set, near, "our flat", mine.p50_us());
  say_lost(name + "lists" + set, lost(truth, by_lists));
}

/// The first breadth by which hnswlib finds 95 of 100, else the widest.
bench::samples good_graph(const bench::hnswlib_peer& graph, const std::vector<float>& queries,
                          const found& truth, double& not_found) {
  for (std::size_t breadth : {100, 200, 400, 800, 1600}) {
    found got;
    auto steps = by_hnswlib(graph, breadth, queries, got);
    not_found = lost(truth, got);
    if (not_found <= 5 || breadth == 1600)
      return steps;
  }
  return {};
}

/// A million items as models learn them, beside graph and lists of the peers; with a filter; and without
/// order.
void million(const std::vector<std::pair<std::int64_t, std::string>>& sets) {
  constexpr std::size_t items = 1'000'000, asked = 100;
  auto name = items_named(items);
  auto tastes = normal(50 * width, 1);
  auto all = vectors(items, tastes), queries = vectors(asked, tastes);
  found truth, got;
  bench::samples raw;
  double faiss_lost = 0, graph_lost = 0;
  {
    omp_set_num_threads(1);
    faiss::IndexFlatIP centres{width};
    faiss::IndexIVFFlat peer{&centres, width, 1024, faiss::METRIC_INNER_PRODUCT};
    peer.train(items / 10, all.data());
    peer.add(items, all.data());
    ours(index_of(all, items), queries, truth);
    for (peer.nprobe = 4; peer.nprobe <= 256; peer.nprobe *= 2) {
      raw = by_faiss(peer, queries, got);
      faiss_lost = lost(truth, got);
      if (faiss_lost <= 5)
        break;
    }
  }
  std::vector<bench::samples> all_mine;
  for (auto& [target, set] : sets) {
    hwy::SetSupportedTargetsForTest(target);
    auto start = bench::clock::now();
    auto lists = index_of(all, 0);
    bench::report({.name = name + "lists: made ready" + set,
                   .unit = "s",
                   .value = std::chrono::duration<double>(bench::clock::now() - start).count(),
                   .limit_name = "aim: seconds",
                   .limit = 5,
                   .aim = 1});
    auto exact = index_of(all, items);
    say(name + "flat" + set, ours(exact, queries, truth), "aim: 1.5 ms", 1500);
    say(name + "flat, four together" + set, four_together(exact, queries), "aim: 1.5 ms", 1500);
    auto mine = ours(lists, queries, got);
    all_mine.push_back(mine);
    say(name + "lists" + set, mine, "Faiss lists, 95 of 100", raw.p50_us());
    say_lost(name + "lists" + set, lost(truth, got), "Faiss lists", faiss_lost);
    for (std::size_t share : {10, 25, 100}) {
      std::vector<std::uint64_t> allowed((items + 63) / 64);
      for (std::size_t row = 0; row < items; ++row)
        if (source() % share == 0)
          allowed[row / 64] |= std::uint64_t{1} << row % 64;
      found wanted;
      auto filter = "lists, " + std::to_string(100 / share) + " % allowed";
      auto flat = ours(exact, queries, wanted, allowed), filtered = ours(lists, queries, got, allowed);
      say(name + filter + set, filtered, "our flat, the same filter", flat.p50_us());
      say_lost(name + filter + set, lost(wanted, got));
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  {
    // Last: it takes minutes to build.
    auto start = bench::clock::now();
    bench::hnswlib_peer graph{all, width, bench::hnswlib_peer::kind::graph};
    bench::report({.name = name + "hnswlib's graph: made ready, 2 threads",
                   .unit = "s",
                   .value = std::chrono::duration<double>(bench::clock::now() - start).count()});
    ours(index_of(all, items), queries, truth);
    auto native = good_graph(graph, queries, truth, graph_lost);
    for (std::size_t i = 0; i < sets.size(); ++i)
      say(name + "lists" + sets[i].second, all_mine[i], "hnswlib's graph", native.p50_us());
    say_lost(name + "hnswlib's graph", graph_lost);
  }
}

/// A million vectors that have nothing in common: no lists can help.
void disorder() {
  constexpr std::size_t items = 1'000'000, asked = 50;
  auto all = normal(items * width, 1), queries = normal(asked * width, 1);
  auto exact = index_of(all, items), lists = index_of(all, 0);
  found truth, got;
  auto flat = ours(exact, queries, truth);
  auto name = items_named(items) + "lists, vectors without any order";
  say(name, ours(lists, queries, got), "our flat", flat.p50_us());
  say_lost(name, lost(truth, got));
}

/// Layers as one request multiplies them.
void products(const std::string& set, std::size_t rounds) {
  struct size {
    std::size_t rows, in, out;
  };
  for (auto [rows, in, out] : {size{1, 64, 128}, size{50, 64, 64}, size{200, 64, 256}, size{200, 256, 64},
                               size{500, 36, 36}, size{500, 128, 256}}) {
    auto x = normal(rows * in, 1), w = normal(in * out, 1), bias = normal(out, 1);
    std::vector<float> y(rows * out);
    model::linear layer{w, bias, in, out};
    auto whole = [](std::size_t n) { return static_cast<int>(n); };
    auto repeats = std::max<std::size_t>(1, 1'000'000 / (rows * in * out));
    bench::samples mine, blas;
    for (std::size_t i = 0; i < rounds; ++i) {
      mine.time([&] {
        for (std::size_t k = 0; k < repeats; ++k)
          layer.apply(x.data(), rows, y.data());
      });
      blas.time([&] {
        for (std::size_t k = 0; k < repeats; ++k) {
          for (std::size_t r = 0; r < rows; ++r)
            std::copy(bias.begin(), bias.end(), y.begin() + static_cast<std::ptrdiff_t>(r * out));
          constexpr int row_major = 101, as_it_is = 111, transposed = 112;
          cblas_sgemm(row_major, as_it_is, transposed, whole(rows), whole(out), whole(in), 1, x.data(),
                      whole(in), w.data(), whole(in), 1, y.data(), whole(out));
        }
      });
    }
    auto billions = 2e-9 * static_cast<double>(rows * in * out * repeats);
    auto* kernels = std::getenv("OPENBLAS_CORETYPE"); // NOLINT(concurrency-mt-unsafe): one thread
    bench::report({.name = fmt::format("layer {} x {} x {}{}", rows, in, out, set),
                   .unit = "GFLOP/s",
                   .value = billions / (mine.p50_us() / 1e6),
                   .limit_name = fmt::format("OpenBLAS, {}", kernels ? kernels : "its choice"),
                   .limit = billions / (blas.p50_us() / 1e6),
                   .aim = 1});
  }
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

void scoring(const std::string& set, std::size_t rounds) {
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
    say(name + set, steps, "aim: 2 ms a request", 2000);
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

/// Instruction sets by which figures are told apart: those that the processor has, the best one first.
std::vector<std::pair<std::int64_t, std::string>> instruction_sets() {
  std::vector<std::pair<std::int64_t, std::string>> out;
  for (auto target : hwy::SupportedAndGeneratedTargets())
    if (target == HWY_AVX3)
      out.emplace_back(target, ", AVX-512");
    else if (target == HWY_AVX2)
      out.emplace_back(target, ", AVX2");
  if (out.empty())
    out.emplace_back(0, "");
  return out;
}

void all_of(std::int64_t target, const std::string& set, bool quick) {
  hwy::SetSupportedTargetsForTest(target);
  products(set, quick ? 20 : 200);
  scoring(set, quick ? 50 : 1000);
  exact_search(set, quick ? 5'000 : 50'000, quick ? 52 : 500);
}

} // namespace

// OpenBLAS chooses its kernels when it is loaded: each instruction set has a process of its own.
int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  if (auto* asked = std::getenv("TROUPE_BENCH_VECTORS")) { // NOLINT(concurrency-mt-unsafe): one thread
    for (auto& [target, set] : instruction_sets())
      if (set == asked)
        all_of(target, set, quick);
    return 0;
  }
  auto sets = instruction_sets();
  for (auto& [target, set] : sets) {
    auto child = ::fork();
    if (child == 0) {
      // NOLINTBEGIN(concurrency-mt-unsafe): one thread
      ::setenv("TROUPE_BENCH_VECTORS", set.c_str(), 1);
      ::setenv("OPENBLAS_NUM_THREADS", "1", 1);
      if (target != 0)
        ::setenv("OPENBLAS_CORETYPE", target == HWY_AVX3 ? "SkylakeX" : "Haswell", 1);
      // NOLINTEND(concurrency-mt-unsafe)
      ::execv("/proc/self/exe", argv);
      ::_exit(127);
    }
    int state = 0;
    if (child < 0 || ::waitpid(child, &state, 0) != child || state != 0) {
      std::cerr << "the figures of" << set << " did not come\n";
      return 1;
    }
  }
  if (!quick) {
    disorder();
    million(sets);
  }
  return 0;
}
