#include "services/trainer/engine/neural/tasks.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/model/load.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <torch/utils.h>

#include <numeric>

using namespace troupe;
using namespace troupe::trainer;

TEST_CASE("serving's plain SASRec scores as training's, for histories shorter and longer than its window") {
  constexpr std::uint32_t items = 30;
  interactions data;
  random_source random{3};
  for (std::uint32_t i = 0; i < items; ++i)
    data.items.push_back(fmt::format("i{}", i));
  for (std::uint32_t u = 0; u < 20; ++u) {
    data.users.push_back(fmt::format("u{}", u));
    for (int n = 0; n < 12; ++n) {
      data.user.push_back(u);
      data.item.push_back(static_cast<std::uint32_t>(random.below(items)));
    }
  }
  for (auto* activation : {"gelu", "relu"}) {
    train_config config;
    config.model = "sasrec";
    config.sasrec.dimensions = 16;
    config.sasrec.feed = 24;
    config.sasrec.length = 6;
    config.sasrec.activation = activation;
    auto what = neural::make_task(config, data, {});
    REQUIRE_MESSAGE(what, (what ? std::string{} : render(what.error())));
    {
      // Far from the first weights, so that no part of the network is idle.
      torch::NoGradGuard off;
      torch::manual_seed(5);
      for (auto& each : (*what)->module().parameters())
        each.add_(0.2 * torch::randn_like(each));
    }
    auto made = (*what)->finish();
    REQUIRE(made);
    made->kind = "sasrec";
    made->config = config.json();
    made->items = data.items;
    troupe::testing::temp_dir dir;
    auto saved = save_model(*made, dir.path());
    REQUIRE(saved);
    auto torch_side = neural::open_scorer(std::make_shared<const trained_model>(std::move(*made)));
    REQUIRE_MESSAGE(torch_side, (torch_side ? std::string{} : render(torch_side.error())));
    auto weights = tensor::tensor_file::open(dir / "weights.safetensors");
    REQUIRE(weights);
    auto plain = model::load_scorer("sasrec", boost::json::parse(config.json()).as_object(), *weights);
    REQUIRE_MESSAGE(plain, (plain ? std::string{} : render(plain.error())));

    std::vector<std::vector<std::uint32_t>> seen{
        {4}, {1, 2, 3}, {9, 8, 7, 6, 5, 4}, {20, 21, 9, 8, 7, 6, 5, 29}};
    std::vector<query> queries;
    for (auto& each : seen)
      queries.push_back({std::nullopt, each});
    std::vector<float> scores(queries.size() * items), own(items);
    (*torch_side)->score(queries, scores);
    std::vector<model::row> all(items);
    std::iota(all.begin(), all.end(), 0U);
    for (std::size_t q = 0; q < queries.size(); ++q) {
      model::user_context context;
      context.history = seen[q];
      (*plain)->score(context, all, own);
      for (std::size_t i = 0; i < items; ++i)
        CHECK(own[i] == doctest::Approx(scores[q * items + i]).epsilon(1e-3).scale(1));
    }
  }
}
