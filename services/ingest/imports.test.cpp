#include "services/ingest/import_supervisor.hpp"
#include "services/ingest/wire.hpp"

#include "common/testing/temp_dir.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <future>
#include <optional>

using namespace troupe;
using namespace troupe::ingest;

namespace {

const std::string upload = "0123456789abcdef";

/// The supervisor of an ingest service, without its endpoint.
struct house {
  testing::temp_dir dir;
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  std::shared_ptr<worker_pool> pool = std::make_shared<worker_pool>(2);
  std::shared_ptr<upload_store> store = upload_store::open({dir / "uploads"}).value();
  std::shared_ptr<upload_desk> uploads = std::make_shared<upload_desk>(log, store);
  std::shared_ptr<health> well = health::make("ingest", 0);
  std::optional<import_supervisor_actor> imports;

  explicit house(std::vector<planned_ptr> known = {}) {
    imports =
        spawn_import_supervisor(system,
                                {log, pool, pool, judge_nothing(), uploads,
                                 std::make_shared<const ingest::config>(), health::add(well, "imports")},
                                std::move(known));
  }
  ~house() {
    caf::anon_send_exit(caf::actor_cast<caf::actor>(*imports), caf::exit_reason::user_shutdown);
    imports.reset();
    system.await_all_actors_done();
  }

  expected<message<wire::ImportStatus>> ask(wire::Kind kind, chunk payload) {
    auto answer = std::make_shared<std::promise<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = kind;
    asked->payload = std::move(payload);
    asked->respond = net::responder::to([answer](expected<chunk> got) { answer->set_value(std::move(got)); });
    caf::anon_send(*imports, net::request_atom::value, net::request_ptr{asked});
    auto got = answer->get_future().get();
    if (!got)
      return unexpected{got.error()};
    return message<wire::ImportStatus>::open(*got);
  }

  /// A whole file in one part, by the desk: its thread alone writes. Whether it is there.
  bool send(const char* file, const std::string& text, std::uint64_t total) {
    auto answer = std::make_shared<std::promise<expected<chunk>>>();
    net::request asked;
    asked.until = deadline::in(std::chrono::seconds{20});
    asked.payload = build_message([&](auto& out) {
      auto bytes = out.CreateVector(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
      return wire::CreateUploadPut(out, out.CreateString(upload), out.CreateString(file), text.size(), total,
                                   0, 0, bytes);
    });
    asked.respond = net::responder::to([answer](expected<chunk> got) { answer->set_value(std::move(got)); });
    uploads->put(std::move(asked));
    auto got = answer->get_future().get();
    REQUIRE_MESSAGE(got, got.error().text);
    auto status = message<wire::UploadStatus>::open(*got);
    return status && (*status)->complete();
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
  std::vector<std::pair<std::string, source_state>> sources{{source_key("x", "/gone.jsonl"), read}};

  house again{{std::make_shared<planned>(planned{plan, sources, {}, {}, nullptr})}};

  CHECK(again.end_of("x") == wire::ImportState::done);
}

TEST_CASE("an upload is imported when all of it is there, and goes when it is in the log") {
  house home;
  const std::string text =
      R"({"kind":"event","id":"1","type":"click","user":"u","item":"i","event_time":"2026-01-01T00:00:00Z"})"
      "\n";
  auto put = [&](const char* file) { return home.send(file, text, 2 * text.size()); };
  REQUIRE(put("a/one.jsonl"));

  auto early = home.start(upload + "/a", 2, 2 * text.size());
  REQUIRE(put("a/two.jsonl"));
  auto begun = home.start(upload + "/a", 2, 2 * text.size());

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
