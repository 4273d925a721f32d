#include "services/gateway/test_gateway.hpp"

#include "common/actor/actor_fixture.hpp"

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

struct reporting : gateway_parts, troupe::testing::actor_fixture {
  arm_reporter_actor reporter;

  reporting() { start(); }
  void start() {
    open_deps();
    reporter = own(spawn_arm_reporter(system, deps));
    run();
  }
  void answered(int times) {
    for (int i = 0; i < times; ++i)
      deps->arms.answered("canary", "r2", 1'000, false, false);
  }
  /// The next report, by its number and what it counts.
  std::pair<std::uint64_t, std::uint64_t> report_in(const fake_service::question& asked) const {
    const auto* read = net::read_as<wire::ArmReport>(asked.payload, "TRPD", "ArmReport").value();
    REQUIRE(read->arms()->size() == 1);
    return {read->number(), read->arms()->Get(0)->answers()};
  }
  void acknowledge(const fake_service::question& asked, std::uint64_t next) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateArmReportReply(out, next), "TRPD");
    asked.answer(bytes_of(out));
    run();
  }
};

using report = std::pair<std::uint64_t, std::uint64_t>;

} // namespace

TEST_CASE("what was seen of the arms is reported each second, counted on from the number that is answered") {
  reporting gateway;
  gateway.advance(1s);
  CHECK(gateway.deployer.waiting() == 0); // Nothing to say.
  gateway.answered(3);
  gateway.advance(1s);

  auto first = gateway.deployer.next();
  CHECK(gateway.report_in(first) == report{1, 3});
  gateway.answered(2);
  gateway.advance(5s);
  CHECK(gateway.deployer.waiting() == 0); // One at a time.
  gateway.acknowledge(first, 7);
  gateway.advance(1s);

  CHECK(gateway.report_in(gateway.deployer.next()) == report{7, 2});
}

TEST_CASE("a report whose answer is lost is sent again as it was, and what came since waits for the next") {
  reporting gateway;
  gateway.answered(3);
  gateway.advance(1s);
  auto first = gateway.deployer.next();
  gateway.answered(2);

  first.fail(ec::too_late, "the answer is lost");
  gateway.run();
  gateway.advance(1s);

  auto again = gateway.deployer.next();
  CHECK(gateway.report_in(again) == report{1, 3});
  CHECK(again.payload.text() == first.payload.text());
  gateway.acknowledge(again, 2);
  gateway.advance(1s);
  CHECK(gateway.report_in(gateway.deployer.next()) == report{2, 2});
}

TEST_CASE("an overloaded deployer gets the same report again") {
  reporting gateway;
  gateway.answered(1);
  gateway.advance(1s);
  auto first = gateway.deployer.next();

  first.fail(ec::overloaded, "later");
  gateway.run();
  gateway.advance(1s);

  CHECK(gateway.deployer.next().payload.text() == first.payload.text());
}

TEST_CASE("a report that was not acknowledged before the gateway stopped is sent by the next, once counted") {
  reporting gateway;
  gateway.answered(3);
  gateway.advance(1s);
  auto first = gateway.deployer.next();
  caf::anon_send_exit(gateway.reporter, caf::exit_reason::user_shutdown);
  gateway.run();
  gateway.acknowledge(first, 2); // Nobody is there to hear it.
  gateway.start();
  gateway.answered(4);

  gateway.advance(1s);

  auto again = gateway.deployer.next();
  CHECK(again.payload.text() == first.payload.text());
  gateway.acknowledge(again, 2);
  gateway.advance(1s);
  CHECK(gateway.report_in(gateway.deployer.next()) == report{2, 4});
}
