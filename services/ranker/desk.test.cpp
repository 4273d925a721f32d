#include "services/ranker/desk.hpp"

#include "services/ranker/bundle_store.hpp"
#include "services/ranker/release_shelf.hpp"
#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include "schemas/ranker_generated.h"

#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

net::request rank_request(const std::string& release, const std::string& user,
                          std::function<void(expected<chunk>)> then) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", user.c_str(), nullptr, nullptr, nullptr,
                                    nullptr, nullptr, 3, true),
             "TRPK");
  net::request asked;
  asked.info.kind = wire::Kind::rank;
  asked.payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  asked.respond = net::responder::to(std::move(then));
  return asked;
}

const wire::RankReply* reply_of(const expected<chunk>& got) {
  REQUIRE_MESSAGE(got, (got ? std::string{} : render(got.error())));
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(got->data()), got->size()};
  REQUIRE(verifier.VerifyBuffer<wire::RankReply>("TRPK"));
  return flatbuffers::GetRoot<wire::RankReply>(got->data());
}

/// A desk over a shelf of local bundles, with a feature store that is a function.
struct desk_fixture {
  troupe::testing::temp_dir dir;
  metrics::registry registry;
  std::shared_ptr<config> settings = std::make_shared<config>();
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  bundle_store store{dir / "data", dir / "bundles", nullptr, std::chrono::seconds{1}};
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t settled = 0;
  std::shared_ptr<release_shelf> shelf = std::make_shared<release_shelf>(
      [this](const std::string& id) { return store.fetch(id); }, load_options{}, std::chrono::hours{1},
      [this](const std::string&, const error*) {
        std::lock_guard lock{mutex};
        ++settled;
        changed.notify_all();
      });
  std::atomic<bool> features_up{true}, user_deleted{false};
  std::atomic<int> reads{0};
  std::vector<std::string> asked_features;
  catalogue_ptr items = std::make_shared<const item_catalogue>(catalogue_of({card("a"), card("d")}));
  std::shared_ptr<desk> front = std::make_shared<desk>(
      settings, shelf, [this] { return items; },
      [this](desk::feature_read asked, std::function<void(expected<user_state>)> then) {
        ++reads;
        {
          std::lock_guard lock{mutex};
          asked_features = asked.features;
        }
        if (!features_up)
          return then(fail(ec::unavailable, "no feature store"));
        user_state out;
        out.deleted = user_deleted;
        if (!out.deleted)
          out.history = {"c"};
        out.features.push_back({asked.features.at(0), 1, 50, "c"});
        if (asked.features.size() > 1)
          out.values = {{"user_ratings.mean_rating", 5.0}};
        then(std::move(out));
      },
      counts);

  ~desk_fixture() {
    front->stop();
    shelf->stop();
  }
  void wait_settled(std::uint64_t count) {
    std::unique_lock lock{mutex};
    REQUIRE(changed.wait_for(lock, std::chrono::seconds{60}, [&] { return settled >= count; }));
  }
  expected<chunk> ask(const std::string& release, const std::string& user) {
    std::promise<expected<chunk>> got;
    front->take(
        rank_request(release, user, [&](expected<chunk> answer) { got.set_value(std::move(answer)); }));
    return got.get_future().get();
  }
};

} // namespace

TEST_CASE("a request reads the features of its user once in a while and explains them") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::hours{1};
  auto id = make_release(f.dir / "bundles/r", "");
  f.shelf->prepare({id});
  f.wait_settled(1);
  f.front->start();

  auto got = f.ask(id, "u");
  auto* reply = reply_of(got);
  CHECK(reply->release()->str() == id);
  CHECK(reply->items()->Get(0)->item()->str() == "d");
  CHECK(reply->degraded()->size() == 0);
  CHECK(reply->features()->Get(0)->age_us() >= 50);
  CHECK(reply->stages()->Get(0)->name()->str() == "features");
  f.ask(id, "u");
  CHECK(f.reads == 1);
}

TEST_CASE(
    "one read brings exactly what the release needs of a user, and is kept apart from those of others") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::hours{1};
  f.items = std::make_shared<const item_catalogue>(clicked_items());
  auto plain = make_release(f.dir / "bundles/plain", ""), dcn = make_dcn_release(f.dir / "bundles/dcn");
  f.shelf->prepare({plain, dcn});
  f.wait_settled(2);
  f.front->start();

  f.ask(plain, "u");
  CHECK(f.reads == 1);
  CHECK(f.asked_features == std::vector<std::string>{"user_history.items"});
  auto got = f.ask(dcn, "u");
  CHECK(f.reads == 2);
  CHECK(f.asked_features == std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  CHECK(reply_of(got)->items()->Get(0)->item()->str() == "b");
  CHECK(reply_of(got)->items()->Get(0)->models()->Get(0)->score() == 8);
  f.ask(dcn, "u");
  CHECK(f.reads == 2);
  auto wanted = f.shelf->item_features();
  CHECK(wanted == std::vector<std::string>{"item_activity.clicks"});
}

TEST_CASE(
    "a user that was deleted is a stranger to models that know the id, a deleted item has no similar ones") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::milliseconds{0};
  auto gone = card("a");
  gone.deleted = true;
  f.items = std::make_shared<const item_catalogue>(catalogue_of({gone}));
  bundle out{f.dir / "bundles/r"};
  out.model("popularity", "a\nb\nc\nd\n", weights{}.add<float>("item_score", "[4]", {4, 3, 2, 1}), 0.1);
  out.model("bpr", "a\nb\nc\nd\n",
            weights{}
                .add<float>("item_factors", "[4,2]", {-2, 0, -1, 0, 0, 0, 9, 0})
                .add<float>("item_bias", "[4]", {0, 0, 0, 0})
                .add<float>("user_factors", "[1,2]", {1, 0}));
  out.put("models/bpr/users.txt", "u\n");
  auto id = out.done();
  f.shelf->prepare({id});
  f.wait_settled(1);
  f.front->start();

  auto first = [&](const std::string& user) {
    auto got = f.ask(id, user);
    return reply_of(got)->items()->Get(0)->item()->str();
  };
  CHECK(first("u") == "d");
  f.user_deleted = true;
  CHECK(first("u") == first("nobody"));
  CHECK(first("u") == "b");

  flatbuffers::FlatBufferBuilder query;
  query.Finish(wire::CreateSimilarDirect(query, id.c_str(), "a", 3), "TRPK");
  net::request asked;
  asked.info.kind = wire::Kind::similar;
  asked.payload =
      chunk::copy({reinterpret_cast<const std::byte*>(query.GetBufferPointer()), query.GetSize()});
  std::promise<expected<chunk>> got;
  asked.respond = net::responder::to([&](expected<chunk> answer) { got.set_value(std::move(answer)); });
  f.front->take(std::move(asked));
  auto refused = got.get_future().get();
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::not_found);
}

TEST_CASE("without the feature store, the catalogue or its release an answer comes and says what it lacks") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::milliseconds{0};
  auto id = make_release(f.dir / "bundles/r", "");
  f.front->start();
  auto nothing = f.ask(id, "u");
  REQUIRE(!nothing);
  CHECK(nothing.error().code == ec::unavailable);
  f.shelf->prepare({id});
  f.wait_settled(1);

  f.ask(id, "known");
  f.features_up = false;
  auto got = f.ask(id, "u");
  auto* lacking = reply_of(got);
  CHECK(lacking->items()->size() == 3);
  CHECK(lacking->degraded()->Get(0)->str() == "features: no feature store");
  auto old = f.ask(id, "known");
  CHECK(reply_of(old)->items()->Get(0)->item()->str() == "d");
  CHECK(reply_of(old)->degraded()->Get(0)->str().starts_with("features: those of"));

  f.features_up = true;
  f.items = std::make_shared<const item_catalogue>();
  auto other = f.ask("another", "u");
  CHECK(reply_of(other)->degraded()->size() == 2);
  CHECK(reply_of(other)->release()->str() == id);
}

TEST_CASE("a request that is none, asks too much, comes too late or meets a stop is answered so") {
  desk_fixture f;
  auto id = make_release(f.dir / "bundles/r", "");
  f.shelf->prepare({id});
  f.wait_settled(1);
  auto code = [&](net::request asked) {
    std::promise<expected<chunk>> got;
    asked.respond = net::responder::to([&](expected<chunk> answer) { got.set_value(std::move(answer)); });
    f.front->take(std::move(asked));
    auto answer = got.get_future().get();
    REQUIRE(!answer);
    return answer.error().code;
  };
  f.front->start();
  net::request garbage;
  garbage.info.kind = wire::Kind::rank;
  garbage.payload = chunk::own(std::string(64, 'x'));
  CHECK(code(std::move(garbage)) == ec::corrupt);
  auto late = rank_request(id, "u", [](expected<chunk>) {});
  late.until = deadline{deadline::clock::time_point{}};
  CHECK(code(std::move(late)) == ec::too_late);
  net::request greedy;
  greedy.info.kind = wire::Kind::similar;
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateSimilarDirect(out, id.c_str(), "a", 1001), "TRPK");
  greedy.payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  CHECK(code(std::move(greedy)) == ec::invalid_argument);
  f.front->stop();
  CHECK(code(rank_request(id, "u", [](expected<chunk>) {})) == ec::stopping);
  // Refusals are counted and timed too.
  auto text = f.registry.text();
  CHECK(text.find("troupe_ranker_refused_total 4") != std::string::npos);
  CHECK(text.find("troupe_ranker_answer_seconds_count 4") != std::string::npos);
}

TEST_CASE("a broken release is reported as failed and the one that serves stays") {
  desk_fixture f;
  auto good = make_release(f.dir / "bundles/good", "");
  auto bad = make_release(f.dir / "bundles/bad", "[seen]\nfilter = 'x'");
  f.shelf->prepare({good});
  f.wait_settled(1);
  f.shelf->prepare({bad});
  f.wait_settled(2);

  CHECK(f.shelf->find(good));
  CHECK(!f.shelf->find(bad));
  CHECK(f.shelf->newest()->manifest.id == good);
  for (auto& each : f.shelf->entries()) {
    CHECK(each.state == (each.id == good ? "ready" : "failed"));
    CHECK((each.error.find("seen.filter") != std::string::npos) == (each.id == bad));
  }
}

TEST_CASE(
    "a hundred swaps of releases under concurrent requests lose no answer, and old releases are freed") {
  desk_fixture f;
  auto one = make_release(f.dir / "bundles/one", "", "one"),
       two = make_release(f.dir / "bundles/two", "", "two");
  f.shelf->prepare({one});
  f.wait_settled(1);
  std::weak_ptr<const release> first = f.shelf->find(one);
  f.front->start();
  std::atomic<bool> over{false};
  std::atomic<int> answered{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 2; ++c)
    clients.emplace_back([&] {
      for (int i = 0; !over; ++i) {
        auto got = f.ask(i % 2 == 0 ? one : two, "u" + std::to_string(i % 7));
        ++(got ? answered : failed);
      }
    });

  for (std::uint64_t i = 1; i <= 100; ++i) {
    f.shelf->prepare({i % 2 == 1 ? two : one});
    f.wait_settled(i + 1);
    // Wait until the other has gone, so that each turn loads afresh.
    while (f.shelf->entries().size() > 1)
      std::this_thread::yield();
  }
  over = true;
  for (auto& each : clients)
    each.join();

  CHECK(failed == 0);
  CHECK(answered > 0);
  CHECK(first.expired());
  CHECK(f.shelf->newest()->manifest.id == one);
}

TEST_CASE("the near cache keeps the users used last") {
  near_cache cache{2};
  auto state = std::make_shared<const user_state>();
  cache.put("a", state);
  cache.put("b", state);
  CHECK(cache.find("a"));
  cache.put("c", state);
  CHECK(cache.find("a"));
  CHECK(!cache.find("b"));
}
