#include "services/validator/actors.hpp"
#include "services/validator/test_records.hpp"

#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/validator_generated.h"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/atom.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>

using namespace troupe;
using namespace troupe::validator;
using validator::testing::rating;

namespace {

struct deterministic_config : caf::actor_system_config {
  deterministic_config() { set("scheduler.policy", caf::atom("testing")); }
};

/// The actor on CAF's test scheduler: nothing runs before `run`.
struct fixture {
  fixture() : system{config_} {
    auto made = engine::open({}, dir / "schemas", dir / "state", counts);
    REQUIRE(made.has_value());
    validator = spawn_validator(system, std::move(*made));
  }
  ~fixture() {
    caf::anon_send_exit(validator, caf::exit_reason::user_shutdown);
    run();
    validator = nullptr;
  }

  void run() { dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler()).run(); }

  void ask(wire::Kind kind, chunk payload, deadline until = deadline::in(std::chrono::hours{1})) {
    net::request req;
    req.info.kind = kind;
    req.payload = std::move(payload);
    req.until = until;
    req.respond =
        net::responder::to([this](expected<chunk> answer) { answers.push_back(std::move(answer)); });
    caf::anon_send(validator, net::request_atom::value, std::make_shared<net::request>(std::move(req)));
  }

  void ask_to_judge(double value, deadline until = deadline::in(std::chrono::hours{1})) {
    ask(wire::Kind::validate,
        encode_validate("s", row++, encode_batch(std::vector{rating(row, value)}).view()), until);
  }

  troupe::testing::temp_dir dir;
  metrics::registry counts;
  deterministic_config config_;
  caf::actor_system system;
  validator_actor validator;
  std::vector<expected<chunk>> answers;
  std::uint64_t row = 0;
};

} // namespace

TEST_CASE("the validator answers a batch with its violations") {
  fixture f;

  f.ask_to_judge(3);
  f.run();

  REQUIRE(f.answers.size() == 1);
  REQUIRE(f.answers[0].has_value());
  CHECK(flatbuffers::GetRoot<wire::RowViolations>(f.answers[0]->data())->refused()->size() == 0);
}

TEST_CASE("the validator answers a malformed request with an error and goes on") {
  fixture f;

  f.ask(wire::Kind::validate, chunk::own(std::string(100, 'x')));
  f.ask_to_judge(3);
  f.run();

  REQUIRE(f.answers.size() == 2);
  CHECK(f.answers[0].error().code == ec::corrupt);
  CHECK(f.answers[1].has_value());
}

TEST_CASE("the validator refuses a batch whose deadline has passed and does not count it") {
  fixture f;

  f.ask_to_judge(3, deadline::in(std::chrono::seconds{0}));
  f.run();

  REQUIRE(f.answers.size() == 1);
  CHECK(f.answers[0].error().code == ec::too_late);
  CHECK(f.counts.text().find("troupe_validator_rows_total 0") != std::string::npos);
}

TEST_CASE("a validator stopped half-way answers everything that waits") {
  fixture f;
  for (int i = 0; i < 5; ++i)
    f.ask_to_judge(3);

  caf::anon_send_exit(f.validator, caf::exit_reason::user_shutdown);
  for (int i = 0; i < 3; ++i)
    f.ask_to_judge(3);
  f.run();

  REQUIRE(f.answers.size() == 8);
  for (std::size_t i = 0; i < 5; ++i)
    CHECK(f.answers[i].has_value());
  for (std::size_t i = 5; i < 8; ++i)
    CHECK(f.answers[i].error().code == ec::stopping);
}

TEST_CASE(
    "requests beyond what the endpoint admits are refused as overloaded and never reach the validator") {
  fixture f;
  auto to = net::forward_to(f.validator);
  net::endpoint_options options;
  options.address = "ipc://" + (f.dir / "e.sock").string();
  options.identity = "validator/0";
  options.max_in_flight = 2;
  auto served = net::endpoint::open(std::move(options), {{wire::Kind::validate, to}});
  REQUIRE(served.has_value());
  net::client_options from;
  from.service = "validator";
  from.addresses = {(*served)->address()};
  from.caller = "test";
  from.max_attempts = 1;
  auto client = net::client::open(std::move(from));
  REQUIRE(client.has_value());
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<expected<net::reply>> replies;
  auto until = deadline::in(std::chrono::seconds{20});
  auto wait_for = [&](auto&& reached) {
    std::unique_lock lock{mutex};
    return changed.wait_until(lock, until.at(), [&] { return reached(); });
  };

  for (int i = 0; i < 5; ++i)
    (*client)->call_async(wire::Kind::validate,
                          encode_validate("s", 0, encode_batch(std::vector{rating(0, 3)}).view()), until,
                          [&](expected<net::reply> reply) {
                            std::lock_guard lock{mutex};
                            replies.push_back(std::move(reply));
                            changed.notify_all();
                          });
  REQUIRE(wait_for(
      [&] { return replies.size() == 3; })); // The validator has not run: two are admitted, three refused.
  f.run();
  REQUIRE(wait_for([&] { return replies.size() == 5; }));

  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(replies[i].has_value() == (i >= 3));
    if (!replies[i])
      CHECK(replies[i].error().code == ec::overloaded);
  }
  CHECK((*served)->counters().refused_overloaded == 3);
  client->reset();
  (*served)->stop();
}
