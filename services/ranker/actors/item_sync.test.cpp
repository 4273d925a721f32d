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

  /// Of items with a title each; every other feature has the value 7 where it is a number's.
  static flatbuffers::Offset<wire::Features> features_of(flatbuffers::FlatBufferBuilder& out,
                                                         const std::vector<std::string>& names,
                                                         const std::vector<std::string>& ids,
                                                         const std::vector<std::uint8_t>& deleted,
                                                         std::uint64_t applied) {
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
    return made.Finish();
  }

  static chunk page(const std::vector<std::string>& names, const std::vector<std::string>& ids, bool last,
                    const std::vector<std::uint8_t>& deleted = {}, std::uint64_t applied = 0) {
    flatbuffers::FlatBufferBuilder out;
    auto features_at = features_of(out, names, ids, deleted, applied);
    auto ids_at = out.CreateVectorOfStrings(ids);
    out.Finish(wire::CreateFeatureScanPage(out, ids_at, features_at, last), "TRPF");
    return net::bytes_of(out);
  }

  /// What has changed, as the answer to the question for it.
  struct changes {
    std::vector<std::string> ids;
    std::vector<std::uint8_t> deleted{};
    std::uint64_t applied = 0;
    bool more = false, reset = false;
  };
  void tell(feature_store_stub::question to, const changes& what) {
    flatbuffers::FlatBufferBuilder out;
    auto features_at = features_of(out, to.features(), what.ids, what.deleted, what.applied);
    auto ids_at = out.CreateVectorOfStrings(what.ids);
    auto next_at = out.CreateString(fmt::format("place {}", ++places));
    out.Finish(wire::CreateFeatureChangesPage(out, ids_at, features_at, next_at, what.more, what.reset),
               "TRPF");
    to.answer(net::bytes_of(out));
    settle();
  }
  void tell(const changes& what) { tell(features.next(wire::Kind::feature_changes), what); }
  int places = 0;

  /// Answers questions for what own records have changed that it is nothing, until one comes for all changes.
  feature_store_stub::question trends_asked() {
    for (int i = 0; i < 100; ++i) {
      while (features.is_asked(wire::Kind::feature_changes)) {
        auto question = features.next(wire::Kind::feature_changes);
        if (!question.changes()->records_only())
          return question;
        tell(question, {});
      }
      advance(200ms);
    }
    throw std::logic_error{"no trends are asked for"};
  }

  /// Answers whoever asks for changes that there are none.
  void nothing_changes(std::uint64_t applied = 0) {
    for (settle(); features.is_asked(wire::Kind::feature_changes); settle())
      tell({.ids = {}, .applied = applied});
  }

  /// The next page of a scan, while nothing changes.
  void give(const std::vector<std::string>& ids, bool last = true,
            const std::vector<std::uint8_t>& deleted = {}, std::uint64_t applied = 0) {
    nothing_changes(applied);
    auto question = features.next(wire::Kind::scan_features);
    question.answer(page(question.features(), ids, last, deleted, applied));
    nothing_changes(applied);
  }

  /// The page of a scan that is asked for, or the last of what is.
  const feature_store_stub::question& scan_asked() {
    nothing_changes();
    REQUIRE(features.is_asked(wire::Kind::scan_features));
    return *std::ranges::find(features.asked, wire::Kind::scan_features, &feature_store_stub::question::kind);
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

  CHECK(scan_asked().replica == 0);
  CHECK(scan_asked().after().empty());
  give({"a", "hidden"}, false);
  CHECK(scan_asked().after() == "hidden");
  give({"gone"}, true, {1});
  CHECK(items->get()->size() == 0);
  CHECK(scan_asked().replica == 1);
  CHECK(scan_asked().after().empty());
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

TEST_CASE_FIXTURE(item_sync_fixture,
                  "what was written, hidden or deleted is in the items with the next question for changes") {
  start();
  give({"a", "b"});
  CHECK(!features.is_asked(wire::Kind::feature_changes));

  advance(200ms);
  auto question = features.next(wire::Kind::feature_changes);
  CHECK(question.changes()->records_only());
  CHECK(question.changes()->limit() == 1000);
  tell(question, {.ids = {"hidden", "b"}, .deleted = {0, 1}, .applied = 9});

  auto now = items->get();
  CHECK(now->size() == 3);
  CHECK(now->find("hidden")->closed(0) == "hidden");
  CHECK(now->find("b")->closed(0) == "deleted");
  CHECK(now->find("a")->closed(0).empty());
  CHECK(now->applied().reached(2, 9));
  CHECK(counted("troupe_ranker_item_changes_total 2"));
  CHECK(counted("troupe_ranker_items 3"));
  // The next question is for what comes behind these.
  CHECK(!features.is_asked(wire::Kind::feature_changes));
  auto behind = fmt::format("place {}", places);
  advance(200ms);
  question = features.next(wire::Kind::feature_changes);
  CHECK(question.changes()->since()->str() == behind);
  // Nothing has changed: the items are the same, until their age is worth a new one.
  tell(question, {.ids = {}, .applied = 10});
  CHECK(items->get() == now);
  advance(1s);
  nothing_changes(11);
  CHECK(items->get()->taken() > now->taken());
  CHECK(items->get()->applied().reached(2, 11));
  CHECK(items->get()->size() == 3);
}

TEST_CASE_FIXTURE(
    item_sync_fixture,
    "changes come page by page, each replica's behind its own place, and are known when all have") {
  replicas = 2;
  start();
  give({"a"});
  give({"b"});
  advance(200ms);

  auto first = features.next(wire::Kind::feature_changes);
  CHECK(first.replica == 0);
  tell(first, {.ids = {"c"}, .applied = 20, .more = true});
  CHECK(items->get()->size() == 3);
  auto behind = fmt::format("place {}", places);
  auto second = features.next(wire::Kind::feature_changes);
  CHECK(second.replica == 0);
  CHECK(second.changes()->since()->str() == behind);
  tell(second, {.ids = {"d"}, .applied = 20});
  CHECK(!items->get()->applied().reached(2, 1));
  auto third = features.next(wire::Kind::feature_changes);
  CHECK(third.replica == 1);
  CHECK(third.changes()->since()->str() != second.changes()->since()->str());
  tell(third, {.ids = {"e"}, .applied = 12});

  CHECK(items->get()->size() == 5);
  CHECK(items->get()->applied().reached(2, 12));
  CHECK(!items->get()->applied().reached(2, 13));
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "what events have changed is asked for less often than what was written") {
  settings->item_refresh = 1h;
  start();
  give({"a"});
  int of_records = 0, of_all = 0;

  for (int i = 0; i < 50; ++i) { // 10 s.
    advance(200ms);
    auto question = features.next(wire::Kind::feature_changes);
    (question.changes()->records_only() ? of_records : of_all) += 1;
    tell(question, {});
  }

  CHECK(of_all == 2);
  CHECK(of_records == 48);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "changes are obeyed while all items are read, and what was read replaces nothing newer") {
  start();
  give({"a", "b"});
  advance(5s);
  tell({.ids = {}}); // The place of the scan; the other question is for changes.
  auto of_scan = fmt::format("place {}", places);
  tell({.ids = {}});
  REQUIRE(features.is_asked(wire::Kind::scan_features));

  advance(200ms);
  auto live = features.next(wire::Kind::feature_changes);
  auto question = features.next(wire::Kind::scan_features); // Read before the deletion, comes behind it.
  tell(live, {.ids = {"a"}, .deleted = {1}});
  CHECK(items->get()->find("a")->deleted);
  question.answer(page(question.features(), {"a"}, true));
  settle();
  CHECK(items->get()->find("a")->deleted);
  advance(1s); // Nothing else is asked while it catches up.
  auto catching_up = features.next(wire::Kind::feature_changes);
  CHECK(!features.is_asked(wire::Kind::feature_changes));
  CHECK(catching_up.changes()->since()->str() == of_scan);
  CHECK(catching_up.changes()->records_only()); // Trends come when they are due.
  tell(catching_up, {.ids = {"a"}, .deleted = {1}, .more = true});
  CHECK(items->get()->find("b"));
  tell({.ids = {"c"}});

  auto now = items->get();
  CHECK(now->find("a")->deleted);
  CHECK(!now->find("b"));
  CHECK(now->find("c"));
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "a feature store that does not know our place any more is scanned at once") {
  start();
  give({"a", "b"});
  advance(200ms);

  tell({.ids = {}, .reset = true});
  CHECK(items->get()->size() == 2);
  give({"c"});

  CHECK(items->get()->size() == 1);
  CHECK(counted("troupe_ranker_item_resets_total 1"));
  CHECK(state().empty());
  advance(200ms);
  tell({.ids = {"d"}});
  CHECK(items->get()->size() == 2);
}

TEST_CASE_FIXTURE(
    item_sync_fixture,
    "where more changes during a scan than is remembered, what was read is better than nothing") {
  start();
  tell(features.next(wire::Kind::feature_changes), {});
  auto question = features.next(wire::Kind::scan_features);
  question.answer(page(question.features(), {"a"}, true));
  settle();

  tell({.ids = {}, .reset = true});
  CHECK(items->get()->size() == 1);
  advance(1s);
  give({"a", "b"});
  CHECK(items->get()->size() == 2);
  // What is followed is newer than what was read then.
  advance(5s);
  nothing_changes();
  question = features.next(wire::Kind::scan_features);
  question.answer(page(question.features(), {"a"}, true));
  settle();
  tell({.ids = {}, .reset = true});
  CHECK(items->get()->size() == 2);
  CHECK(state().find("more items changed") != std::string::npos);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "a question for changes that fails is said, and asked again a second later") {
  start();
  give({"a"});
  advance(200ms);

  features.next(wire::Kind::feature_changes).fail(ec::unavailable, "nobody is there");
  settle();
  CHECK(state().find("nobody is there") != std::string::npos);
  CHECK(counted("troupe_ranker_item_change_failures_total 1"));
  advance(900ms);
  CHECK(!features.is_asked(wire::Kind::feature_changes));
  advance(100ms);
  tell({.ids = {}}); // It is back.
  tell({.ids = {"b"}});

  CHECK(items->get()->size() == 2);
  CHECK(state().empty());
}

TEST_CASE_FIXTURE(
    item_sync_fixture,
    "a replica that is away keeps nobody waiting: the others are asked without it until it answers") {
  replicas = 2;
  settings->item_refresh = 1h;
  start();
  give({"a"});
  give({"b"});
  advance(200ms);

  auto first = features.next(wire::Kind::feature_changes);
  CHECK(first.replica == 0);
  first.fail(ec::unavailable, "nobody is there");
  settle();
  auto other = features.next(wire::Kind::feature_changes);
  CHECK(other.replica == 1);
  tell(other, {.ids = {"b"}, .deleted = {1}, .applied = 12});
  CHECK(items->get()->find("b")->deleted);
  CHECK(!items->get()->applied().reached(2, 12)); // Of all replicas only.
  CHECK(state().find("replica 0: nobody is there") != std::string::npos);

  std::optional<feature_store_stub::question> away;
  for (int i = 0; i < 15; ++i) { // It hangs: the question whether it is back is not answered.
    advance(200ms);
    auto question = features.next(wire::Kind::feature_changes);
    if (!away && features.is_asked(wire::Kind::feature_changes))
      away = features.next(wire::Kind::feature_changes);
    CHECK(question.replica == 1);
    tell(question, {.ids = {fmt::format("of round {}", i)}, .applied = 13});
    CHECK(items->get()->find(fmt::format("of round {}", i)));
    CHECK(!features.is_asked(wire::Kind::feature_changes));
  }
  REQUIRE(away);
  CHECK(away->replica == 0);
  auto place = away->changes()->since()->str();
  tell(*away, {.ids = {}});
  auto question = features.next(wire::Kind::feature_changes);
  CHECK(question.replica == 0);
  CHECK(question.changes()->since()->str() == place); // Nothing was missed.
  tell(question, {.ids = {"a"}, .deleted = {1}, .applied = 14});
  tell({.ids = {}, .applied = 14});

  CHECK(items->get()->find("a")->deleted);
  CHECK(items->get()->applied().reached(2, 14));
  CHECK(state().empty());
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "own records do not wait for what events have changed, however much that is") {
  replicas = 2;
  settings->item_refresh = 1h;
  start();
  give({"a"});
  give({"b"});

  tell(trends_asked(), {.ids = {"c"}, .more = true});
  auto page = features.next(wire::Kind::feature_changes);
  CHECK(!page.changes()->records_only());
  advance(200ms);
  tell(page, {.ids = {"d"}, .more = true});
  auto behind = fmt::format("place {}", places);
  CHECK(items->get()->size() == 4);
  auto own = features.next(wire::Kind::feature_changes);
  CHECK(own.changes()->records_only());
  CHECK(own.replica == 0);
  CHECK(own.changes()->since()->str() == behind);
  tell(own, {.ids = {"a"}, .deleted = {1}});
  CHECK(items->get()->find("a")->deleted);

  // Trends go on where they were, and each replica has its turn.
  page = trends_asked();
  CHECK(page.replica == 0);
  advance(100ms);
  tell(page, {.ids = {"e"}});
  page = features.next(wire::Kind::feature_changes);
  CHECK(page.replica == 1);
  CHECK(!page.changes()->records_only());
  advance(100ms);
  tell(page, {.ids = {"f"}, .more = true});
  page = trends_asked();
  CHECK(page.replica == 1);
  tell(page, {.ids = {"g"}});
  page = features.next(wire::Kind::feature_changes);
  CHECK(page.replica == 0);
  CHECK(!page.changes()->records_only());
  tell(page, {});

  CHECK(items->get()->size() == 7);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "own records are followed on where events have changed more than is remembered") {
  settings->item_refresh = 1h;
  start();
  give({"a", "b"});
  tell(trends_asked(), {.ids = {}, .reset = true});
  CHECK(counted("troupe_ranker_item_resets_total 1"));
  tell({.ids = {}}); // The place of a scan.
  auto scan = features.next(wire::Kind::scan_features);
  advance(200ms);
  auto own = features.next(wire::Kind::feature_changes);
  CHECK(own.changes()->records_only());
  tell(own, {.ids = {"a"}, .deleted = {1}});

  CHECK(items->get()->find("a")->deleted);
  CHECK(items->get()->find("b"));
  CHECK(state().empty());
}

TEST_CASE_FIXTURE(item_sync_fixture, "the next scan comes after the pause, and replaces what was there") {
  start();
  give({"a", "b"});

  advance(4s);
  CHECK(!features.is_asked(wire::Kind::scan_features));
  advance(2s);
  give({"b"});

  CHECK(items->get()->size() == 1);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "requests that have the snapshot from before a scan keep what a release has made of it") {
  make_release(dir / "r", "");
  publish("r");
  auto release = releases->get()->newest;
  auto binding = [&](const item_snapshot& of) {
    return release->bindings.get(*release, of, micros_of(wall_now()));
  };
  start();
  give({"a", "b"});
  advance(6s);
  nothing_changes();
  auto before = items->get();
  auto of_before = binding(*before);

  give({"b"});

  auto now = items->get();
  REQUIRE(now->size() == 1);
  auto asked_at = micros_of(wall_now());
  CHECK(release->bindings.get(*release, *now, asked_at)->bound_at() < asked_at); // Nobody had to ask for it.
  CHECK(binding(*before) == of_before);
}

TEST_CASE_FIXTURE(item_sync_fixture,
                  "a scan that fails leaves the snapshot in force and is tried again soon") {
  start();
  give({"a"});
  advance(5s);

  scan_asked();
  features.next(wire::Kind::scan_features).fail(ec::unavailable, "nobody is there");
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

  scan_asked();
  auto question = features.next(wire::Kind::scan_features);
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
  CHECK(scan_asked().features().back() == clicks);
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
  CHECK(!features.is_asked(wire::Kind::scan_features));
  // And stays, scan by scan.
  advance(5s);
  CHECK(scan_asked().features().back() == clicks);
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
  scan_asked();
  features.next(wire::Kind::scan_features).fail(ec::not_found, "there is no item_activity");
  settle();
  CHECK(!*got);
  CHECK(scan_asked().features().back() != clicks);
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

  CHECK(scan_asked().features().back() == clicks);
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
  scan_asked();

  caf::anon_send_exit(caf::actor_cast<caf::actor>(sync), caf::exit_reason::user_shutdown);
  run();

  REQUIRE(*got);
  REQUIRE(!**got);
  CHECK((**got).error().code == ec::stopping);
  give({"a"});
  CHECK(items->get()->size() == 0);
}
