#include "services/gateway/http/routes.hpp"
#include "services/gateway/test_gateway.hpp"

#include "common/actor/actor_fixture.hpp"

#include "schemas/registry_generated.h"

#include <caf/exit_reason.hpp>
#include <caf/send.hpp>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

/// A gateway whose requests stand still until the test moves them.
struct serving : gateway_parts, troupe::testing::actor_fixture {
  serving() {
    open_deps();
    deps->fallback_items = own(spawn_fallback_items(system, deps));
    deps->requests_at_work = spawn_requests(system, 2);
    own(deps->requests_at_work.front());
    run();
  }
  ~serving() {
    while (registry.waiting() > 0) // A request waits as long as what it asked for.
      registry.next().fail(ec::stopping, "the test is over");
    run();
    deps->fallback_items = nullptr;
    deps->requests_at_work.clear();
  }

  using answer = std::shared_ptr<std::optional<http::response>>;
  answer ask(const std::string& method, const std::string& path) {
    auto got = std::make_shared<std::optional<http::response>>();
    serve(deps, request_of(method, path),
          http::responder{[got](http::response given) { got->emplace(std::move(given)); }});
    run();
    return got;
  }
  static chunk no_releases() {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::ReleasePageBuilder{out}.Finish(), "TRPR");
    return bytes_of(out);
  }
};

} // namespace

TEST_CASE("a request is held while it waits and forgotten with its answer, whichever comes first") {
  serving gateway;
  auto at_rest = gateway.deps.use_count();
  std::vector<serving::answer> answers;
  for (int i = 0; i < 4; ++i)
    answers.push_back(gateway.ask("GET", "/v1/releases"));
  CHECK(gateway.deps->in_flight == 4);
  CHECK(gateway.deps.use_count() == at_rest + 4);
  std::vector<decltype(gateway.registry.next())> asked;
  for (int i = 0; i < 4; ++i)
    asked.push_back(gateway.registry.next());

  for (int i = 3; i >= 0; --i) {
    CHECK(!*answers[static_cast<std::size_t>(i)]);
    asked[static_cast<std::size_t>(i)].answer(serving::no_releases());
    gateway.run();
    REQUIRE(*answers[static_cast<std::size_t>(i)]);
    CHECK((*answers[static_cast<std::size_t>(i)])->status == 200);
  }

  CHECK(gateway.deps->in_flight == 0);
  CHECK(gateway.deps.use_count() == at_rest);
}

TEST_CASE(
    "requests that are at work when the first actor ends are answered 503, whichever has them, before the "
    "stop goes on") {
  serving gateway;
  std::vector<serving::answer> answers{gateway.ask("GET", "/v1/releases"),
                                       gateway.ask("GET", "/v1/releases")};
  std::vector<decltype(gateway.registry.next())> asked{gateway.registry.next(), gateway.registry.next()};
  auto& at_work = gateway.deps->requests_at_work;

  caf::anon_send_exit(at_work.front(), caf::exit_reason::user_shutdown);
  gateway.step(); // The first has ended.
  CHECK(!wait_until_ended(gateway.system, at_work, deadline::in(10ms)));
  gateway.run();

  CHECK(wait_until_ended(gateway.system, at_work, deadline::in(10s)));
  for (auto& answer : answers) {
    REQUIRE(*answer);
    CHECK(problem_of(**answer, "stopping") == 503);
  }
  CHECK(gateway.deps->in_flight == 0);
  for (auto& each : asked)
    each.answer(serving::no_releases());
  gateway.run();
}

TEST_CASE("one request more than max_in_flight is answered 503 at once, and health still answers") {
  serving gateway;
  gateway.settings->max_in_flight = 2;
  auto first = gateway.ask("GET", "/v1/releases"), second = gateway.ask("GET", "/v1/releases");

  auto third = gateway.ask("GET", "/v1/releases");

  REQUIRE(*third);
  CHECK(problem_of(**third, "overloaded") == 503);
  CHECK(header_of(**third, "Retry-After") == "1");
  CHECK((*gateway.ask("GET", "/health/live"))->status == 200);
  gateway.registry.next().answer(serving::no_releases());
  gateway.run();
  CHECK((*first)->status == 200);
  CHECK(!*gateway.ask("GET", "/v1/releases")); // Taken in again.
  CHECK(gateway.deps->in_flight == 2);
}

TEST_CASE("a request whose call passes its deadline is answered 504") {
  serving gateway;
  auto answer = gateway.ask("GET", "/v1/releases");
  auto asked = gateway.registry.next();
  CHECK(asked.until.left() <= gateway.settings->read_timeout);

  asked.fail(ec::too_late, "no answer came");
  gateway.run();

  REQUIRE(*answer);
  CHECK(problem_of(**answer, "too_late") == 504);
}

TEST_CASE("a request that is stopped half-way is answered 503, and its reply finds nobody") {
  serving gateway;
  auto answer = gateway.ask("GET", "/v1/releases");
  auto asked = gateway.registry.next();

  asked.fail(ec::stopping, "the gateway stops");
  gateway.run();

  REQUIRE(*answer);
  CHECK(problem_of(**answer, "stopping") == 503);
  CHECK(gateway.deps->in_flight == 0);
}

TEST_CASE("a request whose actor is gone before it could answer is answered 503") {
  serving gateway;
  auto got = std::make_shared<std::optional<http::response>>();
  gateway.deps->in_flight = 1;

  {
    exchange one{gateway.deps, request_of("GET", "/v1/releases"),
                 http::responder{[got](http::response given) { got->emplace(std::move(given)); }}};
    one.counted = true;
  }

  REQUIRE(*got);
  CHECK(problem_of(**got, "stopping") == 503);
  CHECK(gateway.deps->in_flight == 0);
}
