#include "services/gateway/test_gateway.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/event/slate.hpp"

#include "schemas/ingest_generated.h"

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

struct sending : gateway_parts, troupe::testing::actor_fixture {
  bool full = false; ///< The pool.
  slate_sender_actor sender;

  sending() { start(); }
  ~sending() {
    deps->outbox->stop(); // It wakes the sender from its own thread.
  }
  void start() {
    open_deps();
    sender = own(spawn_slate_sender(system, deps, [this](std::function<void()> task) -> expected<void> {
      if (full)
        return fail(ec::overloaded, "the pool is full");
      task();
      return {};
    }));
    deps->outbox->on_commit([] {}); // The test wakes it: the scheduler stands still.
    run();
  }
  void keep(const std::string& request, std::vector<shown_item> items = {{"i", 1, 1}, {"k", 2, 1}}) {
    slate shown;
    shown.request_id = request;
    shown.user = "u";
    shown.items = std::move(items);
    shown.shown_at = from_micros(1'700'000'000'000'000);
    auto kept_as = std::move(shown).to_record();
    std::promise<bool> kept;
    deps->outbox->append(encode_batch(std::span{&kept_as, 1}), {}, [&](bool safe) { kept.set_value(safe); });
    REQUIRE(kept.get_future().get());
    caf::anon_send(sender, wake_atom::value);
    run();
  }
  /// The sender gathers what comes within a moment.
  void gather() { advance(50ms); }
  static std::vector<std::string> ids_in(const fake_service::question& asked) {
    const auto* append = net::read_as<wire::Append>(asked.payload, "TRPI", "Append").value();
    auto held = batch::open(chunk::copy({reinterpret_cast<const std::byte*>(append->batch()->data()),
                                         append->batch()->size()}))
                    .value();
    std::vector<std::string> out;
    for (std::size_t i = 0; i < held.size(); ++i)
      out.push_back(to_record(held[i]).id);
    return out;
  }
  void acknowledge(const fake_service::question& asked, std::size_t refused = 0) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::RowResult>> rows;
    for (std::size_t i = 0; i < ids_in(asked).size(); ++i)
      rows.push_back(
          wire::CreateRowResult(out, i < refused ? wire::Outcome::quarantined : wire::Outcome::added));
    auto list = out.CreateVector(rows);
    out.Finish(wire::CreateAppendReply(out, list), "TRPI");
    asked.answer(bytes_of(out));
    run();
  }
};

using ids = std::vector<std::string>;

} // namespace

TEST_CASE("slates reach the log in order, many answers at a time, and are removed when acknowledged") {
  sending gateway;
  gateway.keep("r0");
  gateway.keep("r1");
  CHECK(gateway.ingest.waiting() == 0); // What comes within a moment goes together.
  gateway.gather();
  gateway.keep("r2");
  gateway.keep("r3");

  auto first = gateway.ingest.next();
  CHECK(sending::ids_in(first) == ids{"slate:r0", "slate:r1"});
  CHECK(gateway.ingest.waiting() == 0); // One page at a time.
  gateway.acknowledge(first);
  gateway.gather();
  auto second = gateway.ingest.next();
  CHECK(sending::ids_in(second) == ids{"slate:r2", "slate:r3"});
  gateway.acknowledge(second, 1);

  auto seen = gateway.deps->outbox->counters();
  CHECK(seen.waiting == 0);
  CHECK(seen.sent == 3);
  CHECK(seen.refused == 1);
  CHECK(gateway.ingest.waiting() == 0);
}

TEST_CASE("what waits of long slates goes to the log a few MiB at a time, to the last") {
  sending gateway;
  std::vector<shown_item> long_page(1'000, {std::string(500, 'i'), 0, 1}); // Half a MiB.
  for (int i = 0; i < 12; ++i)
    gateway.keep(fmt::format("r{}", i), long_page);
  gateway.gather();

  std::size_t sent = 0, appends = 0;
  while (gateway.ingest.waiting() > 0) {
    auto asked = gateway.ingest.next();
    CHECK(asked.payload.size() < (std::size_t{5} << 20));
    sent += sending::ids_in(asked).size();
    ++appends;
    gateway.acknowledge(asked);
  }

  CHECK(sent == 12);
  CHECK(appends > 1);
  CHECK(gateway.deps->outbox->counters().waiting == 0);
}

TEST_CASE("while the log is away or overloaded slates wait, and are sent again after a growing pause") {
  sending gateway;
  gateway.keep("r1");
  gateway.gather();
  gateway.ingest.next().fail(ec::unavailable, "the log is away");
  gateway.run();
  CHECK(gateway.ingest.waiting() == 0);
  gateway.advance(50ms);
  gateway.ingest.next().fail(ec::overloaded, "later");
  gateway.run();
  gateway.advance(50ms);
  CHECK(gateway.ingest.waiting() == 0);
  gateway.advance(50ms);

  auto third = gateway.ingest.next();
  CHECK(sending::ids_in(third) == ids{"slate:r1"});
  CHECK(gateway.deps->outbox->counters().waiting == 1);
  gateway.acknowledge(third);
  CHECK(gateway.deps->outbox->counters().waiting == 0);
}

TEST_CASE("slates that the log does not answer in time are sent again; those it can never take are given "
          "up and counted") {
  sending gateway;
  gateway.keep("r1");
  gateway.gather();
  gateway.ingest.next().fail(ec::too_late, "no answer came");
  gateway.run();
  gateway.advance(50ms);

  gateway.ingest.next().fail(ec::invalid_argument, "these are no records");
  gateway.run();

  CHECK(gateway.deps->outbox->counters().waiting == 0);
  CHECK(gateway.deps->outbox->counters().refused == 1);
}

TEST_CASE("a full pool makes the sender wait, not forget") {
  sending gateway;
  gateway.full = true;
  gateway.keep("r1");
  gateway.gather();
  gateway.full = false;
  CHECK(gateway.ingest.waiting() == 0);

  gateway.advance(50ms);

  CHECK(sending::ids_in(gateway.ingest.next()) == ids{"slate:r1"});
}

TEST_CASE(
    "what was sent and not acknowledged before the stop is sent by the next sender, under the same ids") {
  sending gateway;
  gateway.keep("r1");
  gateway.gather();
  auto asked = gateway.ingest.next();
  caf::anon_send_exit(gateway.sender, caf::exit_reason::user_shutdown);
  gateway.run();
  gateway.acknowledge(asked); // Nobody is there to hear it.

  gateway.start();

  CHECK(sending::ids_in(gateway.ingest.next()) == ids{"slate:r1"});
}
