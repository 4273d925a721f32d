#include "services/trainer/engine/als_rows.hpp"
#include "services/trainer/engine/classic.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

using namespace troupe;
using namespace troupe::trainer;

namespace {

constexpr std::array<std::uint32_t, 2> cutoffs{1, 10};

/// Two tastes: users take items of their own half, in an order that differs by user.
interactions two_tastes() {
  interactions out;
  for (int u = 0; u < 40; ++u)
    out.users.push_back(fmt::format("u{}", u));
  for (int i = 0; i < 20; ++i)
    out.items.push_back(fmt::format("i{}", i));
  for (std::uint32_t u = 0; u < 40; ++u)
    for (std::uint32_t k = 0; k < 6; ++k) {
      out.user.push_back(u);
      out.item.push_back((u % 2) * 10 + (u * 7 + k * 3) % 10);
    }
  return out;
}

void write(const std::filesystem::path& file, std::string_view text) {
  std::ofstream{file, std::ios::binary} << text;
}

} // namespace

TEST_CASE("metrics are those computed by hand") {
  std::vector<placing> placings{{0, 0}, {2, 0}, {10, 0}, {9, 0}};

  auto got = ranking_metrics(placings, cutoffs);

  CHECK(got["hr_at_1"] == doctest::Approx(1.0 / 4));
  CHECK(got["hr_at_10"] == doctest::Approx(3.0 / 4));
  CHECK(got["ndcg_at_10"] == doctest::Approx((1 + 1 / 2.0 + 1 / std::log2(11.0)) / 4));
  CHECK(got["mrr"] == doctest::Approx((1 + 1 / 3.0 + 1 / 11.0 + 1 / 10.0) / 4));
}

TEST_CASE("questions in which all items have the same score are counted") {
  std::vector<placing> placings{{0, 9, 9}, {0, 8, 9}, {3, 0, 9}, {0, 0, 0}};

  CHECK(ranking_metrics(placings, cutoffs)["tied"] == doctest::Approx(0.25));
}

TEST_CASE("items with the same score count as the mean over their orders") {
  std::vector<placing> placings{{0, 1}};

  auto got = ranking_metrics(placings, cutoffs);

  CHECK(got["hr_at_1"] == doctest::Approx(0.5));
  CHECK(got["hr_at_10"] == doctest::Approx(1));
  CHECK(got["ndcg_at_10"] == doctest::Approx((1 + 1 / std::log2(3.0)) / 2));
  CHECK(got["mrr"] == doctest::Approx(0.75));
}

TEST_CASE("a positive among its own negatives counts once") {
  testing::temp_dir dir;
  write(dir / "ml-1m.train.pairs.tsv", "0\t5\n1\t5\n1\t6\n");
  write(dir / "ml-1m.test.rating", "0\t6\t5\t9\n");
  write(dir / "ml-1m.test.negative", "(0,6)\t7\t6\t8\n");

  auto data = load_benchmark("ml-1m-ncf", dir.path());

  REQUIRE(data);
  REQUIRE(data->test.size() == 1);
  CHECK(data->test[0].negatives.size() == 2);
  CHECK(data->train.items == std::vector<std::string>{"5", "6", "7", "8"});
}

TEST_CASE("the last item is the test, the one before it the validation, and both are kept from training") {
  testing::temp_dir dir;
  write(dir / "ml-1m.txt", "1 a\n1 b\n1 c\n1 d\n2 a\n2 b\n");

  auto data = load_benchmark("ml-1m-sasrec", dir.path());

  REQUIRE(data);
  REQUIRE(data->test.size() == 1);
  CHECK(data->test[0].positive == 3);
  CHECK(data->test[0].seen == std::vector<std::uint32_t>{0, 1, 2});
  CHECK(data->validation[0].positive == 2);
  CHECK(data->validation[0].seen == std::vector<std::uint32_t>{0, 1});
  CHECK(data->train.size() == 4);
}

TEST_CASE("interactions come in order of time, and a bad line is named") {
  testing::temp_dir dir;
  write(dir / "a", "item_id\tuser_id\trating\ttimestamp\nx\tu\t1\t30\ny\tv\t1\t10\n");
  write(dir / "b", "u::x::5::20\nu::y::5::10\n");
  write(dir / "c", "u x\nu\n");

  auto named = read_interactions(dir / "a");
  auto plain = read_interactions(dir / "c");

  REQUIRE(named);
  CHECK(named->items == std::vector<std::string>{"y", "x"});
  CHECK(named->users == std::vector<std::string>{"v", "u"});
  CHECK(read_interactions(dir / "b")->size() == 2);
  REQUIRE(!plain);
  CHECK(plain.error().text.find("line 2") != std::string::npos);
  CHECK(!read_interactions(dir / "none"));
}

TEST_CASE("every model learns two tastes, is saved and read back, and is the same bytes each time") {
  testing::temp_dir dir;
  auto data = leave_last_out(two_tastes(), "test");
  for (std::string kind : {"popularity", "item_knn", "ease", "ials", "bpr"}) {
    CAPTURE(kind);
    train_config config;
    config.model = kind;
    config.ease.l2 = 5;
    config.bpr.dimensions = config.ials.dimensions = 8;

    auto first = fit_classic(config, data.train, 1, {});
    auto second = fit_classic(config, data.train, 2, {});
    REQUIRE(first);
    REQUIRE(second);
    auto hash = save_model(*first, dir / kind);
    REQUIRE(hash);
    CHECK(*hash == *save_model(*second, dir / "again"));
    auto read = load_model(dir / kind);
    REQUIRE(read);
    CHECK(read->items == data.train.items);
    CHECK(read->config == first->config);
    auto asked = make_scorer(std::make_shared<trained_model>(*std::move(read)));
    REQUIRE(asked);
    auto metrics = evaluate(**asked, data.test, cutoffs, 2);
    REQUIRE(metrics);
    // Ten items of either taste; five are seen, one is asked for.
    if (kind != "popularity")
      CHECK(metrics->at("hr_at_10") == doctest::Approx(1));
  }
}

TEST_CASE("steps of conjugate gradient come to what a row's equations are solved by") {
  constexpr std::uint64_t width = 20, count = 90;
  random_source random{7};
  std::vector<float> other(count * width);
  for (auto& each : other)
    each = static_cast<float>(random.normal());
  auto gram = gram_of(other, width, 2);
  CHECK(gram == gram_of(other, width, 1));
  als_row_solver solver{other, gram, width, 0.3f};
  std::vector<std::uint32_t> taken;
  for (std::uint32_t i = 0; i < 7; ++i) // Four at a time, and those left.
    taken.push_back(i * 11);
  std::vector<float> exact(width), near(width);
  solver.solve(taken, 0.5f, exact.data());
  auto farthest = [&] {
    float most = 0;
    for (std::uint64_t d = 0; d < width; ++d)
      most = std::max(most, std::abs(near[d] - exact[d]));
    return most;
  };
  solver.improve(taken, 0.5f, 3, near.data());
  auto of_three = farthest();
  solver.improve(taken, 0.5f, 60, near.data());
  CHECK(of_three < 0.05f);
  CHECK(farthest() < 1e-5f);
  // The equations themselves: (0.3 G + Y'Y + 0.5 I) x = Y'1.
  for (std::uint64_t i = 0; i < width; ++i) {
    double left = 0.5 * exact[i], right = 0;
    for (std::uint64_t j = 0; j < width; ++j)
      left += 0.3 * gram[i * width + j] * exact[j];
    for (auto entry : taken) {
      double along = 0;
      for (std::uint64_t j = 0; j < width; ++j)
        along += static_cast<double>(other[entry * width + j]) * exact[j];
      left += along * other[entry * width + i];
      right += other[entry * width + i];
    }
    CHECK(left == doctest::Approx(right).epsilon(1e-3));
  }
}

TEST_CASE("a model whose weights were changed is refused") {
  testing::temp_dir dir;
  train_config config;
  config.model = "popularity";
  auto model = fit_classic(config, two_tastes(), 1, {});
  REQUIRE(save_model(*model, dir / "m"));
  {
    std::fstream file{dir.path() / "m" / "weights.safetensors",
                      std::ios::binary | std::ios::in | std::ios::out};
    file.seekp(-1, std::ios::end);
    file.put('x');
  }
  auto read = load_model(dir / "m");
  REQUIRE(!read);
  CHECK(read.error().code == ec::corrupt);
}

TEST_CASE("every part of a training makes steps, and ends where it is asked to") {
  auto data = two_tastes();
  std::map<std::string, std::vector<std::string>> parts{{"item_knn", {"counting", "sorting"}},
                                                        {"ease", {"counting", "inverting", "sorting"}},
                                                        {"ials", {"fitting"}},
                                                        {"bpr", {"fitting"}}};
  for (auto& [kind, wanted] : parts) {
    CAPTURE(kind);
    train_config config;
    config.model = kind;
    std::map<std::string, std::uint64_t> steps, last;
    REQUIRE(fit_classic(config, data, 1, [&](const progress& now) {
      ++steps[now.stage];
      CHECK(now.step >= last[now.stage]);
      CHECK(now.step <= now.steps);
      last[now.stage] = now.step;
      return true;
    }));
    for (auto& stage : wanted) {
      CAPTURE(stage);
      CHECK(steps[stage] >= 1);
      auto stopped = fit_classic(config, data, 1, [&](const progress& now) { return now.stage != stage; });
      REQUIRE(!stopped);
      CHECK(stopped.error().code == ec::canceled);
    }
    // An iteration over more than a few rows is more than one step.
    if (kind == "ials")
      CHECK(steps["fitting"] > config.ials.iterations * 10);
  }
}

TEST_CASE("an epoch over a long log is more than one step") {
  interactions data;
  for (std::uint32_t i = 0; i < 1200; ++i)
    data.items.push_back(std::to_string(i));
  for (std::uint32_t u = 0; u < 2000; ++u) {
    data.users.push_back(std::to_string(u));
    for (std::uint32_t i = 0; i < 600; ++i) {
      data.user.push_back(u);
      data.item.push_back((u + i) % 1200);
    }
  }
  train_config config;
  config.model = "bpr";
  config.bpr.epochs = 1;
  config.bpr.dimensions = 1;
  std::vector<std::uint64_t> steps;

  REQUIRE(fit_classic(config, data, 1, [&](const progress& now) {
    steps.push_back(now.step);
    return now.steps == 2;
  }));

  CHECK(steps == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("item_knn counts the table that is served before it is made") {
  // One item that all users took is near to every other: the table is as wide as it may be.
  interactions data;
  for (std::uint32_t i = 0; i < 3000; ++i)
    data.items.push_back(std::to_string(i));
  for (std::uint32_t u = 0; u < 2999; ++u) {
    data.users.push_back(std::to_string(u));
    data.user.insert(data.user.end(), {u, u});
    data.item.insert(data.item.end(), {0, u + 1});
  }
  train_config config;
  config.model = "item_knn";
  auto fitted = fit_classic(config, data, 1, {});
  REQUIRE(fitted);
  auto table = fitted->weights.at("neighbours").bytes.size() + fitted->weights.at("similarity").bytes.size();
  CHECK(table == 3000ULL * 1000 * 8);

  config.memory_cap = table;
  auto refused = fit_classic(config, data, 1, {});

  REQUIRE(!refused);
  CHECK(refused.error().text.find("item_knn.serve_neighbours") != std::string::npos);
}

TEST_CASE("more memory than the cap is refused before it is taken") {
  train_config config;
  config.memory_cap = 1024;
  auto fitted = fit_classic(config, two_tastes(), 1, {});
  REQUIRE(!fitted);
  CHECK(fitted.error().text.find("memory_cap") != std::string::npos);
}

TEST_CASE("on MovieLens 1M popularity is what was published, and EASE at least near it") {
  auto* named = std::getenv("TROUPE_DATA"); // NOLINT(concurrency-mt-unsafe): nobody writes the environment
  auto folder = std::filesystem::path{named ? named : TROUPE_DATA_STANDARD} / "ml-1m-ncf";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: no data");
    return;
  }
  auto data = load_benchmark("ml-1m-ncf", folder);
  REQUIRE(data);
  auto measure = [&](const char* kind) {
    train_config config;
    config.model = kind;
    auto model = fit_classic(config, data->train, 2, {});
    REQUIRE(model);
    auto asked = make_scorer(std::make_shared<const trained_model>(*std::move(model)));
    auto metrics = evaluate(**asked, data->test, cutoffs, 2);
    REQUIRE(metrics);
    return *metrics;
  };

  auto popularity = measure("popularity");
  auto ease = measure("ease");

  CHECK(std::abs(popularity.at("hr_at_10") - 0.4533) < 0.0005);
  CHECK(std::abs(popularity.at("ndcg_at_10") - 0.2542) < 0.0005);
  CHECK(ease.at("hr_at_10") >= 0.715);
  CHECK(ease.at("ndcg_at_10") >= 0.446);
}
