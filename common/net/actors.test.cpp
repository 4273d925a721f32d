#include "common/net/actors.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include <caf/event_based_actor.hpp>
#include <doctest/doctest.h>

#include <future>

using namespace troupe;
using namespace troupe::net;
using namespace std::chrono_literals;
using wire::Kind;

namespace {

struct result_box {
  std::vector<expected<chunk>> answers;

  request ask(std::string_view payload) {
    request made;
    made.info.kind = Kind::validate;
    made.payload = chunk::copy(as_bytes(payload));
    made.respond = responder::to([this](expected<chunk> answer) { answers.push_back(std::move(answer)); });
    return made;
  }
};

caf::behavior echoing(caf::event_based_actor*) {
  return {[](request_atom, request_ptr req) { req->respond.reply(std::move(req->payload)); }};
}

} // namespace

TEST_CASE_FIXTURE(testing::actor_fixture, "a request that is forwarded to an actor is answered by it") {
  auto actor = own(system.spawn(echoing));
  result_box box;
  auto forward = forward_to(actor);

  forward(box.ask("hello"));
  CHECK(box.answers.empty());
  run();

  REQUIRE(box.answers.size() == 1);
  CHECK(box.answers[0]->text() == "hello");
}

TEST_CASE_FIXTURE(testing::actor_fixture, "a request to an actor that has ended is answered, not lost") {
  auto actor = system.spawn(echoing);
  result_box box;
  auto forward = forward_to(actor);

  forward(box.ask("in the mailbox"));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
  run();
  forward(box.ask("after the end"));
  actor = nullptr;
  forward(box.ask("after it is gone"));
  run();

  REQUIRE(box.answers.size() == 3);
  CHECK(box.answers[0]->text() == "in the mailbox");
  CHECK(box.answers[1].error().code == ec::internal);
  CHECK(box.answers[2].error().code == ec::stopping);
}

TEST_CASE("a call made for an actor comes back as its message, by the deadline at the latest") {
  testing::temp_dir dir;
  endpoint_options serving;
  serving.address = "ipc://" + (dir / "s").string();
  serving.identity = "echo/0";
  std::vector<request> parked;
  auto server = *endpoint::open(
      serving, {{Kind::validate, [](request req) { req.respond.reply(std::move(req.payload)); }},
                {Kind::fetch, [&](request req) { parked.push_back(std::move(req)); }}});
  client_options asking;
  asking.service = "echo";
  asking.addresses = {serving.address};
  auto asker = *client::open(asking);
  using told = std::pair<std::uint64_t, result_ptr>;
  std::promise<told> one, two;
  {
    caf::actor_system_config config;
    caf::actor_system system{config};
    auto actor = system.spawn([&](caf::event_based_actor*) -> caf::behavior {
      return {[&](reply_atom, std::uint64_t tag, const result_ptr& result) {
        (tag == 7 ? one : two).set_value({tag, result});
      }};
    });

    call_for(*asker, actor, 7, Kind::validate, chunk::copy(as_bytes("x")), deadline::in(20s));
    call_for(*asker, 0, actor, 8, Kind::fetch, chunk{}, deadline::in(50ms));

    auto first = one.get_future().get();
    CHECK((*first.second)->payload.text() == "x");
    auto second = two.get_future().get();
    CHECK(second.second->error().code == ec::too_late);
    caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
  server->stop();
}

TEST_CASE("a responder answers once, gives up as internal and never late") {
  result_box box;
  {
    auto req = box.ask("");
    req.respond.fail({ec::not_found, "x"});
    req.respond.reply({});
    auto dropped = box.ask("");
    dropped.respond = std::move(req.respond);
  }

  REQUIRE(box.answers.size() == 2);
  CHECK(box.answers[0].error().code == ec::not_found);
  CHECK(box.answers[1].error().code == ec::internal);
}
