#include "services/ranker/ranking/pipeline.hpp"
#include "services/ranker/test_actors.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/core/hash.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
using namespace std::chrono_literals;

namespace {

/// The actors of a ranker as they run: on threads, with pools, over a feature store that answers at once.
struct running_ranker {
  troupe::testing::temp_dir dir;
  metrics::registry registry;
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  std::shared_ptr<const ranker::config> settings = std::make_shared<const ranker::config>();
  std::shared_ptr<published<item_snapshot>> items =
      std::make_shared<published<item_snapshot>>(std::make_shared<const item_snapshot>(test_space()));
  std::shared_ptr<published<release_table>> releases =
      std::make_shared<published<release_table>>(std::make_shared<const release_table>());
  blocking_pool pool{{"test", 2, 1024}, registry};
  std::shared_ptr<scoring_pool> scoring = std::make_shared<scoring_pool>(2, 1024, most_together, registry);
  caf::actor_system_config setup;
  caf::actor_system system{setup};
  std::vector<dispatcher_actor> dispatchers;
  release_manager_actor manager;

  running_ranker() {
    net::ask_function ask = [](std::uint32_t, wire::Kind kind, chunk payload, deadline,
                               net::client::done then) {
      if (kind != wire::Kind::read_features)
        return then(fail(ec::unavailable, "no scans here"));
      feature_store_stub::question asked{0, kind, std::move(payload), {}};
      net::reply made;
      made.payload = user_answer(asked.features(), {"c"});
      then(std::move(made));
    };
    dispatcher_deps of_requests;
    of_requests.settings = settings;
    of_requests.releases = releases;
    of_requests.items = items;
    of_requests.scoring = scoring;
    of_requests.metrics = counts;
    of_requests.features = ask;
    dispatchers = spawn_dispatchers(system, of_requests, 2);
    release_manager_deps of_releases;
    of_releases.settings = settings;
    of_releases.releases = releases;
    of_releases.metrics = counts;
    of_releases.bundles = std::make_shared<bundle_fetcher>(dir / "data", dir / "bundles", nullptr, 1s);
    of_releases.snapshot = items;
    of_releases.features = ask;
    of_releases.post = [this](std::function<void()> work) { return pool.post(std::move(work)); };
    of_releases.wanted_file = dir / "data/wanted";
    of_releases.readable = readable_attributes({});
    std::filesystem::create_directories(dir / "data");
    manager = spawn_release_manager(system, std::move(of_releases));
  }

  ~running_ranker() {
    for (auto& each : dispatchers)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(each), caf::exit_reason::user_shutdown);
    caf::anon_send_exit(caf::actor_cast<caf::actor>(manager), caf::exit_reason::user_shutdown);
    system.await_all_actors_done();
  }

  template <class Handle>
  expected<chunk> ask(const Handle& to, wire::Kind kind, const flatbuffers::FlatBufferBuilder& out) {
    asked_request asked{kind, out};
    caf::anon_send(to, net::request_atom::value, asked.request());
    return asked.wait();
  }

  expected<chunk> recommend(const std::string& release, const std::string& user) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", user.c_str(), nullptr, nullptr, nullptr,
                                      nullptr, nullptr, 3),
               "TRPK");
    return ask(dispatchers[hash64(user) % dispatchers.size()], wire::Kind::rank, out);
  }

  /// Prepares `id` and asks until it is all that is held.
  void swap_to(const std::string& id) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreatePrepare(out, out.CreateVectorOfStrings(std::vector{id})), "TRPK");
    REQUIRE(ask(manager, wire::Kind::prepare, out));
    flatbuffers::FlatBufferBuilder query;
    query.Finish(wire::CreateLoadedQuery(query), "TRPK");
    while (true) {
      auto got = ask(manager, wire::Kind::loaded, query);
      REQUIRE(got);
      auto* all = flatbuffers::GetRoot<wire::LoadedReleases>(got->data())->releases();
      if (all->size() == 1 && all->Get(0)->id()->str() == id && all->Get(0)->state()->str() == "ready")
        return;
      std::this_thread::yield();
    }
  }
};

} // namespace

TEST_CASE(
    "a hundred swaps of releases under concurrent requests lose no answer, and old releases are freed") {
  running_ranker f;
  auto one = make_release(f.dir / "bundles/one", "", "one"),
       two = make_release(f.dir / "bundles/two", "", "two");
  f.swap_to(one);
  std::weak_ptr<const loaded_release> first = f.releases->get()->find(one);
  std::atomic<bool> over{false};
  std::atomic<int> answered{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 2; ++c)
    clients.emplace_back([&] {
      for (int i = 0; !over; ++i) {
        auto got = f.recommend(i % 2 == 0 ? one : two, "u" + std::to_string(i % 7));
        ++(got ? answered : failed);
      }
    });

  for (int i = 1; i <= 100; ++i)
    f.swap_to(i % 2 == 1 ? two : one);
  over = true;
  for (auto& each : clients)
    each.join();

  CHECK(failed == 0);
  CHECK(answered > 0);
  CHECK(first.expired());
  CHECK(f.releases->get()->newest->manifest.id == one);
}
