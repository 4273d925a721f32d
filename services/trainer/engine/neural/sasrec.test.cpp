#include "services/trainer/engine/neural/fit.hpp"
#include "services/trainer/engine/neural/kernels.hpp"
#include "services/trainer/engine/neural/sequence_batch.hpp"
#include "services/trainer/engine/neural/tasks.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <torch/nn/functional/loss.h>
#include <torch/utils.h>

#include <array>
#include <numeric>
#include <thread>

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::neural;

namespace {

constexpr std::array<std::uint32_t, 2> cutoffs{1, 10};

/// Users walk round a circle of 30 items, three at a time, each from a place of its own and for a time of its
/// own.
interactions walkers() {
  interactions out;
  for (int i = 0; i < 30; ++i)
    out.items.push_back(fmt::format("i{}", i));
  for (std::uint32_t u = 0; u < 60; ++u) {
    out.users.push_back(fmt::format("u{}", u));
    for (std::uint32_t k = 0; k < 4 + u % 7; ++k) {
      out.user.push_back(u);
      out.item.push_back((u * 11 + k * 3) % 30);
    }
  }
  return out;
}

train_config small() {
  train_config config;
  config.model = "sasrec";
  config.sasrec.dimensions = 16;
  config.sasrec.feed = 32;
  config.sasrec.length = 8;
  config.sasrec.dropout = 0.1;
  config.sasrec.loop.batch = 16;
  config.sasrec.loop.epochs = 30;
  config.sasrec.loop.learning_rate = 0.02;
  return config;
}

double hits(const trained_model& model, std::span<const ranking_case> cases) {
  auto asked = open_scorer(std::make_shared<const trained_model>(model));
  REQUIRE_MESSAGE(asked, asked.error().text);
  auto metrics = evaluate(**asked, cases, cutoffs, 1);
  REQUIRE(metrics);
  return metrics->at("hr_at_1");
}

bool close(const torch::Tensor& a, const torch::Tensor& b) {
  return torch::allclose(a, b, 1e-4, 1e-5);
}

} // namespace

TEST_CASE("the fused softmax loss and its gradients are those of libtorch") {
  torch::manual_seed(1);
  auto hidden = torch::randn({700, 8}, torch::requires_grad());
  auto items = torch::randn({50, 8}, torch::requires_grad());
  std::vector<std::int64_t> targets(700);
  for (std::size_t i = 0; i < targets.size(); ++i)
    targets[i] = static_cast<std::int64_t>(i * 13 % 50);
  auto hidden_2 = hidden.detach().clone().requires_grad_(true);
  auto items_2 = items.detach().clone().requires_grad_(true);

  auto ours = softmax_loss(hidden, items, targets);
  (ours / 3).backward();
  auto theirs = torch::nn::functional::cross_entropy(
      torch::mm(hidden_2, items_2.t()), torch::tensor(targets, torch::kInt64),
      torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
  (theirs / 3).backward();

  CHECK(close(ours, theirs));
  CHECK(close(hidden.grad(), hidden_2.grad()));
  CHECK(close(items.grad(), items_2.grad()));
}

TEST_CASE("rows are taken with gaps, and their gradients go back to where they came from") {
  auto x = torch::arange(6, torch::kFloat32).view({3, 2}).requires_grad_(true);

  auto taken = take_rows(x, {2, -1, 0});
  (taken * torch::tensor({{1.0f, 1.0f}, {5.0f, 5.0f}, {3.0f, 3.0f}})).sum().backward();

  CHECK(close(taken, torch::tensor({{4.0f, 5.0f}, {0.0f, 0.0f}, {0.0f, 1.0f}})));
  CHECK(close(x.grad(), torch::tensor({{3.0f, 3.0f}, {0.0f, 0.0f}, {1.0f, 1.0f}})));
}

TEST_CASE("what is dropped depends on layer and row alone, and is the share that was asked for") {
  auto x = torch::ones({1000, 64});
  std::vector<std::uint64_t> keys(1000);
  std::iota(keys.begin(), keys.end(), 100U);

  auto all = drop(x, 0.25, 7, keys);
  auto tail = drop(x.narrow(0, 500, 500), 0.25, 7, std::span{keys}.subspan(500));
  auto other = drop(x, 0.25, 8, keys);

  CHECK(torch::equal(all.narrow(0, 500, 500), tail));
  CHECK(!torch::equal(all, other));
  CHECK(all.eq(0).to(torch::kFloat32).mean().item<double>() == doctest::Approx(0.25).epsilon(0.02));
  CHECK(all.mean().item<double>() == doctest::Approx(1).epsilon(0.02));
}

TEST_CASE("sequences are laid out without padding, the newest item at the last position") {
  std::vector<std::uint32_t> items{1, 2, 3, 4, 5, 6};
  std::span<const std::uint32_t> all{items};
  std::vector<sequence> sequences{{all.first(1), 10}, {all, 11}, {all.first(5), 12}};

  auto batch = sequence_batch::of(sequences, 8);

  CHECK(batch.items == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 1});
  CHECK(batch.positions == std::vector<std::int64_t>{2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 7, 7});
  CHECK(batch.last == std::vector<std::int64_t>{11, 5, 10});
  CHECK(batch.first == std::vector<std::int64_t>{11, 0, 6});
  REQUIRE(batch.groups.size() == 2);
  CHECK(batch.groups[0].padded == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1});
  CHECK(batch.groups[0].packed == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

TEST_CASE("SASRec learns a walk, by full and by sampled softmax, and is the same after saving and reading") {
  troupe::testing::temp_dir dir;
  auto split = leave_last_out(walkers(), "test");
  for (std::string softmax : {"full", "sampled"}) {
    CAPTURE(softmax);
    auto config = small();
    config.sasrec.softmax = softmax;
    config.sasrec.negatives = 20;

    auto got = fit(config, split.train, split.validation, {}, {});

    REQUIRE_MESSAGE(got, got.error().text);
    CHECK(got->loop.validated > 0.9);
    CHECK(hits(got->model, split.test) > 0.9);
    REQUIRE(save_model(got->model, dir / softmax));
    auto read = load_model(dir / softmax);
    REQUIRE(read);
    CHECK(hits(*read, split.test) == hits(got->model, split.test));
    CHECK(read->weights.at("position_embedding").shape == std::vector<std::uint64_t>{8, 16});
    CHECK(read->weights.contains("block.1.attention.query.bias"));
  }
}

TEST_CASE("a score does not depend on who else is asked for") {
  auto data = walkers();
  auto config = small();
  config.sasrec.loop.epochs = 3;
  auto got = fit(config, data, {}, {}, {});
  REQUIRE(got);
  auto asked = open_scorer(std::make_shared<const trained_model>(got->model));
  std::vector<std::uint32_t> one{1, 4, 7};
  std::vector<std::uint32_t> longer{2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 2};
  std::vector<query> both{{std::nullopt, one}, {std::nullopt, {}}, {std::nullopt, longer}};
  std::vector<float> together(3 * 30);
  std::vector<float> alone(30);

  (*asked)->score(both, together);
  (*asked)->score(std::span{both}.first(1), alone);

  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(together[i] == doctest::Approx(alone[i]).epsilon(1e-4));
    CHECK(together[30 + i] == 0);
  }
}

TEST_CASE("two ranks follow the loss curve of one with dropout on, and recomputing changes nothing") {
  auto data = walkers();
  auto config = small();
  config.sasrec.loop.epochs = 4;
  config.sasrec.loop.learning_rate = 0.005;
  auto alone = fit(config, data, {}, {}, {});
  REQUIRE(alone);

  auto saving = config;
  saving.sasrec.recompute = true;
  auto again = fit(saving, data, {}, {}, {});
  troupe::testing::temp_dir dir;
  std::array<expected<fitted>, 2> ranks{fail(ec::internal, "not run"), fail(ec::internal, "not run")};
  std::mutex making;
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t r = 0; r < 2; ++r)
      threads.emplace_back([&, r] {
        auto group = join_group({r, 2, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
        fit_setting options;
        options.group = group->get();
        ranks[r] = fit(config, data, {}, options, {});
      });
  }

  REQUIRE(again);
  CHECK((again->loop.losses == alone->loop.losses));
  CHECK((again->model.weights.at("item_embedding").bytes == alone->model.weights.at("item_embedding").bytes));
  for (auto& rank : ranks) {
    REQUIRE_MESSAGE(rank, rank.error().text);
    REQUIRE(rank->loop.losses.size() == alone->loop.losses.size());
    for (std::size_t i = 0; i < rank->loop.losses.size(); ++i)
      CHECK(rank->loop.losses[i] == doctest::Approx(alone->loop.losses[i]).epsilon(1e-3));
  }
}
