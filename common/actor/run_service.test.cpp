#include "common/actor/run_service.hpp"

#include "common/actor/component_runner.hpp"
#include "common/command_line/exit_codes.hpp"
#include "common/http/server.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/status_generated.h"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

struct no_keys {
  std::uint32_t size = 1;
  void bind(config_keys& keys) { keys.add("size", size, "A size.", between(1, 9)); }
};

constexpr std::string_view one_service = "version = 1\n[test]\ncontract = \"TRPX\"\ndrain_timeout = \"2s\"\n";

caf::behavior idle(caf::event_based_actor*) {
  return {[](int) {}};
}

/// A context over a catalog with one service, and the actor system for it.
struct fixture {
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::shared_ptr<troupe::health> health = troupe::health::make("test", 0);
  service_context context = make();
  std::vector<std::string> order;

  service_context make() {
    auto read = catalog::parse(one_service, "c.toml", "/d");
    service_context::parts parts;
    parts.service = "test";
    parts.watch = std::make_shared<catalog_watch>(std::make_shared<const catalog>(std::move(*read)));
    parts.health = health;
    parts.system = &system;
    return {std::move(parts), std::make_shared<const no_keys>()};
  }

  spawn_function spawner(std::string name) {
    return [this, name](service_context& given) -> expected<component> {
      order.push_back("start " + name);
      component part{given.system().spawn(idle)};
      part.stop = [this, name](deadline) { order.push_back("stop " + name); };
      return part;
    };
  }
};

const wire::StatusReply* status_of(const chunk& bytes) {
  return flatbuffers::GetRoot<wire::StatusReply>(bytes.data());
}

/// Runs `body` in a child process and gives its exit code; `meanwhile` gets its id.
template <class F, class G>
int in_child(F body, G meanwhile) {
  auto child = ::fork();
  if (child == 0)
    ::_exit(body());
  meanwhile(child);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

template <class F>
int in_child(F body) {
  return in_child(body, [](pid_t) {});
}

int serve(const std::filesystem::path& folder, const list_components& list,
          std::vector<std::string> more = {}) {
  std::ofstream{folder / "c.toml"} << one_service;
  std::vector<std::string> args{"test", "--catalog", (folder / "c.toml").string(), "--data",
                                (folder / "data").string()};
  args.insert(args.end(), more.begin(), more.end());
  std::vector<char*> argv;
  for (auto& arg : args)
    argv.push_back(arg.data());
  return run_service<no_keys>("test", static_cast<int>(argv.size()), argv.data(), list);
}

int serve_in(const std::filesystem::path& folder, component_list list, std::vector<std::string> more = {}) {
  return serve(
      folder, [&] { return list; }, std::move(more));
}

} // namespace

TEST_CASE("components start by need and stop in reverse") {
  fixture f;
  component_runner runner{f.context};

  auto started = runner.start(component_list{}
                                  .add("c", f.spawner("c"), needs{"b"})
                                  .add("a", f.spawner("a"))
                                  .add("b", f.spawner("b"), needs{"a"}),
                              [] { return false; });
  CHECK(started);
  CHECK(runner.stop(deadline::in(5s)));

  CHECK(f.order == std::vector<std::string>{"start a", "start b", "start c", "stop c", "stop b", "stop a"});
}

TEST_CASE("a need that nobody meets, a name given twice and a circle are refused") {
  auto spawn = [](service_context&) -> expected<component> { return component{}; };

  CHECK(component_list{}.add("a", spawn, needs{"b"}).in_start_order().error().text.find("a needs b") !=
        std::string::npos);
  CHECK(component_list{}.add("a", spawn).add("a", spawn).in_start_order().error().text.find("twice") !=
        std::string::npos);
  CHECK(component_list{}
            .add("a", spawn, needs{"b"})
            .add("b", spawn, needs{"a"})
            .in_start_order()
            .error()
            .text.find("circle") != std::string::npos);
}

TEST_CASE("a failed start names the component and keeps the reason") {
  fixture f;
  component_runner runner{f.context};

  auto started = runner.start(component_list{}
                                  .add("a", f.spawner("a"))
                                  .add("log",
                                       [](service_context&) -> expected<component> {
                                         return fail(ec::corrupt, "cannot open log: checksum");
                                       }),
                              [] { return false; });

  REQUIRE_FALSE(started);
  CHECK(started.error() == error{ec::corrupt, "component log did not start: cannot open log: checksum"});
  CHECK(runner.stop(deadline::in(5s)));
  CHECK(f.order.back() == "stop a");
}

TEST_CASE("the death of a component is noticed by name") {
  fixture f;
  component_runner runner{f.context};
  caf::actor spawned;
  REQUIRE(runner.start(component_list{}.add("a",
                                            [&](service_context& context) -> expected<component> {
                                              spawned = context.system().spawn(idle);
                                              return component{spawned};
                                            }),
                       [] { return false; }));

  caf::anon_send_exit(std::exchange(spawned, {}), caf::exit_reason::unhandled_exception);
  auto dead = runner.wait(10s);

  REQUIRE(dead);
  CHECK(dead->text.find("component a died") == 0);
  CHECK(runner.stop(deadline::in(5s)));
}

TEST_CASE("an actor that does not end within the budget is killed and reported") {
  fixture f;
  component_runner runner{f.context};
  REQUIRE(runner.start(component_list{}.add("stubborn",
                                            [](service_context& context) -> expected<component> {
                                              return component{
                                                  context.system().spawn([](caf::event_based_actor* self) {
                                                    self->set_exit_handler([](const caf::exit_msg&) {});
                                                    return caf::behavior{[](int) {}};
                                                  })};
                                            }),
                       [] { return false; }));

  CHECK_FALSE(runner.stop(deadline::in(50ms)));
}

TEST_CASE("what a component makes is there for the next until all have stopped") {
  testing::temp_dir folder;
  struct wiring {
    caf::actor first;
    std::shared_ptr<int> store;
  };

  auto code = in_child([&] {
    std::weak_ptr<int> seen;
    auto list = [&] {
      auto made = std::make_shared<wiring>();
      return component_list{}
          .add("store",
               [made, &seen](service_context& context) -> expected<component> {
                 made->first = context.system().spawn(idle);
                 made->store = std::make_shared<int>(7);
                 seen = made->store;
                 component part{made->first};
                 part.stop = [&seen](deadline) {
                   if (seen.expired())
                     ::_exit(9);
                 };
                 return part;
               })
          .add(
              "user",
              [made](service_context&) -> expected<component> {
                if (!made->first || *made->store != 7)
                  return fail(ec::internal, "not the one");
                ::kill(::getpid(), SIGTERM);
                return component{};
              },
              needs{"store"});
    };
    auto ended = serve(folder.path(), list);
    return ended == 0 && seen.expired() ? 0 : 10 + ended;
  });

  CHECK(code == 0);
}

TEST_CASE("a service is ready only when every component is") {
  auto state = health::make("test", 3);
  auto a = health::add(state, "a");
  auto b = health::add(state, "b");
  b.not_ready("recovering 2 of 8");
  state->started(a);
  state->started(b);
  CHECK(state->read().state == "starting");
  state->set_phase(health::phase::running);
  CHECK_FALSE(state->read().ready);
  CHECK(state->read().why() == "b: recovering 2 of 8");

  b.ready();
  CHECK(state->read().state == "ready");
  b.degraded("no validator");
  a.gauge("lag", 12);
  a.failed({ec::disk_full, "no room"});

  auto bytes = state->status_reply();
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  REQUIRE(verifier.VerifyBuffer<wire::StatusReply>("TRPS"));
  auto reply = status_of(bytes);
  CHECK(reply->ready());
  CHECK(reply->state()->str() == "degraded");
  CHECK(reply->replica() == 3);
  CHECK(reply->gauges()->Get(0)->value() == 12);
  CHECK(reply->last_error()->str() == "b: no validator");
  CHECK(state->json().find(R"("last_error":"disk_full: no room")") != std::string::npos);
}

TEST_CASE("a service says ready, and ends with 0 on SIGTERM") {
  testing::temp_dir folder;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);

  auto code = in_child(
      [&] {
        return serve_in(folder.path(),
                        component_list{}.add("a",
                                             [](service_context& context) -> expected<component> {
                                               return component{context.system().spawn(idle)};
                                             }),
                        {"--ready-fd", std::to_string(ready[1]), "--set", "size=3"});
      },
      [&](pid_t child) {
        ::close(ready[1]);
        char got[6] = {};
        CHECK(::read(ready[0], got, sizeof got) == 6);
        CHECK(std::string{got, 5} == "ready");
        ::kill(child, SIGTERM);
      });

  CHECK(code == 0);
  ::close(ready[0]);
}

TEST_CASE("a service takes two signals at once for one, and ends as after one") {
  testing::temp_dir folder;
  int ready[2];
  int stopping[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(stopping) == 0);

  auto code = in_child(
      [&] {
        component_list all;
        all.add("a", [&](service_context& context) -> expected<component> {
          component part{context.system().spawn(idle)};
          part.stop = [&](deadline) {
            char second = 0;
            (void)!::write(stopping[1], "s", 1);
            (void)!::read(ready[0], &second, 1); // Until the second signal was sent.
          };
          return part;
        });
        return serve_in(folder.path(), all, {"--ready-fd", std::to_string(ready[1])});
      },
      [&](pid_t child) {
        char got[6] = {};
        CHECK(::read(ready[0], got, sizeof got) == 6);
        ::kill(child, SIGTERM);
        CHECK(::read(stopping[0], got, 1) == 1);
        ::kill(child, SIGTERM);
        CHECK(::write(ready[1], "2", 1) == 1);
      });

  CHECK(code == 0);
  for (int fd : {ready[0], ready[1], stopping[0], stopping[1]})
    ::close(fd);
}

#if defined(__SANITIZE_THREAD__) // It holds back a signal for a thread that waits in a call it does not know.
constexpr bool signals_are_late = true;
#else
constexpr bool signals_are_late = false;
#endif

TEST_CASE("a service ends with 0 on a SIGTERM that a thread gets which was there before main" *
          doctest::skip(signals_are_late)) {
  testing::temp_dir folder;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);

  auto code = in_child(
      [&] {
        std::thread{[&] {
          auto id = static_cast<pid_t>(::syscall(SYS_gettid));
          (void)!::write(ready[1], &id, sizeof id);
          for (;;)
            ::pause();
        }}.detach();
        return serve_in(folder.path(), {}, {"--ready-fd", std::to_string(ready[1])});
      },
      [&](pid_t child) {
        ::close(ready[1]);
        pid_t thread = 0;
        CHECK(::read(ready[0], &thread, sizeof thread) == sizeof thread);
        char got[6] = {};
        CHECK(::read(ready[0], got, sizeof got) == 6);
        CHECK(::syscall(SYS_tgkill, child, thread, SIGTERM) == 0);
      });

  CHECK(code == 0);
  ::close(ready[0]);
}

TEST_CASE("a service ends with 1 when a component dies, so that somebody restarts it") {
  testing::temp_dir folder;

  CHECK(in_child([&] {
          return serve_in(folder.path(),
                          component_list{}.add("a", [](service_context& context) -> expected<component> {
                            return component{context.system().spawn([](caf::event_based_actor* self) {
                              self->quit(caf::exit_reason::unhandled_exception);
                            })};
                          }));
        }) == 1);
}

TEST_CASE("an address in use ends with 3: starting it again does not help") {
  testing::temp_dir folder;
  auto taken = http::server::start({}, [](const http::request&) { return http::response{}; });
  REQUIRE(taken);
  auto component_fails = [](service_context&) -> expected<component> {
    return fail(ec::already_exists, "cannot listen on port 80: address in use");
  };

  CHECK(in_child([&] {
          return serve_in(folder.path(), {}, {"--admin-port", std::to_string((*taken)->port())});
        }) == exit_address_in_use);
  CHECK(in_child([&] { return serve_in(folder.path(), component_list{}.add("a", component_fails)); }) ==
        exit_address_in_use);
}

TEST_CASE("a wrong setting ends with 2 and a failed start with 1") {
  testing::temp_dir folder;
  auto fails = [](service_context&) -> expected<component> { return fail(ec::io_failed, "no"); };

  CHECK(in_child([&] { return serve_in(folder.path(), {}, {"--set", "size=10"}); }) == 2);
  CHECK(in_child([&] { return serve_in(folder.path(), {}, {"--set", "sise=1"}); }) == 2);
  CHECK(in_child([&] { return serve_in(folder.path(), {}, {"--replica", "1"}); }) == 2);
  CHECK(in_child([&] { return serve_in(folder.path(), {}, {"--bogus"}); }) == 2);
  CHECK(in_child([&] { return serve_in(folder.path(), component_list{}.add("a", fails)); }) == 1);
  CHECK(in_child([&] { return serve_in(folder.path(), {}, {"--check"}); }) == 0);
}
