#include "services/ingest/fetch_server.hpp"

#include "services/ingest/testing/requests.hpp"

#include "common/testing/temp_dir.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>

#include <optional>

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

/// The log calls from its own thread, so this is a real actor system.
struct fetching {
  metrics::registry numbers;
  troupe::testing::temp_dir dir;
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {.partitions = 2}).value();
  std::unique_ptr<blocking_pool> servers =
      std::make_unique<blocking_pool>(blocking_pool::options{"server", 1, 1}, numbers);
  std::unique_ptr<blocking_pool> lake_readers =
      std::make_unique<blocking_pool>(blocking_pool::options{"lake", 1, 2}, numbers);
  std::shared_ptr<lake> archive = std::make_shared<lake>(log, dir / "lake", 1000);
  std::optional<fetch_server_actor> server =
      spawn_fetch_server(system, log, archive, *servers, *lake_readers);

  ~fetching() { stop(); }
  void stop() {
    if (server)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(*server), caf::exit_reason::user_shutdown);
    server.reset();
    system.await_all_actors_done();
  }

  pending fetch(std::uint32_t partition, std::uint64_t offset, std::chrono::microseconds wait,
                deadline until = deadline::in(20s), std::uint32_t max_bytes = 1 << 20) {
    pending answer;
    auto payload = build_message([&](auto& out) {
      return wire::CreateFetch(out, partition, offset, max_bytes, static_cast<std::uint64_t>(wait.count()));
    });
    caf::anon_send(*server, net::request_atom::value,
                   std::make_shared<net::request>(answer.request(wire::Kind::fetch, payload, until)));
    return answer;
  }
  /// Events that all go to partition `home`.
  void append(int first, int last) {
    append_request request;
    for (int i = first; i < last; ++i)
      request.records.push_back(event(i));
    REQUIRE(log->append(request).has_value());
  }
  const std::uint32_t home = partition_of("u", 2);
};

std::uint64_t records_in(const message<wire::FetchReply>& reply) {
  std::uint64_t count = 0;
  for (auto* each : *reply->batches())
    count += batch::open(chunk::copy({reinterpret_cast<const std::byte*>(each->batch()->data()),
                                      each->batch()->size()}))
                 ->size();
  return count;
}

} // namespace

TEST_CASE("a fetch waits for a first record of its partition, and not for those of another") {
  fetching w;
  w.append(0, 3);
  auto here = w.fetch(w.home, 3, 20s);
  auto elsewhere = w.fetch(1 - w.home, 0, 20s);

  w.append(3, 5);

  auto reply = here.read<wire::FetchReply>();
  CHECK(reply->next_offset() == 5);
  CHECK(records_in(reply) == 2);
  CHECK_FALSE(elsewhere.answered());
}

TEST_CASE("a fetch gives no more bytes than its credit, but one block at the least") {
  fetching w;
  w.append(0, 10);
  w.append(10, 20);

  auto least = w.fetch(w.home, 0, 0s, deadline::in(20s), 1).read<wire::FetchReply>();
  auto most = w.fetch(w.home, 0, 0s).read<wire::FetchReply>();

  CHECK(least->batches()->size() == 1);
  CHECK(records_in(least) == 10);
  CHECK(least->next_offset() == 20);
  CHECK(records_in(most) == 20);
}

TEST_CASE("a fetch whose wait is over, or whose asker will soon give up, is answered without records") {
  fetching w;

  auto over = w.fetch(w.home, 0, 10ms).read<wire::FetchReply>();
  auto soon = w.fetch(w.home, 0, 20s, deadline::in(300ms));
  auto none = w.fetch(w.home, 0, 0s).read<wire::FetchReply>();

  CHECK(records_in(over) == 0);
  CHECK(records_in(soon.read<wire::FetchReply>()) == 0);
  CHECK(none->next_offset() == 0);
}

TEST_CASE("a drain answers all that are parked, and parks no more") {
  fetching w;
  std::vector<pending> parked;
  parked.push_back(w.fetch(0, 0, 20s));
  caf::anon_send(*w.server, drain_atom::value);

  CHECK(records_in(parked[0].read<wire::FetchReply>()) == 0);
  CHECK(records_in(w.fetch(1, 0, 20s).read<wire::FetchReply>()) == 0);
}

TEST_CASE("a fetch is refused where too many wait to be answered") {
  fetching w;
  std::promise<void> begun, go_on;
  REQUIRE(w.servers
              ->post([&] {
                begun.set_value();
                go_on.get_future().wait();
              })
              .has_value());
  begun.get_future().wait();
  auto queued = w.fetch(0, 0, 0s);
  auto refused = w.fetch(0, 0, 0s);

  CHECK(refused.failure() == ec::overloaded);
  CHECK_FALSE(queued.answered());
  go_on.set_value();
  CHECK(records_in(queued.read<wire::FetchReply>()) == 0);
}

TEST_CASE("a fetch out of a file of the lake keeps none of the log waiting") {
  fetching w;
  w.append(0, 10);
  REQUIRE(w.archive->seal(true).has_value());
  w.append(10, 20);
  REQUIRE(w.archive->trim(wall_now() + std::chrono::hours{1}).value() == 10);
  std::promise<void> go_on;
  REQUIRE(w.lake_readers->post([&] { go_on.get_future().wait(); }).has_value());

  auto old = w.fetch(w.home, 0, 0s);
  CHECK(records_in(w.fetch(w.home, 10, 0s).read<wire::FetchReply>()) == 10);

  CHECK_FALSE(old.answered());
  go_on.set_value();
  CHECK(records_in(old.read<wire::FetchReply>()) == 10);
}

TEST_CASE("fetches of what is not there fail, and a stop leaves none without an answer") {
  fetching w;

  CHECK(w.fetch(2, 0, 0s).failure() == ec::invalid_argument);
  CHECK(w.fetch(w.home, 7, 20s).failure() == ec::conflict);
  auto parked = w.fetch(0, 0, 20s);
  w.stop();

  CHECK(parked.failure() == ec::internal);
}
