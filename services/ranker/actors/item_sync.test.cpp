#include "services/ranker/test_actors.hpp"

#include <caf/send.hpp>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
using namespace std::chrono_literals;

namespace {

const std::string clicks = "item_activity.clicks";

struct item_sync_fixture : ranker_fixture {
  item_sync_actor sync;
  health::report report = health::add(well, "items");
  std::uint32_t replicas = 1;

  item_sync_fixture() { settings->item_refresh = 5s; }

  void start() {
    item_sync_deps deps;
    deps.settings = settings;
    deps.items = items;
    deps.releases = releases;
    deps.metrics = counts;
    deps.features = features.function();
    deps.replicas = replicas;
    deps.post = pool.function();
    deps.report = report;
    sync = own(spawn_item_sync(system, std::move(deps)));
    run();
    advance(1ms); // The first scan begins.
  }

  /// A page of items with a title each; every other feature has the value 7 where it is a number's.
  static chunk page(const std::vector<std::string>& names, const std::vector<std::string>& ids, bool last,
                    const std::vector<std::uint8_t>& deleted = {}, std::uint64_t applied = 0) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::FeatureColumn>> columns;
    for (auto& name : names) {
      std::vector<std::optional<attribute_value>> values;
      for (auto& id : ids)
        if (name == "item_card.title")
          values.emplace_back("Title of " + id);
        else if (name == "item_card.genres")
          values.emplace_back(text_list{"War"});
        else if (name == "item_card.hidden")
          values.emplace_back(id == "hidden" ? 1.0 : 0.0);
        else if (id == "silent")
          values.emplace_back(std::nullopt);
        else
          values.emplace_back(7.0);
      columns.push_back(column_of(out, name, values));
    }
    auto columns_at = out.CreateVector(columns);
    auto views = out.CreateVectorOfStrings(std::vector<std::string>{"item_card@v1"});
    auto marks = deleted.empty() ? std::vector<std::uint8_t>(ids.size()) : deleted;
    auto deleted_at = out.CreateVector(marks);
    auto offsets = out.CreateVectorOfStructs(std::vector<wire::PartitionOffset>{{2, applied}});
    wire::FeaturesBuilder made{out};
    made.add_columns(columns_at);
    made.add_applied(offsets);
    made.add_view_versions(views);
    made.add_deleted(deleted_at);
    auto features_at = made.Finish();
    auto ids_at = out.CreateVectorOfStrings(ids);
    out.Finish(wire::CreateFeatureScanPage(out, ids_at, features_at, last), "TRPF");
    return net::bytes_of(out);
  }

  void give(const std::vector<std::string>& ids, bool last = true,
            const std::vector<std::uint8_t>& deleted = {}, std::uint64_t applied = 0) {
    auto question = features.next();
    question.answer(page(question.features(), ids, last, deleted, applied));
    settle();
  }

  answer<bool> ensure(std::vector<std::string> names) {
    auto got = ask_later<bool>(sync, ensure_atom::value,
                               feature_names_ptr{std::make_shared<const std::vector<std::string>>(names)});
    settle();
    return got;
  }

  std::string state() {
    auto now = well->read();
    return now.components.at(0).why;
  }
};

} // namespace

TEST_CASE_FIXTURE(item_sync_fixture,
                  "a scan reads page by page, replica by replica, and is seen as a whole") {
  replicas = 2;
  start();

  CHECK(features.asked.front().replica == 0);
  CHECK(features.asked.front().after().empty());
  give({"a", "hidden"}, false);
  CHECK(features.asked.front().after() == "hidden");
  give({"gone"}, true, {1});
  CHECK(items->get()->size() == 0);
  CHECK(features.asked.front().replica == 1);
  CHECK(features.asked.front().after().empty());
  give({"silent"});

  auto now = items->get();
  REQUIRE(now->size() == 4);
  CHECK(now->find("a")->title == "Title of a");
  CHECK(now->find("a")->trend == 7);
  CHECK(now->find("a")->find("genres"));
  CHECK(now->find("a")->closed(6'999'999).empty());
  CHECK(now->find("a")->closed(7'000'000) == "expired"); // Seven seconds, by its size.
  CHECK(now->find("hidden")->closed(0) == "hidden");
  CHECK(now->find("gone")->closed(0) == "deleted");
  CHECK(!now->find("silent")->find("created"));
  CHECK(now->views() == std::vector<std::string>{"item_card@v1"});
  CHECK(counted("troupe_ranker_items 4"));
}

TEST_CASE_FIXTURE(item_sync_fixture, "a snapshot knows the log as far as every page of its scan did") {
  replicas = 2;
  start();
  give({"a"}, false, {}, 9);
  give({"b"}, true, {}, 12);
  give({"c"}, true, {}, 7);

  CHECK(items->get()->applied().reached(2, 7));
  CHECK(!items->get()->applied().reached(2, 8));
  CHECK(!items->get()->applied().reached(1, 1));
  advance(5s);
  give({"a"}, true, {}, 20);
  give({"c"}, true, {}, 21);
  CHECK(items->get()->applied().reached(2, 20));
}

TEST_CASE_FIXTURE(item_sync_fixture, "the next scan comes after the pause, and replaces what was there") {
  start();
  give({"a", "b"});

  advance(4s);
  CHECK(features.asked.empty());
  advance(2s);
  give({"b"});

  CHECK(items->get()->size() == 1);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "a scan that fails leaves the snapshot in force and is tried again soon") {
  start();
  give({"a"});
  advance(5s);

  features.next().fail(ec::unavailable, "nobody is there");
  settle();

  CHECK(items->get()->size() == 1);
  CHECK(state().find("nobody is there") != std::string::npos);
  CHECK(counted("troupe_ranker_item_scan_failures_total 1"));
  advance(1s);
  give({"a", "b"});
  CHECK(items->get()->size() == 2);
  CHECK(state().empty());
}

TEST_CASE_FIXTURE(item_sync_fixture, "a page that is not what was asked for is no page") {
  start();

  auto question = features.next();
  question.answer(page({"item_card.title"}, {"a"}, true));
  settle();

  CHECK(items->get()->size() == 0);
  CHECK(counted("troupe_ranker_item_scan_failures_total 1"));
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "what is to be ensured is read at once, and is there when that is answered") {
  start();
  give({"a"});

  auto got = ensure({clicks});
  CHECK(!*got);
  CHECK(features.asked.front().features().back() == clicks);
  give({"a", "silent"});

  REQUIRE(*got);
  CHECK((*got)->has_value());
  auto now = items->get();
  CHECK(now->feature_names() == std::vector<std::string>{clicks});
  CHECK(std::get<double>(*now->find("a")->feature(0)) == 7);
  CHECK(!now->find("silent")->feature(0));
  // It is there: no scan is needed.
  auto again = ensure({clicks});
  REQUIRE(*again);
  CHECK((*again)->has_value());
  CHECK(features.asked.empty());
  // And stays, scan by scan.
  advance(5s);
  CHECK(features.asked.front().features().back() == clicks);
}

TEST_CASE_FIXTURE(item_sync_fixture, "the scan under way does not count for what it was not planned with") {
  start();

  auto got = ensure({clicks});
  give({"a"});

  CHECK(!*got);
  give({"a"});
  REQUIRE(*got);
  CHECK((*got)->has_value());
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "features that the feature store does not have are told, and items are read without them") {
  start();
  give({"a"});

  auto got = ensure({clicks});
  features.next().fail(ec::not_found, "there is no item_activity");
  settle();
  CHECK(!*got);
  CHECK(features.asked.front().features().back() != clicks);
  give({"a", "b"});

  REQUIRE(*got);
  REQUIRE(!**got);
  CHECK((**got).error().text.find("there is no item_activity") != std::string::npos);
  CHECK((**got).error().code == ec::not_found);
  CHECK(items->get()->size() == 2);
  CHECK(state().find("there is no item_activity") != std::string::npos);
}

TEST_CASE_FIXTURE(item_sync_fixture, "what the releases held want of items is read without being asked for") {
  make_dcn_release(dir / "dcn");
  publish("dcn");

  start();

  CHECK(features.asked.front().features().back() == clicks);
}

TEST_CASE_FIXTURE(item_sync_fixture, "a pool that is full fails the scan, not the actor") {
  start();
  pool.full = true;

  give({"a"});

  CHECK(state().find("full") != std::string::npos);
  pool.full = false;
  advance(1s);
  give({"a"});
  CHECK(items->get()->size() == 1);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "stopped half-way it answers who waits, and a page that comes then is nobody's") {
  start();
  auto got = ensure({clicks});

  caf::anon_send_exit(caf::actor_cast<caf::actor>(sync), caf::exit_reason::user_shutdown);
  run();

  REQUIRE(*got);
  REQUIRE(!**got);
  CHECK((**got).error().code == ec::stopping);
  give({"a"});
  CHECK(items->get()->size() == 0);
}
