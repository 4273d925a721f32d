#include "services/gateway/test_gateway.hpp"

#include "common/actor/actor_fixture.hpp"

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

struct routed : gateway_parts, troupe::testing::actor_fixture {
  std::shared_ptr<troupe::health> state = troupe::health::make("gateway", 0);
  health::report report = health::add(state, "routing");
  routing_client_actor client;

  routed() {
    open_deps();
    client = own(spawn_routing_client(system, deps, report));
    run();
    advance(0ms);
  }
  std::uint64_t known(const fake_service::question& asked) const {
    return net::read_as<wire::RoutingQuery>(asked.payload, "TRPD", "RoutingQuery").value()->known_version();
  }
};

} // namespace

TEST_CASE("a newer routing table is in force at once, outlives a restart, and the next poll names it") {
  routed gateway;
  auto first = gateway.deployer.next();
  CHECK(gateway.known(first) == 0);

  first.answer(table_bytes(4, {{"production", "r1", 1}}));
  gateway.run();
  gateway.advance(0ms);

  CHECK(gateway.deps->routing.get()->version == 4);
  CHECK(gateway.known(gateway.deployer.next()) == 4);
  caf::anon_send_exit(gateway.client, caf::exit_reason::user_shutdown);
  gateway.run();
  gateway.open_deps();
  CHECK(gateway.deps->routing.get()->arm_of("u")->release == "r1");
}

TEST_CASE("an overloaded deployer is asked again after a pause, the last table goes on") {
  routed gateway;
  gateway.deployer.next().answer(table_bytes(4, {{"production", "r1", 1}}));
  gateway.run();
  gateway.advance(0ms);

  gateway.deployer.next().fail(ec::overloaded, "too many wait");
  gateway.run();
  CHECK(gateway.deployer.waiting() == 0);
  CHECK(gateway.deps->routing.get()->version == 4);
  gateway.state->started(gateway.report);
  CHECK(gateway.state->read().why().find("routing table 4 goes on") != std::string::npos);
  gateway.advance(500ms);

  CHECK(gateway.known(gateway.deployer.next()) == 4);
}

TEST_CASE("a poll that passes its deadline is asked again, and a table of nonsense is not taken") {
  routed gateway;
  gateway.deployer.next().fail(ec::too_late, "no answer came");
  gateway.run();
  gateway.advance(500ms);

  gateway.deployer.next().answer(chunk::own("not a table at all"));
  gateway.run();
  gateway.advance(500ms);

  CHECK(gateway.deps->routing.get()->version == 0);
  CHECK(gateway.deployer.waiting() == 1);
}

TEST_CASE("a routing client that was stopped changes nothing by the answer that comes then") {
  routed gateway;
  auto asked = gateway.deployer.next();
  caf::anon_send_exit(gateway.client, caf::exit_reason::user_shutdown);
  gateway.run();

  asked.answer(table_bytes(4, {{"production", "r1", 1}}));
  gateway.run();
  gateway.advance(10s);

  CHECK(gateway.deps->routing.get()->version == 0);
  CHECK(gateway.deployer.waiting() == 0);
}
