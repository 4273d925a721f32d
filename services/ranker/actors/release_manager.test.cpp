#include "services/ranker/test_actors.hpp"

#include <caf/send.hpp>

#include <fstream>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

struct release_manager_fixture : ranker_fixture {
  item_sync_actor sync;
  release_manager_actor manager;
  health::report report = health::add(well, "releases");
  std::shared_ptr<bundle_fetcher> bundles =
      std::make_shared<bundle_fetcher>(dir / "data", dir / "bundles", nullptr, 1s);

  release_manager_fixture() {
    fs::create_directories(dir / "data");
    settings->load_retry = 10s;
    settings->item_refresh = 1h;
  }

  void start(std::vector<std::string> wanted = {}) {
    item_sync_deps of_items;
    of_items.settings = settings;
    of_items.items = items;
    of_items.releases = releases;
    of_items.metrics = counts;
    of_items.features = features.function();
    of_items.post = pool.function();
    sync = own(spawn_item_sync(system, std::move(of_items)));
    release_manager_deps deps;
    deps.settings = settings;
    deps.releases = releases;
    deps.metrics = counts;
    deps.bundles = bundles;
    deps.items = sync;
    deps.snapshot = items;
    deps.features = features.function();
    deps.post = pool.function();
    deps.wanted_file = dir / "data/wanted";
    deps.wanted = std::move(wanted);
    deps.readable = readable_attributes({});
    deps.report = report;
    manager = own(spawn_release_manager(system, std::move(deps)));
  }

  asked_request prepare(const std::vector<std::string>& ids) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreatePrepare(out, out.CreateVectorOfStrings(ids)), "TRPK");
    asked_request asked{wire::Kind::prepare, out};
    caf::anon_send(manager, net::request_atom::value, asked.request());
    run();
    return asked;
  }

  /// All releases it knows: state, and the error behind a colon.
  std::map<std::string, std::string> loaded() {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateLoadedQuery(out), "TRPK");
    asked_request asked{wire::Kind::loaded, out};
    caf::anon_send(manager, net::request_atom::value, asked.request());
    run();
    auto got = asked.wait();
    REQUIRE(got);
    std::map<std::string, std::string> all;
    for (auto* each : *flatbuffers::GetRoot<wire::LoadedReleases>(got->data())->releases())
      all[each->id()->str()] =
          each->state()->str() + (each->error()->size() > 0 ? ": " + each->error()->str() : "");
    return all;
  }

  std::string wanted_list() {
    std::ifstream in{dir / "data/wanted"};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
};

} // namespace

TEST_CASE_FIXTURE(release_manager_fixture, "a release is loaded, warmed and published; each state is told") {
  auto id = make_release(dir / "bundles/r", "");
  start();

  auto asked = prepare({id});
  CHECK(loaded()[id] == "loading");
  auto load = std::move(pool.queued.front());
  pool.queued.pop_front();
  load();
  run();
  CHECK(loaded()[id] == "warming");
  CHECK(!releases->get()->find(id));
  settle();

  CHECK(loaded()[id] == "ready");
  CHECK(releases->get()->find(id));
  CHECK(releases->get()->newest->manifest.id == id);
  CHECK(asked.wait());
  CHECK(counted("troupe_ranker_releases_loaded_total 1"));
  CHECK(counted("troupe_ranker_releases 1"));
}

TEST_CASE_FIXTURE(release_manager_fixture,
                  "prepare is answered once the list is on the disk, and says so where it cannot be") {
  auto id = make_release(dir / "bundles/r", "");
  start();

  auto asked = prepare({id, id});
  CHECK(!asked.answered());
  settle();
  CHECK(asked.wait());
  CHECK(wanted_list() == id + "\n");

  fs::remove_all(dir / "data");
  auto unwritten = prepare({id});
  settle();
  CHECK(unwritten.failure().code == ec::io_failed);
}

TEST_CASE_FIXTURE(release_manager_fixture,
                  "lists that follow one another are written in their order, the last one stays") {
  auto one = make_release(dir / "bundles/one", "", "one"), two = make_release(dir / "bundles/two", "", "two");
  start();

  auto first = prepare({one}), second = prepare({two}), third = prepare({one, two});
  settle();

  CHECK(first.wait());
  CHECK(second.wait());
  CHECK(third.wait());
  CHECK(wanted_list() == one + "\n" + two + "\n");
}

TEST_CASE_FIXTURE(release_manager_fixture,
                  "it is ready when all wanted at the start are ready or have failed") {
  auto good = make_release(dir / "bundles/good", "", "good");
  std::string away(64, 'a');

  start({good, away});
  CHECK(well->read().components.at(0).is == health::condition::not_ready);
  settle();

  CHECK(well->read().components.at(0).is == health::condition::ready);
  CHECK(loaded()[good] == "ready");
  CHECK(loaded()[away].starts_with("failed"));
  // What is prepared later takes nothing away from that.
  prepare({make_release(dir / "bundles/more", "", "more")});
  CHECK(well->read().components.at(0).is == health::condition::ready);
}

TEST_CASE_FIXTURE(
    release_manager_fixture,
    "a release that is not there is tried again; one that is broken is not, until it is wanted anew") {
  auto id = make_release(dir / "elsewhere", "");
  start();
  prepare({id});
  settle();
  CHECK(loaded()[id].find("not on this machine") != std::string::npos);
  fs::create_directories(dir / "bundles");
  fs::rename(dir / "elsewhere", dir / "bundles/r");

  advance(9s);
  settle();
  CHECK(loaded()[id].starts_with("failed"));
  advance(1s);
  settle();
  CHECK(loaded()[id] == "ready");

  auto bad = make_release(dir / "bundles/bad", "[seen]\nfilter = 'x'", "bad");
  prepare({id, bad});
  settle();
  CHECK(loaded()[bad].find("seen.filter") != std::string::npos);
  CHECK(counted("troupe_ranker_release_failures_total 2"));
  advance(1min);
  CHECK(pool.queued.empty());
  prepare({id, bad});
  settle();
  CHECK(counted("troupe_ranker_release_failures_total 3"));
  CHECK(releases->get()->find(id));
}

TEST_CASE_FIXTURE(
    release_manager_fixture,
    "what is no longer wanted stays until every wanted one is ready, then goes with its last reader") {
  auto one = make_release(dir / "bundles/one", "", "one"), two = make_release(dir / "bundles/two", "", "two");
  std::string away(64, 'a');
  start({one});
  settle();
  auto reader = releases->get()->find(one);
  std::weak_ptr<const loaded_release> first = reader;

  prepare({two, away});
  settle();
  CHECK(loaded().size() == 3);
  CHECK(releases->get()->find(one));
  prepare({two});
  settle();

  CHECK(loaded() == std::map<std::string, std::string>{{two, "ready"}});
  CHECK(!releases->get()->find(one));
  CHECK(releases->get()->newest->manifest.id == two);
  CHECK(!first.expired());
  reader = nullptr;
  CHECK(first.expired());
}

TEST_CASE_FIXTURE(release_manager_fixture, "a rule on an attribute that nothing reads is no release") {
  auto id = make_release(dir / "bundles/r", R"([[rule]]
kind = "filter"
attribute = "colour"
text = "red"
)");
  start({id});
  settle();

  CHECK(loaded()[id].find("'colour'") != std::string::npos);
  CHECK(loaded()[id].find("genres") != std::string::npos);
}

TEST_CASE_FIXTURE(
    release_manager_fixture,
    "features of users that the feature store does not have are no release; one that is away is no reason") {
  auto id = make_dcn_release(dir / "bundles/r");
  items->set(std::make_shared<const item_snapshot>(clicked_items()));
  start({id});
  settle();
  auto question = features.next();
  CHECK(question.features() == std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  question.fail(ec::not_found, "there is no user_ratings");
  settle();
  CHECK(loaded()[id].find("there is no user_ratings") != std::string::npos);

  prepare({id});
  settle();
  features.next().fail(ec::unavailable, "nobody is there");
  settle();
  CHECK(loaded()[id] == "ready");
}

TEST_CASE_FIXTURE(release_manager_fixture,
                  "features of items are read before the release is ready, or it says why it is not") {
  auto id = make_dcn_release(dir / "bundles/r");
  start({id});
  settle();
  auto of_user = features.next();
  of_user.answer(user_answer(of_user.features(), {}));
  settle();

  CHECK(loaded()[id] == "warming");
  REQUIRE(!features.asked.empty());
  CHECK(features.asked.front().kind == wire::Kind::feature_changes); // Where a scan begins.
  CHECK(features.asked.front().features().back() == "item_activity.clicks");
  features.next().fail(ec::not_found, "there is no item_activity");
  settle();
  features.next().fail(ec::not_found, "nor anything else");
  settle();

  CHECK(loaded()[id].find("there is no item_activity") != std::string::npos);
}

TEST_CASE_FIXTURE(release_manager_fixture, "a pool that is full fails the load, which is tried again") {
  auto id = make_release(dir / "bundles/r", "");
  pool.full = true;
  start({id});
  settle();
  CHECK(loaded()[id].starts_with("failed"));

  pool.full = false;
  advance(10s);
  settle();

  CHECK(loaded()[id] == "ready");
}

TEST_CASE_FIXTURE(release_manager_fixture, "stopped half-way it answers who waits for the list") {
  auto id = make_release(dir / "bundles/r", "");
  start();
  auto first = prepare({id}), second = prepare({id});

  caf::anon_send_exit(caf::actor_cast<caf::actor>(manager), caf::exit_reason::user_shutdown);
  run();

  CHECK(first.failure().code == ec::stopping);
  CHECK(second.failure().code == ec::stopping);
  settle();
  CHECK(!releases->get()->find(id));
}
