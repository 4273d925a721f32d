#include "services/trainer/worker/training_table.hpp"

#include "services/trainer/worker/train_on_rows.hpp"

#include "common/core/hash.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <fstream>
#include <thread>

using namespace troupe;
using namespace troupe::trainer;

namespace {

/// A training set in two parts, as the feature store writes it.
void write_set(const std::filesystem::path& folder, bool entities = true) {
  using table::cell;
  for (int part = 0; part < 2; ++part) {
    auto writer = table::parquet_writer::open(folder / fmt::format("part-0000{}.parquet", part),
                                              {{"label_time", cell::timestamp},
                                               {"user", cell::text},
                                               {"item", cell::text},
                                               {"label_value", cell::float64},
                                               {"user_ratings.mean", cell::float64},
                                               {"item_profile.genres", cell::text_list},
                                               {"user_ratings.mean.age_us", cell::int64}});
    REQUIRE(writer);
    for (int row = 0; row < 2; ++row) {
      auto number = 2 * part + row;
      std::vector<std::string> genres{"war", "love"};
      writer->get()->add(from_micros(number));
      writer->get()->add(std::string_view{"u"});
      writer->get()->add(std::string_view{number % 2 == 0 ? "a" : "b"});
      if (number == 3)
        writer->get()->add_null();
      else
        writer->get()->add(static_cast<double>(number + 2));
      if (number == 1)
        writer->get()->add_null();
      else
        writer->get()->add(number + 0.5);
      if (number == 2)
        writer->get()->add_null();
      else
        writer->get()->add(std::span<const std::string>{genres}.first(number == 0 ? 2 : 1));
      writer->get()->add(std::int64_t{7});
      REQUIRE(writer->get()->end_row());
    }
    REQUIRE(writer->get()->finish());
  }
  std::ofstream{folder / "manifest.json"} << fmt::format(
      R"({{"content_sha256":"abc","views":{{"user_ratings":"v1","item_profile":"v2"}},{}
        "columns":[{{"name":"label_time","type":"time"}},{{"name":"user","type":"text"}},
          {{"name":"item","type":"text"}},{{"name":"label_value","type":"number"}},
          {{"name":"user_ratings.mean","type":"number"}},{{"name":"item_profile.genres","type":"list"}},
          {{"name":"user_ratings.mean.age_us","type":"whole"}}],
        "parts":[{{"file":"part-00000.parquet"}},{{"file":"part-00001.parquet"}}]}})",
      entities ? R"("entities":{"user_ratings":"user","item_profile":"item"},)" : "");
}

} // namespace

TEST_CASE("a training set becomes labels, numbers with gaps, and words, in the order of its parts") {
  troupe::testing::temp_dir dir;
  write_set(dir.path());

  auto got = read_training_set(dir.path(), {"label_value", 3, true});

  REQUIRE_MESSAGE(got, (got ? std::string{} : render(got.error())));
  CHECK(got->labels == std::vector<float>{0, 1, 1, 0});
  CHECK(got->items == std::vector<std::string>{"a", "b", "a", "b"});
  CHECK(got->digest == "abc");
  CHECK(got->views.at("item_profile") == "v2");
  REQUIRE(got->columns.size() == 4);
  auto& mean = got->columns[0];
  CHECK(mean.name == "user_ratings.mean");
  CHECK(!mean.of_item);
  CHECK(mean.numbers[0] == 0.5f);
  CHECK(std::isnan(mean.numbers[1]));
  auto& genres = got->columns[1];
  CHECK(genres.of_item);
  CHECK(genres.begin == std::vector<std::uint64_t>{0, 2, 3, 3, 4});
  CHECK(genres.words[0] == hash64("war"));
  CHECK(got->columns[3].name == "item");
  CHECK(got->columns[3].words[1] == hash64("b"));
}

TEST_CASE("a folder without a training set, an old one and an unknown label are refused with what to do") {
  troupe::testing::temp_dir dir;
  auto none = read_training_set(dir.path(), {});
  REQUIRE(!none);
  CHECK(none.error().code == ec::not_found);
  CHECK(none.error().text.find("troupe training-set build") != std::string::npos);
  write_set(dir.path());
  auto label = read_training_set(dir.path(), {"clicked", 1, false});
  REQUIRE(!label);
  CHECK(label.error().text.find("no column clicked") != std::string::npos);
  write_set(dir.path(), false);
  auto old = read_training_set(dir.path(), {});
  REQUIRE(!old);
  CHECK(old.error().code == ec::unsupported_version);

  train_config config;
  config.model = "dcn";
  auto unsaid = train_on_rows(config, {}, {});
  REQUIRE(!unsaid);
  CHECK(unsaid.error().text.find("dcn.training_set is not set") != std::string::npos);
}

TEST_CASE("a DCN that is measured on its newest rows is then trained on all, by any number of ranks") {
  troupe::testing::temp_dir dir;
  {
    using table::cell;
    auto writer =
        table::parquet_writer::open(dir / "part-00000.parquet", {{"user", cell::text},
                                                                 {"item", cell::text},
                                                                 {"label_value", cell::float64},
                                                                 {"user_ratings.mean", cell::float64}});
    REQUIRE(writer);
    for (int row = 0; row < 400; ++row) {
      writer->get()->add(std::string_view{"u"});
      writer->get()->add(std::string_view{row % 3 == 0 ? "a" : "b"});
      writer->get()->add(row % 5 < 2 ? 1.0 : 0.0);
      writer->get()->add(row % 5 + 0.1 * (row % 7));
      REQUIRE(writer->get()->end_row());
    }
    REQUIRE(writer->get()->finish());
  }
  std::ofstream{dir / "manifest.json"} << R"({"content_sha256":"abc","views":{"user_ratings":"v1"},
    "entities":{"user_ratings":"user"},"columns":[{"name":"user","type":"text"},{"name":"item","type":"text"},
    {"name":"label_value","type":"number"},{"name":"user_ratings.mean","type":"number"}],
    "parts":[{"file":"part-00000.parquet"}]})";
  train_config config;
  config.model = "dcn";
  config.dcn.training_set = dir.path().string();
  config.dcn.test = config.dcn.validation = 0.2;
  config.dcn.loop.batch = 64;
  config.dcn.loop.epochs = 4;
  config.dcn.hidden = 8;
  std::uint64_t fits = 1;

  rows_setting setting;
  setting.next_fit = [&] { ++fits; };
  auto served = train_on_rows(config, setting, {});

  REQUIRE_MESSAGE(served, (served ? std::string{} : render(served.error())));
  CHECK(fits == 2);
  CHECK(served->model.metrics.contains("auc"));
  CHECK(served->model.data.find("\"tested\":80") != std::string::npos);
  auto at = served->model.data.find("\"epochs\":");
  REQUIRE(at != std::string::npos);
  auto all = config;
  all.dcn.test = all.dcn.validation = 0;
  all.dcn.loop.epochs = static_cast<std::uint32_t>(std::stoul(served->model.data.substr(at + 9)));
  auto on_all = train_on_rows(all, {}, {});
  REQUIRE(on_all);
  CHECK(on_all->model.metrics.empty());
  for (auto& [name, weights] : served->model.weights)
    CHECK_MESSAGE((weights.bytes == on_all->model.weights.at(name).bytes), name);

  std::array<expected<neural::fitted>, 2> ranks{fail(ec::internal, "not run"), fail(ec::internal, "not run")};
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t r = 0; r < 2; ++r)
      threads.emplace_back([&, r] {
        auto group =
            neural::join_group({r, 2, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
        rows_setting one;
        one.group = group->get();
        ranks[r] = train_on_rows(config, one, {});
      });
  }
  for (auto& rank : ranks) {
    REQUIRE_MESSAGE(rank, (rank ? std::string{} : render(rank.error())));
    CHECK(rank->model.data == served->model.data);
    for (auto& [name, weights] : served->model.weights) {
      auto got = rank->model.weights.at(name).values<float>(), wanted = weights.values<float>();
      for (std::size_t i = 0; i < wanted.size(); ++i)
        CHECK(got[i] == doctest::Approx(wanted[i]).epsilon(1e-2).scale(1));
    }
  }
}
