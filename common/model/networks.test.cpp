#include "common/model/load.hpp"
#include "common/model/test_weights.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <hwy/highway.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>

using namespace troupe;
using namespace troupe::model;
using model::testing::test_weights;

namespace {

std::vector<float> scores(const scorer& by, const user_context& context, std::vector<row> rows) {
  std::vector<float> out(rows.size());
  by.score(context, rows, out);
  return out;
}

/// The scores of items that have these features, one each.
std::vector<float> scores_by(const scorer& by, const user_context& context,
                             const std::vector<feature>& features) {
  std::vector<row> rows(features.size());
  std::vector<std::vector<float>> inputs;
  std::vector<const float*> places;
  for (auto& each : features) {
    by.item_input({&each, 1}, inputs.emplace_back(by.input_width()));
    places.push_back(inputs.back().data());
  }
  std::vector<float> out(rows.size());
  by.score(context, {rows, places}, out);
  return out;
}

user_context with_history(std::vector<row> history) {
  user_context out;
  out.history = std::move(history);
  return out;
}

/// Random weights by name, kept beside the file that is made of them.
struct random_weights {
  std::mt19937 random;
  std::map<std::string, std::vector<float>> all;
  test_weights file;

  explicit random_weights(unsigned seed) : random{seed} {}
  random_weights& add(const std::string& name, std::vector<std::size_t> shape, float mean = 0) {
    std::normal_distribution<float> normal{mean, 0.5f};
    std::size_t count = 1;
    for (auto each : shape)
      count *= each;
    std::vector<float> values(count);
    for (auto& each : values)
      each = normal(random);
    file.add<float>(name, fmt::format("[{}]", fmt::join(shape, ",")), values);
    all[name] = std::move(values);
    return *this;
  }
};

using matrix = std::vector<std::vector<double>>;

/// The transformer of SASRec once more, in double precision and as the formulas stand.
struct plain_sasrec {
  const std::map<std::string, std::vector<float>>& w;
  std::size_t width, heads, longest, blocks;

  matrix layer(const std::string& name, const matrix& x) const {
    auto &weight = w.at(name + ".weight"), &bias = w.at(name + ".bias");
    matrix y;
    for (auto& each : x) {
      auto& out = y.emplace_back(bias.begin(), bias.end());
      for (std::size_t o = 0; o < out.size(); ++o)
        for (std::size_t i = 0; i < each.size(); ++i)
          out[o] += static_cast<double>(weight[o * each.size() + i]) * each[i];
    }
    return y;
  }
  matrix norm(const std::string& name, matrix x) const {
    auto &weight = w.at(name + ".weight"), &bias = w.at(name + ".bias");
    for (auto& each : x) {
      double mean = 0, square = 0;
      for (auto v : each)
        mean += v / static_cast<double>(width);
      for (auto v : each)
        square += (v - mean) * (v - mean) / static_cast<double>(width);
      for (std::size_t i = 0; i < width; ++i)
        each[i] = (each[i] - mean) / std::sqrt(square + 1e-5) * weight[i] + bias[i];
    }
    return x;
  }
  static void add(matrix& to, const matrix& from) {
    for (std::size_t r = 0; r < to.size(); ++r)
      for (std::size_t i = 0; i < to[r].size(); ++i)
        to[r][i] += from[r][i];
  }

  std::vector<double> state(std::vector<row> history) const {
    if (history.size() > longest)
      history.erase(history.begin(), history.end() - static_cast<std::ptrdiff_t>(longest));
    auto n = history.size();
    matrix x(n, std::vector<double>(width));
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t i = 0; i < width; ++i)
        x[t][i] = static_cast<double>(w.at("item_embedding")[history[t] * width + i]) +
                  w.at("position_embedding")[(longest - n + t) * width + i];
    for (std::size_t b = 0; b < blocks; ++b) {
      auto name = fmt::format("block.{}", b);
      auto normed = norm(name + ".attention_norm", x);
      auto q = layer(name + ".attention.query", normed), k = layer(name + ".attention.key", normed),
           v = layer(name + ".attention.value", normed);
      matrix mixed(n, std::vector<double>(width, 0));
      auto wide = width / heads;
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t t = 0; t < n; ++t) {
          std::vector<double> weight;
          double sum = 0;
          for (std::size_t s = 0; s <= t; ++s) {
            double dot = 0;
            for (auto i = h * wide; i < (h + 1) * wide; ++i)
              dot += q[t][i] * k[s][i];
            sum += weight.emplace_back(std::exp(dot / std::sqrt(static_cast<double>(wide))));
          }
          for (std::size_t s = 0; s <= t; ++s)
            for (auto i = h * wide; i < (h + 1) * wide; ++i)
              mixed[t][i] += weight[s] / sum * v[s][i];
        }
      add(x, layer(name + ".attention.output", mixed));
      auto hidden = layer(name + ".feed.in", norm(name + ".feed_norm", x));
      for (auto& each : hidden)
        for (auto& value : each)
          value *= 0.5 * std::erfc(-value / std::sqrt(2.0));
      add(x, layer(name + ".feed.out", hidden));
    }
    return norm("final_norm", x).back();
  }
};

random_weights sasrec_weights(unsigned seed, std::size_t items, std::size_t width, std::size_t longest,
                              std::size_t blocks, std::size_t hidden) {
  random_weights out{seed};
  out.add("item_embedding", {items, width}).add("position_embedding", {longest, width});
  for (std::size_t b = 0; b < blocks; ++b) {
    auto name = fmt::format("block.{}.", b);
    for (auto* each : {"query", "key", "value", "output"})
      out.add(name + "attention." + each + ".weight", {width, width})
          .add(name + "attention." + each + ".bias", {width});
    for (auto* each : {"attention_norm", "feed_norm"})
      out.add(name + each + ".weight", {width}, 1).add(name + each + ".bias", {width});
    out.add(name + "feed.in.weight", {hidden, width}).add(name + "feed.in.bias", {hidden});
    out.add(name + "feed.out.weight", {width, hidden}).add(name + "feed.out.bias", {width});
  }
  out.add("final_norm.weight", {width}, 1).add("final_norm.bias", {width});
  return out;
}

} // namespace

TEST_CASE("a linear layer is W x + b for every count of rows and columns") {
  std::mt19937 random{5};
  std::normal_distribution<float> normal;
  for (std::size_t rows : {1, 2, 5, 6, 7, 13})
    for (std::size_t out : {1, 15, 16, 17, 40})
      for (std::size_t in : {1, 3, 33}) {
        std::vector<float> x(rows * in), w(out * in), b(out), y(rows * out, -1);
        for (auto* each : {&x, &w, &b})
          for (auto& value : *each)
            value = normal(random);
        linear{w, b, in, out}.apply(x.data(), rows, y.data());
        for (std::size_t r = 0; r < rows; ++r)
          for (std::size_t o = 0; o < out; ++o) {
            double sum = b[o];
            for (std::size_t i = 0; i < in; ++i)
              sum += static_cast<double>(w[o * in + i]) * x[r * in + i];
            REQUIRE(y[r * out + o] == doctest::Approx(sum).epsilon(1e-5));
            REQUIRE(dot(w.data() + o * in, x.data() + r * in, in) ==
                    doctest::Approx(sum - b[o]).epsilon(1e-4));
          }
      }
}

TEST_CASE("every instruction set that the processor has gives the same to rounding") {
  std::mt19937 random{6};
  std::normal_distribution<float> normal;
  constexpr std::size_t in = 37, out = 70, rows = 29, width = 44, length = 35;
  auto draw = [&](std::size_t count) {
    std::vector<float> values(count);
    for (auto& each : values)
      each = normal(random);
    return values;
  };
  auto x = draw(rows * in), w = draw(in * out), b = draw(out);
  auto query = draw(rows * width), key = draw(length * width), value = draw(length * width);
  std::vector<row> some{0, 7, 7, 28, 3, 11, 12, 13, 14, 15, 1};
  auto all = [&] {
    std::vector<float> y(rows * out), mixed(rows * width), products(some.size());
    linear{w, b, in, out}.apply(x.data(), rows, y.data());
    attend({query.data(), key.data(), value.data(), rows, length, width, 2}, mixed.data());
    products_of(x, some, std::span{w}.first(in), products);
    auto sum = x;
    add_scaled(sum.data(), w.data(), 0.5f, in + 2);
    softmax(sum.data(), in);
    activate(activation::gelu, std::span{sum}.subspan(in, 3 * in));
    activate(activation::relu, std::span{sum}.subspan(4 * in));
    for (auto* part : {&mixed, &products, &sum})
      y.insert(y.end(), part->begin(), part->end());
    y.push_back(dot(x.data(), w.data(), 51));
    return y;
  };

  auto wanted = all();
  for (auto target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    auto got = all();
    hwy::SetSupportedTargetsForTest(0);
    INFO(hwy::TargetName(target));
    for (std::size_t i = 0; i < wanted.size(); ++i)
      REQUIRE(got[i] == doctest::Approx(wanted[i]).epsilon(1e-4).scale(1));
  }
}

TEST_CASE("softmax and gelu are exact to a millionth over all that floats can ask of them") {
  for (std::size_t n : {1, 7, 16, 33}) {
    std::vector<float> values;
    std::vector<double> wanted;
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      values.push_back(3 * static_cast<float>(i) - 40);
      sum += wanted.emplace_back(std::exp(3 * (static_cast<double>(i) - static_cast<double>(n - 1))));
    }
    softmax(values.data(), n);
    for (std::size_t i = 0; i < n; ++i)
      CHECK(values[i] == doctest::Approx(wanted[i] / sum).epsilon(1e-6).scale(1));
  }
  std::vector<float> extreme{1000, -1000, 1000};
  softmax(extreme.data(), 3);
  CHECK(extreme[0] == doctest::Approx(0.5));
  CHECK(extreme[1] < 1e-30);
  std::vector<float> x;
  for (float value = -12; value <= 12; value += 0.037f)
    x.push_back(value);
  auto y = x;
  activate(activation::gelu, y);
  for (std::size_t i = 0; i < x.size(); ++i)
    CHECK(y[i] == doctest::Approx(x[i] * 0.5 * std::erfc(-x[i] / std::sqrt(2.0))).epsilon(1e-6).scale(1));
}

TEST_CASE("SASRec without attention or feed is its last norm over item and position, counted by hand") {
  test_weights w;
  w.add<float>("item_embedding", "[2,2]", {3, 0, 1, 5})
      .add<float>("position_embedding", "[2,2]", {9, 9, 0, 1});
  std::vector<float> nothing(4, 0), none(2, 0), one(2, 1);
  for (auto* each : {"query", "key", "value", "output"})
    w.add<float>(fmt::format("block.0.attention.{}.weight", each), "[2,2]", nothing)
        .add<float>(fmt::format("block.0.attention.{}.bias", each), "[2]", none);
  for (auto* each : {"attention_norm", "feed_norm"})
    w.add<float>(fmt::format("block.0.{}.weight", each), "[2]", one)
        .add<float>(fmt::format("block.0.{}.bias", each), "[2]", none);
  for (auto* each : {"in", "out"})
    w.add<float>(fmt::format("block.0.feed.{}.weight", each), "[2,2]", nothing)
        .add<float>(fmt::format("block.0.feed.{}.bias", each), "[2]", none);
  w.add<float>("final_norm.weight", "[2]", {2, 1}).add<float>("final_norm.bias", "[2]", {0, 0.5f});
  auto model = load_sasrec(w.done(), {1, activation::relu, 1e-6f});
  REQUIRE(model);

  // (3,0) + (0,1) = (3,1): mean 2, deviation 1, so (1,-1), so (2,-0.5).
  auto got = scores(**model, with_history({0}), {0, 1});
  CHECK(got[0] == doctest::Approx(6));
  CHECK(got[1] == doctest::Approx(2 - 2.5));
  CHECK(scores(**model, {}, {0, 1}) == std::vector<float>{0, 0});
  CHECK((*model)->user_vector({}).empty());
}

TEST_CASE("SASRec equals the formulas in double precision, for one head and two, short and long histories") {
  for (std::size_t heads : {1, 2}) {
    auto w = sasrec_weights(3, 20, 8, 6, 2, 12);
    auto model = load_sasrec(w.file.done(), {heads, activation::gelu, 1e-5f});
    REQUIRE(model);
    plain_sasrec plain{w.all, 8, heads, 6, 2};
    std::vector<row> history;
    for (row item : {4, 9, 9, 0, 19, 7, 3, 4}) {
      history.push_back(item);
      auto got = (*model)->user_vector(with_history(history));
      auto wanted = plain.state(history);
      REQUIRE(got.size() == 8);
      for (std::size_t i = 0; i < 8; ++i)
        CHECK(got[i] == doctest::Approx(wanted[i]).epsilon(1e-4));
      // A dot product with the item's vector is the score: what nearest neighbours are searched by.
      auto all = (*model)->item_vectors();
      CHECK(scores(**model, with_history(history), {5})[0] ==
            doctest::Approx(dot(got.data(), all.data() + 5 * 8, 8)));
    }
    auto newest = std::vector<row>(history.end() - 6, history.end());
    CHECK(scores(**model, with_history(history), {1, 2}) == scores(**model, with_history(newest), {1, 2}));
    std::swap(newest[0], newest[4]);
    CHECK(scores(**model, with_history(history), {1, 2}) != scores(**model, with_history(newest), {1, 2}));
  }
}

TEST_CASE("SASRec weights that do not fit each other are refused by name") {
  auto refused = [](const std::function<void(random_weights&)>& change, sasrec_shape shape, const char* why) {
    auto w = sasrec_weights(1, 4, 4, 3, 1, 4);
    random_weights other{2};
    change(w);
    test_weights file;
    for (auto& [name, values] : w.all) {
      auto dimensions = name == "item_embedding"       ? fmt::format("[{},4]", values.size() / 4)
                        : name == "position_embedding" ? fmt::format("[{},4]", values.size() / 4)
                        : name.ends_with("norm.weight") || name.ends_with(".bias")
                            ? fmt::format("[{}]", values.size())
                            : fmt::format("[{},4]", values.size() / 4);
      file.add<float>(name, dimensions, values);
    }
    auto got = load_sasrec(file.done(), shape);
    if (got)
      return false;
    INFO(got.error().text);
    return got.error().code == ec::corrupt && got.error().text.find(why) != std::string::npos;
  };
  auto same = [](random_weights&) {};
  CHECK(refused(same, {3, activation::gelu, 1e-5f}, "3 heads cannot share a width of 4"));
  CHECK(refused(same, {1, activation::gelu, 0}, "norm_epsilon"));
  CHECK(
      refused([](auto& w) { w.all.erase("block.0.attention.key.bias"); }, {}, "block.0.attention.key.bias"));
  CHECK(refused([](auto& w) { w.all["block.0.attention.value.weight"].resize(12); }, {},
                "block.0.attention.value.weight"));
  CHECK(refused([](auto& w) { w.all["final_norm.weight"].resize(3); }, {}, "final_norm.weight"));
  CHECK(refused([](auto& w) { w.all.erase("block.0.attention.query.weight"); }, {},
                "block.0.attention.query.weight"));
  CHECK(refused([](auto& w) { w.all["position_embedding"].clear(); }, {}, "position_embedding"));
}

namespace {

/// Two items on the user's side (1,0) and (0,1), three dimensions on the items' side.
test_weights small_towers() {
  return test_weights{}
      .add<float>("item_vectors", "[2,3]", {1, 0, 0, 0, 1, 1})
      .add<float>("history_embedding", "[2,2]", {1, 0, 0, 1})
      .add<float>("user_embedding", "[1,2]", {2, 2})
      .add<float>("pooling.query", "[2]", {0, 0})
      .add<float>("pooling.recency", "[2]", {0, std::log(3.0f)})
      .add<float>("user_tower.0.weight", "[2,2]", {1, 0, 0, -1})
      .add<float>("user_tower.0.bias", "[2]", {0, 0.5f})
      .add<float>("user_tower.1.weight", "[3,2]", {1, 0, 0, 2, 1, 1})
      .add<float>("user_tower.1.bias", "[3]", {0, 0, 0});
}

} // namespace

TEST_CASE("two towers score by the newest of the history, weighed by recency, as counted by hand") {
  auto model = load_two_tower(small_towers().done(), {activation::relu, false});
  REQUIRE(model);

  // Items 1 then 0: weights 1/4 and 3/4, so (.75,.25); layer: (.75, .25), relu; so (.75, .5, 1).
  auto got = (*model)->user_vector(with_history({1, 1, 0}));
  REQUIRE(got.size() == 3);
  CHECK(got[0] == doctest::Approx(0.75));
  CHECK(got[1] == doctest::Approx(0.5));
  CHECK(got[2] == doctest::Approx(1));
  auto score = scores(**model, with_history({1, 0}), {0, 1});
  CHECK(score[0] == doctest::Approx(0.75));
  CHECK(score[1] == doctest::Approx(1.5));

  // A known user's embedding is added: (2,2) alone gives (2, relu(-1.5)), so (2, 0, 2).
  user_context known;
  known.user = 0;
  CHECK(scores(**model, known, {0, 1}) == std::vector<float>{2, 2});
  CHECK(scores(**model, {}, {0, 1}) == std::vector<float>{0, 0});
  CHECK((*model)->user_vector({}).empty());

  auto unit = load_two_tower(small_towers().done(), {activation::relu, true});
  REQUIRE(unit);
  CHECK(scores(**unit, known, {0})[0] == doctest::Approx(1 / std::sqrt(2.0)));
  auto reused = with_history({1, 0});
  reused.vector = {0, 0, 1};
  CHECK(scores(**model, reused, {1}) == std::vector<float>{1});
}

TEST_CASE("towers that do not meet are refused by name") {
  auto refused = [](const test_weights& w, const char* why) {
    auto got = load_two_tower(w.done(), {});
    return !got && got.error().code == ec::corrupt && got.error().text.find(why) != std::string::npos;
  };
  auto base = [] {
    return test_weights{}
        .add<float>("item_vectors", "[2,3]", std::vector<float>(6))
        .add<float>("pooling.query", "[2]", {0, 0})
        .add<float>("user_tower.0.bias", "[2]", {0, 0});
  };
  CHECK(refused(base(), "history_embedding"));
  CHECK(refused(base()
                    .add<float>("history_embedding", "[2,2]", std::vector<float>(4))
                    .add<float>("pooling.recency", "[1]", {0})
                    .add<float>("user_tower.0.weight", "[2,2]", std::vector<float>(4)),
                "gives vectors of 2"));
  CHECK(refused(base()
                    .add<float>("history_embedding", "[2,2]", std::vector<float>(4))
                    .add<float>("pooling.recency", "[0]", {}),
                "pooling.recency"));
  CHECK(refused(base()
                    .add<float>("history_embedding", "[2,2]", std::vector<float>(4))
                    .add<float>("pooling.recency", "[1]", {0})
                    .add<float>("user_tower.0.weight", "[2,3]", std::vector<float>(6)),
                "user_tower.0.weight"));
}

namespace {

/// One number of the user, one category of the item; 4 inputs; one cross layer, one deep layer of 1.
test_weights small_dcn(bool stacked) {
  // The row of "x" in a table of 2 is 1.
  return test_weights{}
      .add<float>("number.mean", "[1]", {1})
      .add<float>("number.deviation", "[1]", {2})
      .add<float>("embedding.item_card.genres", "[2,2]", {0.5f, 0, 1, -1})
      .add<float>("cross.0.weight", "[4,4]", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0})
      .add<float>("cross.0.bias", "[4]", {0, 0, 1, 0})
      .add<float>("deep.0.weight", "[1,4]", {1, 1, 1, 1})
      .add<float>("deep.0.bias", "[1]", {0})
      .add<float>("head.weight", stacked ? "[1,1]" : "[1,5]",
                  stacked ? std::vector<float>{2} : std::vector<float>{1, 10, 100, 0, 1000})
      .add<float>("head.bias", "[1]", {0.25f});
}

dcn_shape small_shape(bool stacked) {
  return {{{"user_ratings.mean_rating", dcn_feature::entity::user, dcn_feature::kind::number, false},
           {"item_card.genres", dcn_feature::entity::item, dcn_feature::kind::category, false}},
          {"user_ratings@v"},
          stacked};
}

} // namespace

TEST_CASE("a DCN scores features as counted by hand, and missing ones have inputs of their own") {
  auto model = load_dcn(small_dcn(false).done(), small_shape(false));
  REQUIRE(model);
  CHECK((*model)->items() == 0);
  CHECK((*model)->features().user == std::vector<std::string>{"user_ratings.mean_rating"});
  CHECK((*model)->features().item == std::vector<std::string>{"item_card.genres"});
  std::vector<std::string_view> none, both{"x", "y"};
  std::vector<feature> genres{feature{std::string_view{"x"}},
                              feature{std::span<const std::string_view>{none}},
                              feature{std::span<const std::string_view>{both}}};
  user_context context;
  context.features = {feature{5.0}};

  auto got = scores_by(**model, context, genres);

  // x0 = (2, 0, 1, -1); W x + b = (2, 0, 2, 0); crossed = x0 * that + x0 = (6, 0, 3, -1); deep = relu(2).
  CHECK(got[0] == doctest::Approx(6 + 300 + 2000 + 0.25));
  // Missing genres: x0 = (2, 0, .5, 0); product (2, 0, 1.5, 0); crossed (6, 0, 1.25, 0); deep 2.5.
  CHECK(got[1] == doctest::Approx(6 + 125 + 2500 + 0.25));
  CHECK(got[2] == doctest::Approx(got[0])); // Two buckets: every word has row 1.

  // A missing number: x0 = (0, 1, 1, -1); product (0, 0, 2, 0); crossed (0, 1, 3, -1); deep 1.
  got = scores_by(**model, {}, genres);
  CHECK(got[0] == doctest::Approx(10 + 300 + 1000 + 0.25));
  // What is far out is cut: z = 8.
  context.features = {feature{1e9}};
  got = scores_by(**model, context, genres);
  CHECK(got[0] == doctest::Approx(72 + 300 + 8000 + 0.25));
  // Without features of items all of them are missing.
  got = scores(**model, context, {7, 8, 9});
  CHECK(got[0] == got[2]);

  auto stacked = load_dcn(small_dcn(true).done(), small_shape(true));
  REQUIRE(stacked);
  context.features = {feature{5.0}};
  got = scores_by(**stacked, context, genres);
  CHECK(got[0] == doctest::Approx(2 * (6 + 0 + 3 - 1) + 0.25));
}

TEST_CASE("a logarithm of a number keeps its sign, and words share their rows by hash") {
  auto shape = small_shape(false);
  shape.features[0].logarithm = true;
  auto model = load_dcn(small_dcn(false).done(), shape);
  REQUIRE(model);
  user_context up, down;
  up.features = {feature{std::exp(3.0) - 1}};   // z = (3 - 1) / 2
  down.features = {feature{1 - std::exp(3.0)}}; // z = (-3 - 1) / 2
  auto high = scores(**model, up, {0})[0], low = scores(**model, down, {0})[0];
  // x0 = (z, 0, .5, 0): crossed (z + z*z, 0, 1.25, 0), deep relu(z + .5).
  CHECK(high == doctest::Approx(2 + 125 + 1500 + 0.25));
  CHECK(low == doctest::Approx(2 + 125 + 0 + 0.25));

  CHECK(category_row("Drama", 2) == 1);
  std::map<std::size_t, int> rows;
  for (int i = 0; i < 1000; ++i) {
    auto at = category_row(std::to_string(i), 11);
    REQUIRE(at == category_row(std::to_string(i), 11));
    ++rows[at];
  }
  CHECK(rows.size() == 10);
  CHECK(!rows.contains(0));
}

TEST_CASE("a DCN whose features and weights disagree is refused by name") {
  auto refused = [](const test_weights& w, const dcn_shape& shape, const char* why) {
    auto got = load_dcn(w.done(), shape);
    return !got && got.error().code == ec::corrupt && got.error().text.find(why) != std::string::npos;
  };
  auto twice = small_shape(false);
  twice.features.push_back(twice.features[0]);
  CHECK(refused(small_dcn(false), twice, "number.mean"));
  twice.features[2] = twice.features[1];
  CHECK(refused(small_dcn(false), twice, "item_card.genres stands there twice"));
  auto other = small_shape(false);
  other.features[1].name = "item_card.title";
  CHECK(refused(small_dcn(false), other, "embedding.item_card.title"));
  CHECK(refused(small_dcn(false), small_shape(true), "head.weight"));
  auto few = small_shape(false);
  few.features.pop_back();
  CHECK(refused(small_dcn(false), few, "cross.0.weight"));
  CHECK(refused(small_dcn(false), {}, "no features"));
}

TEST_CASE("a kind is loaded by the settings of its model.json, and one that is not served is refused") {
  auto config = [](const char* text) { return boost::json::parse(text).as_object(); };
  auto dcn = load_scorer("dcn", config(R"({"seed":1,"structure":"stacked","views":{"user_ratings":"abc"},
    "features":[{"name":"user_ratings.mean_rating","entity":"user","kind":"number"},
                {"name":"item_card.genres","entity":"item","kind":"category"}]})"),
                         small_dcn(true).done());
  REQUIRE(dcn);
  CHECK((*dcn)->features().views == std::vector<std::string>{"user_ratings@abc"});
  CHECK(
      load_scorer("two_tower", config(R"({"normalised":false,"activation":"relu"})"), small_towers().done()));
  CHECK(load_scorer("sasrec", config(R"({"heads":2})"), sasrec_weights(1, 4, 4, 3, 1, 4).file.done()));

  auto refused = [&](const char* kind, const char* text, const test_weights& w, const char* why) {
    auto got = load_scorer(kind, config(text), w.done());
    return !got && got.error().text.find(why) != std::string::npos;
  };
  CHECK(refused("oracle", "{}", small_towers(), "popularity, sasrec, two_tower"));
  CHECK(refused("two_tower", R"({"activation":"tanh"})", small_towers(), "activation tanh"));
  CHECK(refused("sasrec", R"({"heads":0})", small_towers(), "heads is 0"));
  CHECK(refused("dcn", "{}", small_dcn(true), "no features"));
  CHECK(refused("dcn", R"({"structure":"round"})", small_dcn(true), "structure round"));
  CHECK(refused("dcn", R"({"features":[{"name":"a.b","entity":"user"}]})", small_dcn(true), "kind (number"));
}
