#include "services/registry/actors.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/net/payload.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::registry;
using namespace std::chrono_literals;

namespace {

/// The actor without its endpoint, whose `max_in_flight` bounds how many requests wait before it.
struct registry_fixture : troupe::testing::actor_fixture {
  using answer_box = std::shared_ptr<std::optional<expected<chunk>>>;

  troupe::testing::temp_dir dir;
  registry_actor registry =
      own(spawn_registry(system, service::open(dir.path(), dir / "gate.toml", 1 << 20).value(), false));

  answer_box send_later(std::string run, deadline::clock::duration left = 60s) {
    wire::RunCreateT ask;
    ask.run_id = std::move(run);
    ask.experiment = "e";
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::RunCreate::Pack(out, &ask), "TRPR");
    auto got = std::make_shared<std::optional<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = wire::Kind::run_create;
    asked->payload = net::bytes_of(out);
    asked->until = deadline::in(left);
    asked->respond = net::responder::to([got](expected<chunk> result) { got->emplace(std::move(result)); });
    caf::anon_send(registry, net::request_atom::value, std::move(asked));
    return got;
  }

  std::size_t runs() {
    auto again = service::open(dir.path(), dir / "gate.toml", 1 << 20).value();
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::RunList::Pack(out, std::make_unique<wire::RunListT>().get()), "TRPR");
    auto page = again->answer(wire::Kind::run_list, net::bytes_of(out)).value();
    auto* list = flatbuffers::GetRoot<wire::RunPage>(page.data())->runs();
    return list != nullptr ? list->size() : 0;
  }

  /// Ends the actor, so that its store is closed.
  void stop() {
    caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
    run();
  }
};

ec code_of(const registry_fixture::answer_box& from) {
  REQUIRE(*from);
  REQUIRE(!(*from)->has_value());
  return (*from)->error().code;
}

} // namespace

TEST_CASE_FIXTURE(registry_fixture, "the registry answers requests in the order they came") {
  auto first = send_later("a"), second = send_later("b");
  run();

  for (auto& each : {first, second}) {
    REQUIRE(*each);
    REQUIRE((*each)->has_value());
  }
  auto* made = flatbuffers::GetRoot<wire::RunReply>((*first)->value().data());
  CHECK(made->run()->run_id()->string_view() == "a");
  stop();
  CHECK(runs() == 2);
}

TEST_CASE_FIXTURE(registry_fixture, "the registry does not do what nobody waits for any more") {
  auto late = send_later("late", -1s);
  run();

  CHECK(code_of(late) == ec::too_late);
  stop();
  CHECK(runs() == 0);
}

TEST_CASE_FIXTURE(registry_fixture,
                  "a registry that is stopped half-way answers what waited, and what came behind the stop") {
  auto waited = send_later("a");
  caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
  auto behind = send_later("b");
  run();

  REQUIRE(*waited);
  CHECK((*waited)->has_value());
  CHECK(code_of(behind) == ec::stopping);
  CHECK(runs() == 1);
}
