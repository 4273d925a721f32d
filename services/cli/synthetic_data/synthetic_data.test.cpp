#include "services/cli/synthetic_data/generator.hpp"
#include "services/cli/synthetic_data/output.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

using namespace troupe;
using namespace troupe::synthetic_data;

namespace {

std::string all_lines(settings config) {
  generator source{config};
  std::string out;
  while (auto event = source.next())
    append_json_line(out, *event);
  return out;
}

settings small_data() {
  settings config;
  config.seed = 7;
  config.users = 200;
  config.items = 50;
  config.events = 20'000;
  return config;
}

std::uint64_t number_of(const std::string& id) {
  return std::stoull(id.substr(1));
}

double attribute_number(const record& rec, std::string_view name) {
  for (auto& each : rec.attributes)
    if (each.name == name)
      return std::get<double>(each.value);
  return -1;
}

} // namespace

TEST_CASE("our exponential and logarithm agree with those of the C library") {
  for (double x = -30; x < 30; x += 0.37) {
    CHECK(exact_exp(x) == doctest::Approx(std::exp(x)).epsilon(1e-14));
    CHECK(exact_log(std::exp(x)) == doctest::Approx(x).epsilon(1e-13));
  }
}

TEST_CASE("a permutation meets every number once and finds its way back") {
  for (std::uint64_t count : {1, 2, 3, 50, 1000}) {
    permutation p{count, 99};
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < count; ++i) {
      seen.insert(p.forward(i));
      CHECK(p.backward(p.forward(i)) == i);
    }
    CHECK(seen.size() == count);
  }
}

TEST_CASE("Zipf samples follow their probabilities") {
  for (double exponent : {0.7, 1.0, 1.3}) {
    zipf law{100, exponent};
    synthetic_data::random source{5};
    std::map<std::uint64_t, double> seen;
    constexpr int draws = 200'000;
    for (int i = 0; i < draws; ++i)
      ++seen[law.sample(source)];

    double total = 0;
    for (std::uint64_t rank = 1; rank <= 100; ++rank) {
      auto p = law.probability(rank);
      total += p;
      CHECK(std::fabs(seen[rank] / draws - p) < 5 * std::sqrt(p / draws));
    }
    CHECK(total == doctest::Approx(1));
  }
}

TEST_CASE("the same seed gives the same bytes, on every machine and for ever") {
  auto lines = all_lines(small_data());
  auto other = small_data();
  other.seed = 8;

  CHECK(all_lines(small_data()) == lines);
  CHECK(all_lines(other) != lines);
  CHECK(to_hex(hash_wide(std::string_view{lines})) == "7514b0fa9da9c07d9632c3599928f794");
}

TEST_CASE("generated data have exactly the events asked for, each good and with its own id") {
  for (std::uint64_t events : {0, 1, 3, 20'000}) {
    auto config = small_data();
    config.events = events;
    generator source{config};
    std::set<std::string> ids;
    std::uint64_t seen = 0;
    while (auto event = source.next()) {
      ++seen;
      ids.insert(event->id);
      REQUIRE(check(*event));
      auto sorted = *event;
      normalise(sorted);
      REQUIRE(sorted == *event);
    }
    CHECK(seen == events);
    CHECK(ids.size() == events);
    CHECK(source.made().events() == events);
  }
  preference_model laws{small_data()};
  CHECK(check(laws.user_record(3)));
  CHECK(check(laws.item_record(3)));
}

TEST_CASE("clicks and impressions are near what the preference model says") {
  auto config = small_data();
  config.events = 200'000;
  generator source{config};
  std::map<unsigned, double> expected_clicks, clicks, shown;
  std::map<std::uint64_t, double> item_shown;
  double impressions = 0, weighted = 0;
  while (auto event = source.next()) {
    if (event->type == "rating")
      continue;
    if (event->type == "click") {
      ++clicks[static_cast<unsigned>(attribute_number(*event, "position"))];
      continue;
    }
    for (auto& each : event->shown) {
      auto item = number_of(each.item);
      ++shown[each.position];
      ++item_shown[item];
      ++impressions;
      weighted += 1 / each.propensity;
      expected_clicks[each.position] +=
          source.laws().click_probability(number_of(event->user), item, each.position, event->event_time);
    }
  }
  CHECK(source.made().impressions == static_cast<std::uint64_t>(impressions));

  for (auto& [position, wanted] : expected_clicks)
    CHECK(std::fabs(clicks[position] - wanted) < 5 * std::sqrt(wanted));
  CHECK(clicks[1] / shown[1] > clicks[5] / shown[5]);
  for (std::uint64_t item = 0; item < config.items; ++item) {
    auto p = source.laws().propensity(item, config.start);
    CHECK(std::fabs(item_shown[item] / impressions - p) < 5 * std::sqrt(p / impressions));
  }
  // The mean of the inverse propensity is the number of items.
  CHECK(weighted / impressions == doctest::Approx(static_cast<double>(config.items)).epsilon(0.03));
}

TEST_CASE("late events are late, about as many as asked for, and without them time never runs back") {
  auto count_backward = [](double share) {
    auto config = small_data();
    config.late = share;
    generator source{config};
    timestamp newest{};
    std::uint64_t backward = 0;
    while (auto event = source.next()) {
      backward += event->event_time < newest;
      newest = std::max(newest, event->event_time);
    }
    return std::pair{backward, source.made().late};
  };

  CHECK(count_backward(0) == std::pair<std::uint64_t, std::uint64_t>{0, 0});
  auto [backward, late] = count_backward(0.05);
  CHECK(late > 800);
  CHECK(late < 1'200);
  CHECK(backward > late / 2);
  CHECK(backward <= late);
}

TEST_CASE("after the drift tastes and popularity are others, before it the same") {
  auto config = small_data();
  config.drift_at = 0.5;
  preference_model with{config};
  preference_model without{small_data()};
  auto before = config.start + config.span / 4;
  auto after = config.start + config.span * 3 / 4;

  CHECK(with.affinity(3, 4, before) == without.affinity(3, 4, before));
  CHECK(with.affinity(3, 4, after) != without.affinity(3, 4, after));
  CHECK(with.propensity(4, before) == without.propensity(4, before));
  double change = 0;
  for (std::uint64_t item = 0; item < config.items; ++item)
    change += std::fabs(with.propensity(item, after) - without.propensity(item, after));
  CHECK(change > 0.2);
}

TEST_CASE("data of any size hold a bounded number of events") {
  settings config;
  config.events = 400'000;
  config.users = 1'000'000;
  config.items = 10'000;
  config.span = std::chrono::hours{1}; // Everything at once: the worst case.
  config.late = 0.5;
  generator source{config};
  std::uint64_t seen = 0;
  while (source.next())
    ++seen;

  CHECK(seen == config.events);
  CHECK(source.held_peak() <= generator::most_held);
}

TEST_CASE("settings out of range are refused with key, value and bounds") {
  settings config;
  config.late = 1.5;

  auto result = config.validate();

  REQUIRE(!result);
  CHECK(result.error().text == "cannot generate data: late is 1.5, allowed is 0 to 1");
  CHECK(settings{}.validate());
}

TEST_CASE("plain, gzip, zstd and Parquet files are written and unwritable places refused") {
  testing::temp_dir dir;
  preference_model laws{small_data()};
  std::string wanted;
  append_json_line(wanted, laws.item_record(1));
  generator source{small_data()};
  auto slate = *source.next();
  REQUIRE(slate.kind == record_kind::slate);
  append_json_line(wanted, slate);
  for (std::string name : {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"}) {
    auto file = create_record_file(dir / name);
    REQUIRE(file);
    REQUIRE((*file)->write(laws.item_record(1)));
    REQUIRE((*file)->write(slate));
    REQUIRE((*file)->close());
    CHECK(std::filesystem::file_size(dir / name) > 0);
  }

  std::ifstream in{dir / "a.jsonl"};
  std::stringstream text;
  text << in.rdbuf();
  CHECK(text.str() == wanted);
  CHECK(create_json_lines(dir / "none" / "a.jsonl").error().code == ec::not_found);
}
