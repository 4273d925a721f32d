// One answer of the ranker in its own process, without sockets and actors: 50,000 items, 500 candidates of
// four sources, an ensemble of two models, rules, and the bytes of the reply; then the same with a network
// that scores by features, for several who wait together, and what a change of the items costs before anybody
// asks. Processor time of the thread, and how often it allocates.
#include "tests/bench/report.hpp"

#include "services/ranker/ranking/pipeline.hpp"
#include "services/ranker/serving/rank_codec.hpp"
#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <new>
#include <random>

namespace {
thread_local std::uint64_t allocations = 0;
}

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (auto* made = std::malloc(bytes))
    return made;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept {
  std::free(at);
}

namespace {

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

constexpr std::size_t factors = 64, neighbours = 100, users = 1000;

std::mt19937 source{17};

std::vector<float> normal(std::size_t count, float deviation) {
  std::normal_distribution<float> draw{0, deviation};
  std::vector<float> out(count);
  for (auto& each : out)
    each = draw(source);
  return out;
}

std::string names(char prefix, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i)
    out += prefix + std::to_string(i) + "\n";
  return out;
}

std::string shape(std::size_t rows, std::size_t columns) {
  return fmt::format("[{},{}]", rows, columns);
}

void add_factors(bundle& to, std::size_t items) {
  auto of_items = normal(items * factors, 0.1f);
  std::vector<float> gram(factors * factors);
  for (std::size_t i = 0; i < items; ++i)
    for (std::size_t a = 0; a < factors; ++a)
      for (std::size_t b = 0; b < factors; ++b)
        gram[a * factors + b] += of_items[i * factors + a] * of_items[i * factors + b];
  to.model("ials", names('i', items),
           weights{}
               .add<float>("item_factors", shape(items, factors), of_items)
               .add<float>("user_factors", shape(users, factors), normal(users * factors, 0.1f))
               .add<float>("gram", shape(factors, factors), gram),
           0.7);
  to.put("models/ials/users.txt", names('u', users));
}

void add_neighbours(bundle& to, std::size_t items) {
  std::vector<std::int32_t> near(items * neighbours);
  std::vector<float> similarity(near.size());
  for (std::size_t i = 0; i < near.size(); ++i) {
    near[i] = static_cast<std::int32_t>(source() % items);
    similarity[i] = 1 / static_cast<float>(i % neighbours + 1);
  }
  to.model("item_knn", names('i', items),
           weights{}
               .add<std::int32_t>("neighbours", shape(items, neighbours), near)
               .add<float>("similarity", shape(items, neighbours), similarity),
           0.3);
}

/// Ten numbers and two categories of eight, two cross layers, two deep ones of 64.
void add_network(bundle& to, std::size_t items) {
  boost::json::array features;
  auto feature = [&](const std::string& name, const char* entity, const char* kind) {
    features.push_back(boost::json::object{{"name", name}, {"entity", entity}, {"kind", kind}});
  };
  for (int i = 0; i < 10; ++i)
    feature("v.n" + std::to_string(i), i < 5 ? "user" : "item", "number");
  feature("v.genres", "item", "category");
  feature("item", "item", "category");
  weights w;
  auto layer = [&](const std::string& name, std::size_t in, std::size_t out) {
    w.add<float>(name + ".weight", shape(out, in), normal(in * out, 0.1f))
        .add<float>(name + ".bias", fmt::format("[{}]", out), normal(out, 0.1f));
  };
  w.add<float>("number.mean", "[10]", std::vector<float>(10, 0))
      .add<float>("number.deviation", "[10]", std::vector<float>(10, 1));
  for (auto* name : {"embedding.v.genres", "embedding.item"})
    w.add<float>(name, shape(1000, 8), normal(8000, 0.1f));
  layer("cross.0", 36, 36);
  layer("cross.1", 36, 36);
  layer("deep.0", 36, 64);
  layer("deep.1", 64, 64);
  layer("head", 100, 1);
  to.model("dcn", names('i', items), w, 0.5, {{"features", features}});
}

constexpr auto rules = R"(
[candidates]
sources = [{name = "nearest", n = 200}, {name = "item-to-item", n = 150}, {name = "trending", n = 100}, {name = "recent", n = 50}]
[[rule]]
kind = "filter"
attribute = "genres"
op = "contains"
text = "none of these"
[[rule]]
kind = "boost"
attribute = "genres"
op = "contains"
text = "g1"
amount = 0.3
[[rule]]
kind = "cap"
attribute = "genres"
op = "contains"
text = "g2"
most = 5
)";

item_attributes row_of(std::size_t item) {
  auto row = card("i" + std::to_string(item),
                  {"g" + std::to_string(source() % 18), "g" + std::to_string(source() % 18)});
  row.trend = static_cast<double>(source() % 1000);
  row.created = 1 + static_cast<std::int64_t>(source() % 1'000'000);
  for (int i = 0; i < 5; ++i)
    row.features.emplace_back(static_cast<double>(source() % 17));
  row.features.emplace_back(*row.find("genres"));
  return row;
}

double thread_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

struct cost {
  bench::samples steps;
  double us = 0, allocations = 0; ///< Of one answer, on the mean.
};

/// What `work`, which gives so many answers a call, costs.
template <class Work>
cost measure(std::size_t rounds, std::size_t answers, Work&& work) {
  for (std::size_t i = 0; i < 50; ++i)
    work(i);
  cost out;
  auto began = thread_us();
  auto allocated = allocations;
  for (std::size_t i = 0; i < rounds; ++i) {
    auto step = thread_us();
    work(i);
    out.steps.add(std::chrono::duration_cast<bench::clock::duration>(
        std::chrono::duration<double, std::micro>((thread_us() - step) / static_cast<double>(answers))));
  }
  auto count = static_cast<double>(rounds * answers);
  out.us = (thread_us() - began) / count;
  out.allocations = static_cast<double>(allocations - allocated) / count;
  return out;
}

void say(const std::string& name, const cost& of, double most_us, double most_allocations) {
  bench::report({.name = name + ", processor",
                 .unit = "us",
                 .value = of.us,
                 .limit_name = "aim: the ranker's share of 1.4 ms",
                 .limit = most_us,
                 .aim = 1,
                 .p50_us = of.steps.p50_us(),
                 .p99_us = of.steps.p99_us()});
  bench::report({.name = name + ", allocations",
                 .unit = "each",
                 .value = of.allocations,
                 .limit_name = "bound",
                 .limit = most_allocations,
                 .aim = 1});
}

struct world {
  troupe::testing::temp_dir dir;
  release_ptr release;
  item_snapshot_ptr items;
  std::vector<std::string> ids;
  std::vector<user_features_ptr> known;

  world(std::size_t count, bool network) {
    bundle made{dir.path()};
    add_factors(made, count);
    add_neighbours(made, count);
    if (network)
      add_network(made, count);
    made.put("rules.toml", rules);
    made.done();
    load_options options;
    options.space = test_space();
    options.flat_up_to = 1'000'000;
    auto loaded = load_release(dir.path(), options);
    if (!loaded) {
      std::cerr << render(loaded.error()) << "\n";
      std::exit(1);
    }
    release = *loaded;
    std::vector<item_attributes> rows;
    for (std::size_t i = 0; i < count; ++i)
      rows.push_back(row_of(i));
    snapshot_origin origin;
    for (int i = 5; i < 10; ++i)
      origin.features.push_back("v.n" + std::to_string(i));
    origin.features.emplace_back("v.genres");
    items = std::make_shared<const item_snapshot>(test_space(), rows, std::move(origin));
    for (std::size_t u = 0; u < users; ++u) {
      ids.push_back("u" + std::to_string(u));
      std::vector<std::string> history;
      for (std::size_t i = 0; i < 30; ++i)
        history.push_back("i" + std::to_string(source() % count));
      std::vector<attribute> values;
      for (int i = 0; i < 5; ++i)
        values.push_back({"v.n" + std::to_string(i), static_cast<double>(source() % 17)});
      known.push_back(known_user(history, values));
    }
  }

  query asked(std::size_t i) const {
    query out;
    out.user = ids[i % users];
    out.known = known[i % users];
    out.seed = i;
    out.now = 1000;
    return out;
  }

  void answer(std::size_t i) const {
    auto made = rank(*release, *items, asked(i));
    encode_ranking(made, release->manifest.id, nullptr, nullptr, {});
  }

  void answer_together(std::size_t i) const {
    std::array<query, most_together> all;
    std::array<rank_input, most_together> inputs;
    for (std::size_t k = 0; k < most_together; ++k) {
      all[k] = asked(i * most_together + k);
      inputs[k] = {items.get(), &all[k]};
    }
    rank_together(*release, inputs, [&](std::size_t, std::optional<ranking> made) {
      encode_ranking(*made, release->manifest.id, nullptr, nullptr, {});
    });
  }
};

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  std::printf("# vectors of %s\n", __builtin_cpu_supports("avx512f") ? "AVX-512"
                                   : __builtin_cpu_supports("avx2")  ? "AVX2"
                                                                     : "SSE");
  std::size_t rounds = quick ? 100 : 3000, items = quick ? 5'000 : 50'000;
  {
    world w{items, false};
    say("an answer of two models", measure(rounds, 1, [&](std::size_t i) { w.answer(i); }), 400, 40);
    say("four answers together",
        measure(rounds / 4, most_together, [&](std::size_t i) { w.answer_together(i); }), 400, 40);
    auto filtered = measure(rounds, 1, [&](std::size_t i) {
      auto asked = w.asked(i);
      asked.filters = {{"genres", predicate_op::contains, false, "g3", 0, {}}};
      auto made = rank(*w.release, *w.items, asked);
    });
    say("an answer with a filter", filtered, 800, 60);
  }
  {
    world w{items, true};
    say("an answer with a DCN too", measure(rounds, 1, [&](std::size_t i) { w.answer(i); }), 800, 60);
    auto now = w.items;
    auto change = measure(quick ? 20 : 200, 1, [&](std::size_t) {
      now = with_changes(now, {.changed = {row_of(source() % items)}, .removed = {}});
      w.release->bindings.get(*w.release, *now, 1000);
    });
    bench::report({.name = "a change of one item, before anybody asks",
                   .unit = "us",
                   .value = change.us,
                   .p50_us = change.steps.p50_us(),
                   .p99_us = change.steps.p99_us()});
  }
}
