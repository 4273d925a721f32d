#include "common/core/hash.hpp"
#include "common/sketch/distinct.hpp"
#include "common/sketch/histogram.hpp"
#include "common/sketch/quantiles.hpp"
#include "common/sketch/top_values.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace troupe;
using namespace troupe::sketch;

namespace {

constexpr std::uint64_t seed = 20240131;

std::uint64_t hash_number(std::uint64_t number) {
  return hash64(std::to_string(number));
}

template <class Sketch>
Sketch saved_and_loaded(const Sketch& from) {
  store::encoder out;
  from.save(out);
  auto bytes = out.take();
  store::decoder in{bytes};
  auto to = Sketch::load(in);
  CHECK(in.ok());
  CHECK(in.done());
  return to;
}

/// How far the rank of `answer` is from `q` among `sorted`, as a share of the count.
double rank_error(const std::vector<double>& sorted, double answer, double q) {
  auto n = static_cast<double>(sorted.size());
  auto low = static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), answer) - sorted.begin()) / n;
  auto high =
      static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), answer) - sorted.begin()) / n;
  return q < low ? low - q : q > high ? q - high : 0;
}

} // namespace

TEST_CASE("a distinct sketch is exact up to its limit and within 5 percent above it") {
  for (std::uint64_t many : {0, 1, 1023, 1024, 1025, 5000, 50'000, 400'000}) {
    distinct sketch;
    for (std::uint64_t round = 0; round < 2; ++round)
      for (std::uint64_t i = 0; i < many; ++i)
        sketch.add(hash_number(i));

    auto error = std::abs(sketch.estimate() - static_cast<double>(many));

    CHECK(error <= (many <= distinct::exact_limit ? 0 : 0.05 * static_cast<double>(many)));
    CHECK(sketch.exact() == (many <= distinct::exact_limit));
    CHECK(saved_and_loaded(sketch) == sketch);
  }
}

TEST_CASE("merged distinct sketches equal the sketch of both streams") {
  for (std::uint64_t many : {100, 700, 3000, 20'000}) {
    distinct left, right, whole;
    for (std::uint64_t i = 0; i < many; ++i) {
      left.add(hash_number(i));
      right.add(hash_number(i + many / 2));
      whole.add(hash_number(i));
      whole.add(hash_number(i + many / 2));
    }

    auto other_way = right;
    other_way.merge(left);
    left.merge(right);

    CHECK(left == whole);
    CHECK(other_way == whole);
  }
}

TEST_CASE("a quantile sketch is exact below k values and within 1.65 percent of rank above") {
  std::mt19937_64 random{seed};
  for (std::size_t many : {1, 5, 199, 1000, 30'000, 300'000}) {
    quantiles sketch, left, right;
    std::vector<double> all;
    std::lognormal_distribution<double> draw{0, 2};
    for (std::size_t i = 0; i < many; ++i) {
      all.push_back(draw(random));
      sketch.add(all.back());
      (i % 3 == 0 ? left : right).add(all.back());
    }
    std::sort(all.begin(), all.end());
    left.merge(right);
    std::vector<double> qs{0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1};

    for (auto* each : {&sketch, &left}) {
      CHECK(each->count() == many);
      auto answers = each->at(qs);
      for (std::size_t i = 0; i < qs.size(); ++i) {
        CAPTURE(many);
        CAPTURE(qs[i]);
        CHECK(rank_error(all, answers[i], qs[i]) <=
              (many < quantiles::k ? 1e-12 + 1.0 / static_cast<double>(many) : 0.0165));
      }
      CHECK(saved_and_loaded(*each) == *each);
    }
    if (many < quantiles::k)
      CHECK(sketch.at(qs)[4] ==
            all[static_cast<std::size_t>(std::ceil(0.5 * static_cast<double>(many))) - 1]);
  }
}

TEST_CASE("the same stream always gives the same quantile sketch") {
  quantiles once, again;
  for (int i = 0; i < 10'000; ++i) {
    once.add(i * 7919 % 10'007);
    again.add(i * 7919 % 10'007);
  }

  CHECK(once == again);
}

TEST_CASE("a histogram counts exactly and merges to the histogram of both streams") {
  std::mt19937_64 random{seed};
  for (auto [shift, spread] :
       {std::pair{0.0, 1.0}, {1e6, 1.0}, {-3e-9, 1e-9}, {0.0, 1e300}, {1.7e15, 1e12}}) {
    histogram left, right, whole;
    std::normal_distribution<double> draw{shift, spread};
    std::vector<double> all;
    for (int i = 0; i < 5000; ++i) {
      auto value = draw(random);
      all.push_back(value);
      (i < 1000 ? left : right).add(value);
      whole.add(value);
    }

    left.merge(right);

    CHECK(left == whole);
    CHECK(whole.bins() <= histogram::most_bins);
    CHECK(whole.bins() >= 32);
    CHECK(saved_and_loaded(whole) == whole);
    for (std::size_t bin = 0; bin < whole.bins(); ++bin) {
      auto from = whole.start() + static_cast<double>(bin) * whole.width(), to = from + whole.width();
      auto inside =
          std::count_if(all.begin(), all.end(), [&](double value) { return value >= from && value < to; });
      CHECK(whole[bin] == static_cast<std::uint64_t>(inside));
    }
  }
}

TEST_CASE("a histogram of one value, of zeros and of both extremes stays in bounds") {
  histogram one, zeros, extremes;

  one.add(42);
  zeros.add(0);
  zeros.add(-0.0);
  zeros.add(5e-324);
  extremes.add(-1.7e308);
  extremes.add(1.7e308);
  extremes.add(0);

  CHECK(one.bins() == 1);
  CHECK(zeros[0] == 3);
  CHECK(extremes.bins() <= histogram::most_bins);
  CHECK(saved_and_loaded(extremes) == extremes);
}

TEST_CASE("top values are exact while few are different") {
  top_values top;
  for (int i = 0; i < 10'000; ++i)
    top.add(hash_number(static_cast<std::uint64_t>(i % 100)), std::to_string(i % 100));
  top.add(hash_number(7), "7", 5);

  CHECK(top.exact());
  CHECK(top.list(1)[0].value == "7");
  CHECK(top.list(1)[0].count == 105);
  CHECK(top.list(1000).size() == 100);
}

TEST_CASE("top values stay within their shortfall and survive a merge") {
  std::mt19937_64 random{seed};
  std::vector<std::uint64_t> truth(20'000);
  top_values whole, left, right;
  std::uint64_t total = 0;
  for (int i = 0; i < 200'000; ++i) {
    // Zipf with exponent 1 by inversion.
    auto draw = std::uniform_real_distribution<double>{0, 1}(random);
    auto value = static_cast<std::uint64_t>(std::pow(20'000.0, draw)) - 1;
    ++truth[value];
    ++total;
    whole.add(hash_number(value), std::to_string(value));
    (i % 2 == 0 ? left : right).add(hash_number(value), std::to_string(value));
  }

  left.merge(right);

  for (auto* each : {&whole, &left}) {
    CHECK(each->shortfall() <= total / (top_values::capacity / 2));
    auto shown = each->list(5);
    for (std::uint64_t i = 0; i < 5; ++i)
      CHECK(shown[i].value == std::to_string(i));
    for (auto& entry : each->list(128)) {
      auto count = truth[std::stoull(entry.value)];
      CHECK(entry.count <= count);
      CHECK(entry.count + each->shortfall() >= count);
    }
    auto copy = saved_and_loaded(*each);
    CHECK(copy.list(128) == each->list(128));
    CHECK(copy.shortfall() == each->shortfall());
  }
}

TEST_CASE("broken bytes are refused by every sketch") {
  store::encoder out;
  distinct distinct;
  quantiles quantiles;
  histogram bins;
  top_values top;
  for (int i = 0; i < 5000; ++i) {
    distinct.add(hash_number(static_cast<std::uint64_t>(i)));
    quantiles.add(i);
    bins.add(i);
    top.add(hash_number(static_cast<std::uint64_t>(i % 300)), std::to_string(i % 300));
  }
  distinct.save(out);
  quantiles.save(out);
  bins.save(out);
  top.save(out);
  auto bytes = out.take();
  std::mt19937_64 random{seed};

  for (int round = 0; round < 3000; ++round) {
    auto broken = bytes;
    broken.resize(random() % bytes.size());
    for (int i = 0; i < 4 && !broken.empty(); ++i)
      broken[random() % broken.size()] = static_cast<char>(random());
    store::decoder in{broken};
    distinct::load(in).estimate();
    quantiles::load(in).at(std::vector<double>{0.5});
    histogram::load(in).bins();
    CHECK(top_values::load(in).list(10).size() <= 10);
  }
}
