#include "services/trainer/engine/neural/two_tower.hpp"

#include "services/trainer/engine/classic.hpp"
#include "services/trainer/engine/neural/loop.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include "common/model/load.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <numeric>

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::neural;

namespace {

/// Users who like one of four kinds of items, and of those the first ones more.
interactions small_world(std::uint32_t users, std::uint32_t items, std::uint32_t each) {
  interactions out;
  random_source random{11};
  for (std::uint32_t i = 0; i < items; ++i)
    out.items.push_back(fmt::format("i{}", i));
  for (std::uint32_t u = 0; u < users; ++u) {
    out.users.push_back(fmt::format("u{}", u));
    std::vector<std::uint8_t> taken(items, 0);
    for (std::uint32_t n = 0; n < each;) {
      bool stray = random.unit() < 0.1;
      auto kind = stray ? random.below(4) : u % 4;
      auto item = static_cast<std::uint32_t>(
          kind + 4 * static_cast<std::uint64_t>(random.unit() * random.unit() * (items / 4)));
      if (taken[item])
        continue;
      taken[item] = 1;
      out.user.push_back(u);
      out.item.push_back(item);
      ++n;
    }
  }
  return out;
}

two_tower_config small_config() {
  two_tower_config out;
  out.dimensions = 16;
  out.hidden = 24;
  out.output = 16;
  out.history = 10;
  out.temperature = 0.2;
  out.loop.epochs = 12;
  out.loop.learning_rate = 0.01;
  out.loop.patience = 0;
  return out;
}

std::string json_of(const two_tower_config& config) {
  return fmt::format(R"({{"seed":1,"normalised":{},"activation":"{}"}})", config.normalised,
                     config.activation);
}

std::shared_ptr<const trained_model> trained(const two_tower_config& config, const interactions& data) {
  auto what = make_two_tower({config, json_of(config), 1, data, {}});
  auto group = join_group({});
  REQUIRE(group);
  loop_setting setting;
  setting.config = config.loop;
  auto done = train(*what, **group, setting, {});
  REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
  auto model = what->finish();
  REQUIRE(model);
  return std::make_shared<const trained_model>(std::move(*model));
}

std::unique_ptr<model::scorer> plain_scorer(const trained_model& of) {
  troupe::testing::temp_dir dir;
  auto saved = save_model(of, dir.path());
  REQUIRE_MESSAGE(saved, (saved ? std::string{} : render(saved.error())));
  auto weights = tensor::tensor_file::open(dir / "weights.safetensors");
  REQUIRE(weights);
  auto made = model::load_scorer(of.kind, boost::json::parse(of.config).as_object(), *weights);
  REQUIRE_MESSAGE(made, (made ? std::string{} : render(made.error())));
  return std::move(*made);
}

} // namespace

TEST_CASE("two towers learn what users of a small world like, and beat popularity") {
  auto split = leave_last_out(small_world(300, 120, 14), "small");
  constexpr std::array<std::uint32_t, 1> cutoffs{10};
  train_config plain;
  plain.model = "popularity";
  auto popular = fit_classic(plain, split.train, 1, {});
  REQUIRE(popular);
  auto asked = make_scorer(std::make_shared<const trained_model>(std::move(*popular)));
  REQUIRE(asked);
  auto beside = evaluate(**asked, split.test, cutoffs, 1);
  REQUIRE(beside);

  for (auto* context : {"before", "others"}) {
    auto config = small_config();
    config.context = context;
    config.user_embedding = context == std::string{"others"};
    auto by = two_tower_scorer(trained(config, split.train));
    REQUIRE(by);
    auto got = evaluate(**by, split.test, cutoffs, 1);
    REQUIRE(got);
    INFO(context, ": ", (*got)["hr_at_10"], ", popularity ", (*beside)["hr_at_10"]);
    CHECK((*got)["hr_at_10"] > (*beside)["hr_at_10"] + 0.1);
  }
}

TEST_CASE("serving's plain two towers score as training's") {
  auto data = small_world(40, 40, 12);
  for (bool normalised : {true, false}) {
    auto config = small_config();
    config.normalised = normalised;
    config.activation = normalised ? "relu" : "gelu";
    config.user_embedding = true;
    config.loop.epochs = 2;
    auto model = trained(config, data);
    auto torch_side = two_tower_scorer(model);
    REQUIRE(torch_side);
    auto plain = plain_scorer(*model);

    std::vector<std::vector<std::uint32_t>> seen{
        {1}, {3, 4, 5}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12}, {}, {}};
    std::vector<query> queries;
    for (std::size_t q = 0; q < seen.size(); ++q)
      queries.push_back({q == 1 || q == 3 ? std::optional<std::uint32_t>{7} : std::nullopt, seen[q]});
    std::vector<float> scores(queries.size() * 40), own(40);
    (*torch_side)->score(queries, scores);
    std::vector<model::row> all(40);
    std::iota(all.begin(), all.end(), 0U);
    for (std::size_t q = 0; q < queries.size(); ++q) {
      model::user_context context;
      context.history = seen[q];
      context.user = queries[q].user;
      plain->score(context, all, own);
      for (std::size_t i = 0; i < 40; ++i)
        CHECK(own[i] == doctest::Approx(scores[q * 40 + i]).epsilon(1e-4).scale(1));
    }
  }
}

TEST_CASE("the loss is a softmax over the step's items less their log frequency, without the user's own") {
  // Three users, windows of one step each: (a b), (b c), (a c); a twice, b twice, c twice, d never predicted.
  interactions data;
  data.users = {"u", "v", "w"};
  data.items = {"a", "b", "c"};
  data.user = {0, 0, 1, 1, 2, 2, 2};
  data.item = {0, 1, 1, 2, 0, 2, 1};
  auto config = small_config();
  config.history = 1;
  for (bool logq : {true, false}) {
    config.logq = logq;
    auto what = make_two_tower({config, json_of(config), 5, data, {}});
    REQUIRE(what->samples() == 4); // The third user's second window is (c b).
    std::vector<std::uint32_t> all{0, 1, 2, 3};
    auto got = what->loss({all, all, 1}).item<double>();
    auto model = what->finish();
    REQUIRE(model);
    auto plain = plain_scorer(*model);

    std::array<std::uint32_t, 4> input{0, 1, 0, 2}, target{1, 2, 2, 1}, owner{0, 1, 2, 2};
    std::array<double, 3> frequency{2.0 / 7, 3.0 / 7, 2.0 / 7};
    double wanted = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      model::user_context context;
      context.history = {input[i]};
      std::vector<float> scores(3);
      plain->score(context, std::vector<model::row>{0, 1, 2}, scores);
      auto logit = [&](std::uint32_t item) {
        return scores[item] / config.temperature - (logq ? std::log(frequency[item]) : 0);
      };
      double sum = 0;
      for (std::size_t j = 0; j < 4; ++j)
        if (j == i || (target[j] != target[i] && owner[j] != owner[i]))
          sum += std::exp(logit(target[j]));
      wanted += std::log(sum) - logit(target[i]);
    }
    CHECK(got == doctest::Approx(wanted).epsilon(1e-4));

    // Parts of the step add up to the whole.
    std::span<const std::uint32_t> whole{all};
    auto parts = what->loss({whole.first(1), all, 1}).item<double>() +
                 what->loss({whole.subspan(1), all, 1}).item<double>();
    CHECK(parts == doctest::Approx(got).epsilon(1e-5));
  }
}

TEST_CASE("scores that would take more than memory_cap are refused before the first step") {
  auto data = small_world(300, 120, 100);
  auto config = small_config();
  config.history = 99;
  config.loop.batch = 256;
  auto what = make_two_tower({config, json_of(config), 5, data, {}});
  auto group = join_group({});
  REQUIRE(group);
  loop_setting setting;
  setting.config = config.loop;
  setting.memory_cap = std::uint64_t{4} << 30; // The scores alone are (256 * 99)^2 * 4 bytes: 2.4 GiB.
  std::uint64_t steps = 0;

  auto done = train(*what, **group, setting, [&](auto&) { return ++steps > 0; });

  REQUIRE(!done);
  CHECK(done.error().code == ec::invalid_argument);
  CHECK(done.error().text.find("memory_cap") != std::string::npos);
  CHECK(steps == 0);
}
