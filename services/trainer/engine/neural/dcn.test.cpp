#include "services/trainer/engine/neural/dcn.hpp"

#include "services/trainer/engine/binary_metrics.hpp"
#include "services/trainer/engine/neural/loop.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/core/hash.hpp"
#include "common/model/load.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::neural;

namespace {

constexpr auto nothing = std::numeric_limits<float>::quiet_NaN();

/// Words as they were before they were hashed, for serving.
struct world {
  labelled_rows rows;
  std::vector<std::vector<std::string>> genres;
};

/// A click where the user's mood and the item's agree, which no sum of the two can say; genres matter a
/// little, counts are skewed, a tenth of all values is missing.
world moods(std::uint64_t count) {
  world out;
  random_source random{5};
  auto& columns = out.rows.columns;
  columns.resize(4);
  columns[0].name = "user_state.mood";
  columns[1].name = "item_state.mood";
  columns[2].name = "item_state.genres";
  columns[3].name = "item_state.views";
  columns[1].of_item = columns[2].of_item = columns[3].of_item = columns[2].category = true;
  for (std::uint64_t r = 0; r < count; ++r) {
    auto user = random.normal(), item = random.normal();
    std::vector<std::string> words;
    for (auto* word : {"war", "love", "space"})
      if (random.unit() < 0.4)
        words.emplace_back(word);
    bool war = !words.empty() && words[0] == "war";
    auto chance = 1 / (1 + std::exp(-(3 * user * item + (war ? 1 : 0))));
    out.rows.labels.push_back(random.unit() < chance ? 1.0f : 0.0f);
    auto value = [&](double x) { return random.unit() < 0.1 ? nothing : static_cast<float>(x); };
    columns[0].numbers.push_back(value(user));
    columns[1].numbers.push_back(value(item));
    columns[3].numbers.push_back(value(std::floor(std::exp(2 * random.normal()))));
    for (auto& each : words)
      columns[2].words.push_back(hash64(each));
    columns[2].begin.push_back(columns[2].words.size());
    out.genres.push_back(std::move(words));
    out.rows.users.push_back("u");
    out.rows.items.push_back(fmt::format("i{}", r % 7));
  }
  out.rows.views = {{"user_state", "v1"}};
  return out;
}

dcn_config small_config(const std::string& structure) {
  dcn_config out;
  out.structure = structure;
  out.buckets = 20;
  out.dimensions = 4;
  out.hidden = 16;
  out.loop.batch = 128;
  out.loop.epochs = 6;
  out.loop.learning_rate = 0.01;
  return out;
}

} // namespace

TEST_CASE("what logits say of labels is measured as counted by hand") {
  // Pairs (1 over 0): 2 > 0, 2 > 1, 1 = 1: (1 + 1 + 1 + .5) / 4.
  std::vector<float> logits{2, 0, 1, 1}, labels{1, 0, 0, 1};
  auto got = binary_metrics(logits, labels);
  CHECK(got["auc"] == doctest::Approx(3.5 / 4));
  auto p = [](double x) { return 1 / (1 + std::exp(-x)); };
  CHECK(got["log_loss"] ==
        doctest::Approx(-(std::log(p(2)) + std::log(0.5) + std::log(1 - p(1)) + std::log(p(1))) / 4));
  CHECK(got["calibration"] == doctest::Approx((p(2) + 0.5 + 2 * p(1)) / 2));
  CHECK(got["rate"] == 0.5);
  std::vector<float> ones{1, 1};
  CHECK(!binary_metrics(std::vector<float>{5, -5}, ones).contains("auc"));
  CHECK(!binary_metrics(std::vector<float>{5, -5}, std::vector<float>{0, 0}).contains("calibration"));
  CHECK(binary_metrics({}, {}).empty());
  CHECK(std::isfinite(binary_metrics(std::vector<float>{500, -500}, ones)["log_loss"]));
}

TEST_CASE("a DCN learns a product of two features, and serving's plain one scores as it does") {
  auto data = moods(4000);
  for (auto* structure : {"parallel", "stacked"}) {
    auto config = small_config(structure);
    auto what = make_dcn({config, fmt::format(R"({{"seed":1,"structure":"{}"}})", structure), 1, data.rows});
    REQUIRE_MESSAGE(what, (what ? std::string{} : render(what.error())));
    auto group = join_group({});
    REQUIRE(group);
    loop_setting setting;
    setting.config = config.loop;
    auto done = train(**what, **group, setting, {});
    REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));

    auto from = (*what)->tested_on();
    auto logits = (*what)->logits(from, data.rows.size());
    auto got = binary_metrics(logits, std::span{data.rows.labels}.subspan(from));
    INFO(structure, " auc ", got["auc"]);
    CHECK(got["auc"] > 0.75);

    auto model = (*what)->finish();
    REQUIRE(model);
    CHECK(model->items.size() == 7);
    troupe::testing::temp_dir dir;
    REQUIRE(save_model(*model, dir.path()));
    auto weights = tensor::tensor_file::open(dir / "weights.safetensors");
    REQUIRE(weights);
    auto plain = model::load_scorer("dcn", boost::json::parse(model->config).as_object(), *weights);
    REQUIRE_MESSAGE(plain, (plain ? std::string{} : render(plain.error())));
    CHECK((*plain)->features().views == std::vector<std::string>{"user_state@v1"});
    CHECK(model->config.find(R"("name":"item_state.views","entity":"item","kind":"number","log":true)") !=
          std::string::npos);
    for (std::uint64_t r = from; r < from + 100; ++r) {
      auto value = [&](std::size_t c) {
        auto number = data.rows.columns[c].numbers[r];
        return std::isfinite(number) ? model::feature{static_cast<double>(number)} : model::feature{};
      };
      model::user_context context;
      context.features = {value(0)};
      std::vector<model::row> one{0};
      std::vector<std::string_view> genres(data.genres[r].begin(), data.genres[r].end());
      std::vector<model::feature> features{value(1), std::span<const std::string_view>{genres}, value(3)};
      std::vector<float> score(1), input((*plain)->input_width());
      (*plain)->item_input(features, input);
      const float* of_item = input.data();
      (*plain)->score(context, {one, {&of_item, 1}}, score);
      CHECK(score[0] == doctest::Approx(logits[r - from]).epsilon(1e-3).scale(1));
    }
  }
}

TEST_CASE("rows without both labels, or without features, are no training set") {
  auto data = moods(100);
  auto config = small_config("parallel");
  std::fill(data.rows.labels.begin(), data.rows.labels.end(), 0.0f);
  auto same = make_dcn({config, "{}", 1, data.rows});
  REQUIRE(!same);
  CHECK(same.error().code == ec::invalid_argument);
  CHECK(same.error().text.find("needs both kinds") != std::string::npos);
  data.rows.columns.clear();
  CHECK(!make_dcn({config, "{}", 1, data.rows}));
}
