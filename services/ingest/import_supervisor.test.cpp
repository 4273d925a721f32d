#include "services/ingest/import_supervisor.hpp"

#include "services/ingest/testing/requests.hpp"

#include "common/testing/temp_dir.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

using namespace troupe;
using namespace troupe::ingest;
using ingest::testing::pending;

namespace {

const std::string upload = "0123456789abcdef";

const std::string row_of_one =
    R"({"kind":"event","id":"1","type":"click","user":"u","item":"i","event_time":"2026-01-01T00:00:00Z"})"
    "\n";

/// The supervisor of an ingest service, without its endpoint.
struct house {
  metrics::registry numbers;
  troupe::testing::temp_dir dir;
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  std::unique_ptr<blocking_pool> pool =
      std::make_unique<blocking_pool>(blocking_pool::options{"pool", 2}, numbers);
  std::shared_ptr<upload_store> store = upload_store::open({dir / "uploads"}).value();
  std::shared_ptr<upload_handler> uploads = std::make_shared<upload_handler>(log, store, numbers);
  std::shared_ptr<health> well = health::make("ingest", 0);
  metrics::gauge lag = numbers.gauge("lag", "Of the imports.");
  std::optional<import_supervisor_actor> imports;

  explicit house(std::vector<import_record> known = {}, validate_function validate = validate_nothing()) {
    imports =
        spawn_import_supervisor(system,
                                {log, pool.get(), pool.get(), std::move(validate), uploads,
                                 std::make_shared<const ingest::config>(), health::add(well, "imports"), lag},
                                std::move(known));
  }
  ~house() { stop(); }
  void stop() {
    if (imports)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(*imports), caf::exit_reason::user_shutdown);
    imports.reset();
    system.await_all_actors_done();
  }

  pending send(wire::Kind kind, chunk payload) {
    pending answer;
    caf::anon_send(*imports, net::request_atom::value,
                   std::make_shared<net::request>(answer.request(kind, std::move(payload))));
    return answer;
  }
  expected<message<wire::ImportStatus>> ask(wire::Kind kind, chunk payload) {
    auto got = send(kind, std::move(payload)).wait();
    if (!got)
      return unexpected{got.error()};
    return message<wire::ImportStatus>::open(*got);
  }

  /// A whole file in one part, by the handler: its thread alone writes. Whether it is there.
  bool put(const char* file, const std::string& text, std::uint64_t total) {
    pending answer;
    uploads->put(answer.request(
        wire::Kind::upload_put, build_message([&](auto& out) {
          auto bytes = out.CreateVector(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
          return wire::CreateUploadPut(out, out.CreateString(upload), out.CreateString(file), text.size(),
                                       total, 0, 0, bytes);
        })));
    return answer.read<wire::UploadStatus>()->complete();
  }

  expected<message<wire::ImportStatus>> start(const std::string& what, std::uint32_t files,
                                              std::uint64_t bytes) {
    return ask(wire::Kind::import_start, build_message([&](auto& out) {
                 auto path = out.CreateString("/somewhere");
                 return wire::CreateImportStart(out, path, 0, 0, out.CreateString(what), files, bytes);
               }));
  }
  wire::ImportState end_of(const std::string& id) {
    for (;;) {
      auto query =
          build_message([&](auto& out) { return wire::CreateImportQuery(out, out.CreateString(id)); });
      auto now = ask(wire::Kind::import_status, query);
      REQUIRE_MESSAGE(now, now.error().text);
      if ((*now)->state() != wire::ImportState::running)
        return (*now)->state();
      std::this_thread::yield();
    }
  }
};

} // namespace

TEST_CASE("an import that was killed between its last row and the note of its end has ended") {
  import_plan plan;
  plan.id = "x";
  plan.path = "/gone.jsonl";
  plan.files.push_back({"/gone.jsonl", 7, 0, {}});
  source_state read;
  read.done = true;

  house again{{{plan, {{source_key("x", "/gone.jsonl"), read}}}}};

  CHECK(again.end_of("x") == wire::ImportState::done);
}

TEST_CASE("an upload is imported when all of it is there, and goes when it is in the log") {
  house home;
  auto put = [&](const char* file) { return home.put(file, row_of_one, 2 * row_of_one.size()); };
  REQUIRE(put("a/one.jsonl"));

  auto early = home.start(upload + "/a", 2, 2 * row_of_one.size());
  REQUIRE(put("a/two.jsonl"));
  auto begun = home.start(upload + "/a", 2, 2 * row_of_one.size());

  REQUIRE_FALSE(early);
  CHECK(early.error().code == ec::not_found);
  CHECK(early.error().text.find("1 files") != std::string::npos);
  REQUIRE_MESSAGE(begun, begun.error().text);
  std::string id{(*begun)->import_id()->string_view()};
  CHECK(id == import_id_of_upload(upload + "/a", ""));
  CHECK(home.end_of(id) == wire::ImportState::done);
  while (home.store->bytes() > 0)
    std::this_thread::yield();
  CHECK(home.log->state().total.events == 1);
  CHECK_FALSE(home.start("../x", 1, 1).has_value());
}

TEST_CASE("what lies between the positions of running imports and the ends of their files is their lag") {
  std::promise<validation_done> asked;
  house home{{}, [&](const validation_request&, validation_done done) { asked.set_value(std::move(done)); }};
  auto path = home.dir / "one.jsonl";
  std::ofstream{path} << row_of_one;

  auto begun = home.ask(wire::Kind::import_start, build_message([&](auto& out) {
                          return wire::CreateImportStart(out, out.CreateString(path.string()));
                        }));
  REQUIRE_MESSAGE(begun, begun.error().text);
  auto done = asked.get_future().get();
  while (home.lag.value() != static_cast<double>(row_of_one.size()))
    std::this_thread::yield();
  done(std::vector<row_violation>{});

  CHECK(home.end_of(std::string{(*begun)->import_id()->string_view()}) == wire::ImportState::done);
  CHECK(home.lag.value() == 0);
}

TEST_CASE("an import that waits for the validator says so until it goes on") {
  std::atomic<bool> back = false;
  house home{{}, [&](const validation_request&, const validation_done& done) {
               if (!back)
                 return done(fail(ec::unavailable, "nobody listens"));
               done(std::vector<row_violation>{});
             }};
  auto path = home.dir / "one.jsonl";
  std::ofstream{path} << row_of_one;
  auto waits = [&] {
    for (auto& [name, value] : home.well->read().gauges)
      if (name == "waiting_for_validator")
        return value > 0;
    return false;
  };

  auto begun = home.ask(wire::Kind::import_start, build_message([&](auto& out) {
                          return wire::CreateImportStart(out, out.CreateString(path.string()));
                        }));
  REQUIRE_MESSAGE(begun, begun.error().text);
  while (!waits())
    std::this_thread::yield();
  back = true;

  CHECK(home.end_of(std::string{(*begun)->import_id()->string_view()}) == wire::ImportState::done);
  CHECK_FALSE(waits());
}

TEST_CASE("an import is started once, and a stop answers a start whose plan is not made yet") {
  house home;
  std::promise<void> go_on;
  auto blocked = go_on.get_future().share();
  for (int i = 0; i < 2; ++i) { // All threads of the pool.
    std::promise<void> begun;
    REQUIRE(home.pool
                ->post([&begun, blocked] {
                  begun.set_value();
                  blocked.wait();
                })
                .has_value());
    begun.get_future().wait();
  }
  auto start = [&] {
    return home.send(wire::Kind::import_start, build_message([](auto& out) {
                       return wire::CreateImportStart(out, out.CreateString("/nowhere"));
                     }));
  };
  auto first = start();

  CHECK(start().failure() == ec::overloaded);
  CHECK_FALSE(first.answered());
  home.stop();
  CHECK(first.failure() == ec::stopping);
  go_on.set_value();
}

TEST_CASE("an import that is canceled half-way ends, and is found canceled") {
  std::promise<validation_done> asked;
  house home{{}, [&](const validation_request&, validation_done done) { asked.set_value(std::move(done)); }};
  auto path = home.dir / "one.jsonl";
  std::ofstream{path} << row_of_one;
  auto begun = home.ask(wire::Kind::import_start, build_message([&](auto& out) {
                          return wire::CreateImportStart(out, out.CreateString(path.string()));
                        }));
  REQUIRE_MESSAGE(begun, begun.error().text);
  std::string id{(*begun)->import_id()->string_view()};
  auto done = asked.get_future().get();

  auto canceled =
      home.ask(wire::Kind::import_cancel,
               build_message([&](auto& out) { return wire::CreateImportQuery(out, out.CreateString(id)); }));

  CHECK(canceled.has_value());
  CHECK(home.end_of(id) == wire::ImportState::canceled);
  done(std::vector<row_violation>{});
  CHECK(home.log->state().total.events == 0);
  CHECK(home.ask(wire::Kind::import_status, build_message([](auto& out) {
                   return wire::CreateImportQuery(out, out.CreateString("unknown"));
                 }))
            .error()
            .code == ec::not_found);
}
