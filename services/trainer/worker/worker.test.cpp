#include "services/trainer/worker/worker.hpp"

#include "services/trainer/engine/model.hpp"
#include "services/trainer/worker/interactions_file.hpp"

#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace troupe;
using namespace troupe::trainer;

namespace {

struct row {
  std::string user;
  std::string item;
  std::int64_t time;
};

/// Users of two tastes; each takes six of the ten items of its own.
std::vector<row> two_tastes() {
  std::vector<row> out;
  for (int k = 0; k < 6; ++k)
    for (int u = 0; u < 40; ++u)
      out.push_back(
          {fmt::format("u{}", u), fmt::format("i{}", (u % 2) * 10 + (u * 7 + k * 3) % 10), 100 * k + u});
  return out;
}

void write_text(const std::filesystem::path& file, const std::vector<row>& rows) {
  std::ofstream out{file};
  for (auto& each : rows)
    out << each.user << '\t' << each.item << '\t' << each.time << '\n';
}

void write_parquet(const std::filesystem::path& file, const std::vector<row>& rows) {
  using table::cell;
  auto out = table::parquet_writer::open(
      file,
      {{"user", cell::text}, {"item", cell::text}, {"event_time", cell::int64}, {"value", cell::float64}});
  REQUIRE(out);
  for (auto& each : rows) {
    (*out)->add(each.user).add(each.item).add(each.time).add_null();
    REQUIRE((*out)->end_row());
  }
  REQUIRE((*out)->finish());
}

struct setting {
  troupe::testing::temp_dir dir;
  worker_options options;
  std::atomic<bool> stop{false};
  std::vector<boost::json::object> said;

  explicit setting(const std::string& config) {
    options.config = dir / "config.toml";
    options.data = dir / "data.parquet";
    options.out = dir / "run";
    std::ofstream{options.config} << config;
    write_parquet(options.data, two_tastes());
  }

  expected<boost::json::object> run() {
    return run_worker(options, stop, [this](auto& line) { said.push_back(line); });
  }
};

/// A run with this configuration, beside what is in production: models and their configurations.
std::unique_ptr<setting> beside(const std::string& config,
                                std::initializer_list<std::pair<const char*, std::string>> production) {
  auto out = std::make_unique<setting>(config);
  boost::json::array list;
  for (auto& [model, model_config] : production)
    list.push_back({{"model", model}, {"config", model_config}});
  std::filesystem::create_directories(out->options.out);
  std::ofstream{out->options.out / "production.json"} << boost::json::serialize(list);
  return out;
}

const std::string small_network = "model = \"sasrec\"\nthreads = 1\nsasrec.dimensions = 8\nsasrec.feed = 8\n"
                                  "sasrec.batch = 8\nsasrec.epochs = 6\nsasrec.patience = 2\n";
const std::string other_network = "model = \"two_tower\"\nseed = 5\ntwo_tower.batch = 32\n"
                                  "two_tower.epochs = 4\n";

/// Fits that were told of.
int fits_in(const std::vector<boost::json::object>& said) {
  int fits = 0;
  bool fitting = false;
  for (auto& line : said) {
    auto& stage = line.at("stage");
    if (stage == "fitting" && !std::exchange(fitting, true))
      ++fits;
    // Validation belongs to a fit, all other stages lie between fits.
    if (stage != "fitting" && stage != "validating")
      fitting = false;
  }
  return fits;
}

/// 400 rows whose label depends on their one feature; that of rows from `bad_from` on is 0.
void write_training_set(const std::filesystem::path& folder, int bad_from = 400) {
  using table::cell;
  auto out =
      table::parquet_writer::open(folder / "part-00000.parquet", {{"user", cell::text},
                                                                  {"item", cell::text},
                                                                  {"label_value", cell::float64},
                                                                  {"user_ratings.mean", cell::float64}});
  REQUIRE(out);
  for (int i = 0; i < 400; ++i) {
    auto number = (i * 37 % 100) / 10.0;
    bool good = i < bad_from && number + (i % 7 == 0 ? 4 : 0) > 6;
    (*out)->add("u").add("i").add(good ? 1.0 : 0.0).add(number);
    REQUIRE((*out)->end_row());
  }
  REQUIRE((*out)->finish());
  std::ofstream{folder / "manifest.json"} << R"({"content_sha256":"abc","views":{"user_ratings":"v1"},
    "entities":{"user_ratings":"user"},"columns":[{"name":"user","type":"text"},{"name":"item","type":"text"},
    {"name":"label_value","type":"number"},{"name":"user_ratings.mean","type":"number"}],
    "parts":[{"file":"part-00000.parquet"}]})";
}

} // namespace

TEST_CASE("a worker measures its model beside popularity, trains on everything and writes the model") {
  setting with{"model = \"ease\"\nease.l2 = 5.0\n"};

  auto done = with.run();

  REQUIRE_MESSAGE(done, done.error().text);
  CHECK(done->at("done").as_bool());
  auto& metrics = done->at("metrics").as_object();
  CHECK(metrics.at("hr_at_10").as_double() == doctest::Approx(1));
  CHECK(metrics.at("questions").to_number<int>() == 40);
  CHECK(!done->contains("not_measured"));
  CHECK(metrics.at("popularity_hr_at_10").as_double() < 0.9);
  auto model = load_model(std::string{done->at("model").as_string()});
  REQUIRE(model);
  CHECK(model->items.size() == 20);
  CHECK(model->data.find("\"interactions\":240") != std::string::npos);
  CHECK(model->data.find("\"split\":\"leave-last-out\"") != std::string::npos);
  CHECK(with.said.front().at("stage") == "loading");
  auto said = [&](const char* stage) {
    return std::any_of(with.said.begin(), with.said.end(),
                       [&](auto& line) { return line.at("stage") == stage; });
  };
  for (auto* stage : {"counting", "inverting", "sorting", "evaluating"})
    CHECK_MESSAGE(said(stage), stage);
  CHECK(with.said.back().at("stage") == "sorting");
}

TEST_CASE("a model of which nothing could be measured is trained, has no metrics and says why") {
  auto ends = [](const std::string& config, const std::vector<row>& rows) {
    setting with{config};
    write_parquet(with.options.data, rows);
    auto done = with.run();
    REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
    CHECK(done->at("metrics").as_object().empty());
    CHECK(load_model(std::string{done->at("model").as_string()}));
    auto& last = with.said.back();
    if (last.at("stage") == "fitting")
      CHECK(last.at("step") == last.at("steps_total"));
    return std::string{done->at("not_measured").as_string()};
  };
  std::vector<row> alone, pairs, even;
  for (int i = 0; i < 6; ++i)
    alone.push_back({"u", fmt::format("i{}", i), i});
  for (int u = 0; u < 6; ++u)
    for (int i = 0; i < 3; ++i) {
      if (i < 2)
        pairs.push_back({fmt::format("u{}", u), fmt::format("i{}", i), i});
      // In a circle: without the two newest of each user every item has been taken once.
      even.push_back({fmt::format("u{}", u), fmt::format("i{}", (u + i) % 6), i});
    }

  CHECK(ends("model = \"ease\"\n", pairs) == "no user has three items");
  CHECK(ends("model = \"ease\"\n", alone) ==
        "none of the 1 test questions is for an item that the rest of the data has");
  CHECK(ends("model = \"popularity\"\n", even) ==
        "in each of the 6 test questions the model gives all items the same score");
  CHECK(ends("model = \"ease\"\nevaluation.split = \"none\"\n", two_tastes()) == "evaluation.split is none");
  CHECK(ends("model = \"bpr\"\nbpr.epochs = 3\nbpr.dimensions = 4\n", pairs) == "no user has three items");
}

TEST_CASE("the steps of the fit that is measured and of the last fit go on counting") {
  setting with{"model = \"bpr\"\nbpr.epochs = 3\nbpr.dimensions = 4\n"};

  REQUIRE(with.run());

  auto& last = with.said.back();
  CHECK(last.at("stage") == "fitting");
  CHECK(last.at("step").to_number<int>() == 6);
  CHECK(last.at("steps_total").to_number<int>() == 6);
  CHECK(last.at("loss").as_double() > 0);
}

TEST_CASE("Parquet and text give the same model, however the rows of one are sorted") {
  setting parquet{"model = \"ials\"\nials.dimensions = 4\n"};
  setting text{"model = \"ials\"\nials.dimensions = 4\nevaluation.split = \"none\"\n"};
  auto rows = two_tastes();
  std::reverse(rows.begin(), rows.end());
  write_parquet(parquet.options.data, rows);
  text.options.data = text.dir / "data.tsv";
  write_text(text.options.data, two_tastes());

  REQUIRE(parquet.run());
  REQUIRE(text.run());

  auto first = load_model(parquet.options.out / "model");
  auto second = load_model(text.options.out / "model");
  CHECK(first->items == second->items);
  CHECK(first->users == second->users);
  CHECK((first->weights.at("item_factors").bytes == second->weights.at("item_factors").bytes));
  CHECK(second->metrics.empty());
}

TEST_CASE("what is in production is measured on the same questions: the best of what can be, or the reason") {
  auto some = beside("model = \"ease\"\nease.l2 = 5.0\n", {{"popular:1", "model = \"popularity\"\n"},
                                                           {"knn:2", "model = \"item_knn\"\n"},
                                                           {"old:3", "model = \"ease\"\nease.gone = 1\n"}});
  auto none = beside("model = \"ease\"\n", {{"dcn:4", "model = \"dcn\"\n"}, {"bought:1", ""}});

  auto measured = some->run();
  auto not_measured = none->run();

  REQUIRE_MESSAGE(measured, (measured ? std::string{} : measured.error().text));
  REQUIRE_MESSAGE(not_measured, (not_measured ? std::string{} : not_measured.error().text));
  CHECK(measured->at("beside").at("production").at("model") == "knn:2");
  auto& metrics = measured->at("metrics").as_object();
  for (auto* metric : {"hr_at_10", "ndcg_at_10", "mrr", "ndcg_at_100"})
    if (metrics.contains(metric))
      CHECK(metrics.contains(std::string{"production_"} + metric));
  CHECK(metrics.contains("production_mrr"));
  CHECK(metrics.at("production_ndcg_at_10").as_double() > metrics.at("popularity_ndcg_at_10").as_double());
  CHECK(!not_measured->at("metrics").as_object().contains("production_ndcg_at_10"));
  CHECK(not_measured->at("beside").at("production").at("reason") ==
        "dcn:4: it is a DCN, which learns from the labels of a training set; bought:1: it was not trained "
        "here");
}

TEST_CASE("a network in production is trained on the same part of the data and stops early alike") {
  auto same = beside(small_network, {{"net:1", small_network}});
  auto classic = beside("model = \"ease\"\n", {{"net:1", small_network}});
  auto unwanted = beside("model = \"ease\"\nevaluation.production = false\n", {{"net:1", small_network}});

  auto done = same->run();
  auto beside_ease = classic->run();
  auto left_out = unwanted->run();

  REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
  REQUIRE_MESSAGE(beside_ease, (beside_ease ? std::string{} : render(beside_ease.error())));
  REQUIRE(left_out);
  CHECK(done->at("beside").at("production").at("model") == "net:1");
  auto& metrics = done->at("metrics").as_object();
  for (auto* metric : {"hr_at_10", "ndcg_at_10", "mrr"}) {
    auto name = std::string{"production_"} + metric;
    CHECK_MESSAGE(metrics.at(name) == metrics.at(metric), metric);
    CHECK(beside_ease->at("metrics").at(name) == metrics.at(metric));
  }
  CHECK(std::filesystem::exists(same->options.out / "checkpoints" / "production"));
  CHECK(!left_out->at("metrics").as_object().contains("production_ndcg_at_10"));
  CHECK(left_out->at("beside").at("production").at("reason") == "net:1: evaluation.production = false");
  std::uint64_t step = 0;
  for (auto& line : same->said)
    if (line.at("stage") == "fitting") {
      CHECK(line.at("step").to_number<std::uint64_t>() >= step);
      step = line.at("step").to_number<std::uint64_t>();
    }
  CHECK(same->said.back().at("stage") == "fitting");
  CHECK(same->said.back().at("steps_total").to_number<std::uint64_t>() == step);
  CHECK(fits_in(same->said) == 3);
}

TEST_CASE("a run that is stopped while production is measured goes on there, and ends as one never stopped") {
  auto through = beside(small_network, {{"net:1", other_network}});
  auto stopped = beside(small_network, {{"net:1", other_network}});
  auto expected_end = through->run();
  REQUIRE_MESSAGE(expected_end, (expected_end ? std::string{} : render(expected_end.error())));

  auto first = run_worker(stopped->options, stopped->stop, [&](auto& line) {
    stopped->said.push_back(line);
    if (fits_in(stopped->said) == 2)
      stopped->stop = true;
  });
  REQUIRE(!first);
  CHECK(first.error().code == ec::canceled);
  CHECK(!std::filesystem::is_empty(stopped->options.out / "checkpoints" / "production" / "0"));
  stopped->stop = false;
  stopped->said.clear();
  stopped->options.resume = true;
  auto second = stopped->run();

  REQUIRE_MESSAGE(second, (second ? std::string{} : render(second.error())));
  CHECK(second->at("metrics") == expected_end->at("metrics"));
  auto model = load_model(stopped->options.out / "model");
  auto wanted = load_model(through->options.out / "model");
  REQUIRE((model && wanted));
  for (auto& [name, weights] : wanted->weights)
    CHECK_MESSAGE((weights.bytes == model->weights.at(name).bytes), name);
}

TEST_CASE("ranks measure a network of production together, as one rank does alone") {
  auto alone = beside(small_network, {{"net:1", other_network}});
  auto together = beside(small_network, {{"net:1", other_network}});
  auto one = alone->run();
  REQUIRE_MESSAGE(one, (one ? std::string{} : render(one.error())));

  std::array<expected<boost::json::object>, 2> ranks{fail(ec::internal, "not run"),
                                                     fail(ec::internal, "not run")};
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t r = 0; r < 2; ++r)
      threads.emplace_back([&, r] {
        auto options = together->options;
        options.rank = r;
        options.world = 2;
        options.rendezvous = together->dir / "rendezvous";
        ranks[r] = run_worker(options, together->stop, [](auto&) {});
      });
  }

  for (auto& rank : ranks)
    REQUIRE_MESSAGE(rank, (rank ? std::string{} : render(rank.error())));
  for (auto* metric : {"production_hr_at_10", "production_ndcg_at_10"})
    CHECK(ranks[0]->at("metrics").at(metric).as_double() ==
          doctest::Approx(one->at("metrics").at(metric).as_double()).epsilon(0.1));
  // Sums of gradients travel between ranks alone: how much of it was hidden is a metric of the run.
  auto overlap = ranks[0]->at("metrics").at("gradient_overlap").as_double();
  CHECK((overlap >= 0 && overlap <= 1));
  CHECK(!one->at("metrics").as_object().contains("gradient_overlap"));
  // What is made again from the manifest holds neither: it would never be the same.
  auto model = load_model(together->options.out / "model");
  REQUIRE(model);
  CHECK(model->metrics.contains("ndcg_at_10"));
  CHECK(!model->metrics.contains("production_ndcg_at_10"));
  CHECK(!model->metrics.contains("gradient_overlap"));
}

TEST_CASE(
    "a DCN in production learns from the training set of the new one, and is measured on its newest rows") {
  troupe::testing::temp_dir set;
  write_training_set(set.path());
  auto dcn = [&](const std::string& more) {
    return "model = \"dcn\"\n[dcn]\nepochs = 3\nbatch = 64\nhidden = 8\ntest = 0.2\n" + more;
  };
  auto ours = dcn("training_set = \"clicks\"\n");
  auto same =
      beside(ours, {{"ease:1", "model = \"ease\"\n"},
                    {"dcn:2", "memory_cap = 1048576\nmodel = \"dcn\"\n[dcn]\nepochs = 3\nbatch = 64\n"
                              "hidden = 8\ntest = 0.5\nlabel = \"gone\"\ntraining_set = \"/gone\"\n"}});
  auto none = beside(ours, {{"ease:1", "model = \"ease\"\n"}});
  same->options.data = none->options.data = set.path(); // The configuration may say but a name.

  auto done = same->run();
  auto not_measured = none->run();

  REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
  REQUIRE_MESSAGE(not_measured, (not_measured ? std::string{} : render(not_measured.error())));
  CHECK(done->at("beside").at("production").at("model") == "dcn:2");
  auto& metrics = done->at("metrics").as_object();
  CHECK(metrics.at("auc").as_double() > 0.6);
  CHECK(metrics.at("production_auc") == metrics.at("auc"));
  CHECK(metrics.at("production_log_loss") == metrics.at("log_loss"));
  CHECK(same->said.back().at("step") == same->said.back().at("steps_total"));
  CHECK(std::filesystem::exists(same->options.out / "checkpoints" / "production" / "1"));
  CHECK(!not_measured->at("metrics").as_object().contains("production_auc"));
  CHECK(not_measured->at("beside").at("production").at("reason") ==
        "ease:1: it does not learn from labels, as a DCN does");
}

TEST_CASE("a DCN whose newest rows have one label has no auc and says why, as one that holds none back") {
  troupe::testing::temp_dir set, one_label;
  write_training_set(set.path());
  write_training_set(one_label.path(), 320);
  auto ends = [&](const troupe::testing::temp_dir& rows, const std::string& more) {
    setting with{"model = \"dcn\"\n[dcn]\nepochs = 1\nbatch = 64\nhidden = 8\ntraining_set = \"s\"\n" + more};
    with.options.data = rows.path();
    auto done = with.run();
    REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
    return *done;
  };

  auto same = ends(one_label, "test = 0.2\n"), none = ends(set, "test = 0\n"),
       both = ends(set, "test = 0.2\n");

  CHECK(same.at("not_measured") == "all of the 80 newest rows have the same label");
  CHECK(!same.at("metrics").as_object().contains("auc"));
  CHECK(!same.at("metrics").as_object().contains("popularity_auc"));
  CHECK(same.at("metrics").as_object().contains("log_loss"));
  CHECK(none.at("not_measured") == "dcn.test holds no rows back");
  CHECK(!both.contains("not_measured"));
  CHECK(both.at("metrics").at("questions").to_number<int>() == 80);
}

TEST_CASE("what is in production is measured beside, and makes steps that are not those of the run") {
  setting with{"model = \"ease\"\nease.l2 = 5.0\n"};
  std::filesystem::create_directories(with.options.out);
  std::ofstream{with.options.out / "production.json"}
      << R"([{"model":"bpr:1","config":"model = \"bpr\"\nbpr.epochs = 2\n"}])";

  auto done = with.run();

  REQUIRE(done);
  CHECK(done->at("metrics").as_object().contains("production_hr_at_10"));
  std::uint64_t loaded = 0, compared = 0;
  for (auto& line : with.said) {
    CHECK(line.at("stage") != "fitting");
    compared += line.at("stage") == "comparing" ? 1 : 0;
    if (line.at("stage") == "loading")
      loaded = line.at("step").to_number<std::uint64_t>();
  }
  CHECK(compared >= 1);
  CHECK(loaded <= 240);
}

TEST_CASE("rows make steps as they are read, and reading ends where it is asked to") {
  setting with{""};
  std::vector<std::uint64_t> steps;
  auto read = read_interactions_file(with.options.data, [&](auto& now) {
    CHECK(now.stage == "loading");
    steps.push_back(now.step);
    return true;
  });
  REQUIRE(read);
  REQUIRE(!steps.empty());
  CHECK(steps.back() == 240);

  auto stopped = read_interactions_file(with.options.data, [](auto&) { return false; });
  REQUIRE(!stopped);
  CHECK(stopped.error().code == ec::canceled);
}

TEST_CASE("interactions are read from their own three columns, and a time that is none is refused") {
  setting with{""};
  auto path = with.dir / "user=999" / "event_time=2024-01-01" / "[x].parquet";
  std::filesystem::create_directories(path.parent_path());
  auto read = [&](const std::string& columns) -> std::string {
    auto base = table::connection::open({.threads = 1});
    auto made = with.dir / "made.parquet";
    auto done =
        base->run("COPY (SELECT " + columns + ") TO " + table::sql_text(made.string()) + " (FORMAT parquet)");
    REQUIRE_MESSAGE(done, done.error().text);
    std::filesystem::rename(made, path);
    auto found = read_interactions_file(path);
    return found ? found->users.at(0) : found.error().text;
  };

  CHECK(read("'u1' AS \"user\", 'i1' AS item, 5::BIGINT AS event_time, '\\xFF'::BLOB AS unread") == "u1");
  CHECK(read("'u1' AS \"user\", 'i1' AS item, DATE '2024-01-01' AS event_time") == "u1");
  CHECK(read("'u1' AS \"user\", 'i1' AS item, 'infinity'::DATE AS event_time").find("is no instant") !=
        std::string::npos);
  CHECK(read("'u1' AS \"user\", 'i1' AS item, '2024-01-01' AS event_time").find("event_time of") !=
        std::string::npos);
  CHECK(read("1e17::DOUBLE AS \"user\", 'i1' AS item, 5::BIGINT AS event_time")
            .find("holds float64, not text") != std::string::npos);
}

TEST_CASE("a rank computes with the threads of its configuration, or with its share of the machine's") {
  setting with{"threads = 3\n"};
  setting without{""};
  CHECK(threads_of(with.options) == 3);
  CHECK(threads_of(without.options) == std::max(1U, std::thread::hardware_concurrency()));
  without.options.world = 1000;
  CHECK(threads_of(without.options) == 1);
}

TEST_CASE("a worker that is told to stop ends with canceled and leaves no model") {
  setting with{"model = \"bpr\"\nbpr.epochs = 100000\n"};
  with.stop = true;

  auto done = with.run();

  REQUIRE(!done);
  CHECK(done.error().code == ec::canceled);
  CHECK(!std::filesystem::exists(with.options.out / "model"));
}

TEST_CASE("bad input is refused with what is wrong in it") {
  setting unknown{"model = \"ease\"\nease.l3 = 1.0\n"};
  setting ranks{"model = \"ease\"\n"};
  ranks.options.world = 2;
  setting absent{"model = \"ease\"\n"};
  absent.options.data = absent.dir / "none.parquet";
  setting columns{"model = \"ease\"\n"};
  {
    auto out = table::parquet_writer::open(columns.options.data, {{"who", table::cell::text}});
    (*out)->add("u");
    REQUIRE((*out)->end_row());
    REQUIRE((*out)->finish());
  }

  auto wrong_key = unknown.run();
  auto wrong_ranks = ranks.run();
  auto no_file = absent.run();
  auto wrong_columns = columns.run();

  REQUIRE((!wrong_key && !wrong_ranks && !no_file && !wrong_columns));
  CHECK(wrong_key.error().text.find("ease.l2") != std::string::npos);
  CHECK(wrong_ranks.error().text.find("run.ranks") != std::string::npos);
  CHECK(no_file.error().code == ec::not_found);
  CHECK(wrong_columns.error().text.find("lacks the column user") != std::string::npos);
}

TEST_CASE("an item taken again is not asked for, and nothing after the first held-back item is trained on") {
  interactions data;
  data.users = {"u"};
  data.items = {"a", "b", "c", "d"};
  data.item = {0, 0, 1, 0, 2, 1, 3, 0};
  data.user.assign(data.item.size(), 0);

  auto split = leave_last_out(data, "test");

  REQUIRE(split.test.size() == 1);
  CHECK(split.test[0].positive == 3);
  CHECK(split.test[0].seen == std::vector<std::uint32_t>{0, 0, 1, 0, 2, 1});
  CHECK(split.validation[0].positive == 2);
  CHECK(split.validation[0].seen == std::vector<std::uint32_t>{0, 0, 1, 0});
  CHECK(split.train.item == std::vector<std::uint32_t>{0, 0, 1, 0});
}
