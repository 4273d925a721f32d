#include "services/ingest/import_supervisor.hpp"

#include "services/ingest/testing/requests.hpp"

#include "common/testing/temp_dir.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <zlib.h>

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

  explicit house(std::vector<import_record> known = {}, validate_function validate = validate_alone()) {
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

TEST_CASE("what a user names holds no reader: a pipe is refused, and a stopped import lets go of its file") {
  house home;
  auto begin = [&](const std::filesystem::path& path) {
    return home.ask(wire::Kind::import_start, build_message([&](auto& out) {
                      return wire::CreateImportStart(out, out.CreateString(path.string()));
                    }));
  };
  auto id_of = [](const message<wire::ImportStatus>& status) { return status->import_id()->str(); };
  for (auto name : {"one.jsonl", "two.jsonl", "three.jsonl"}) {
    auto pipe = home.dir / name;
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    auto refused = begin(pipe);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ec::invalid_argument);
    CHECK(refused.error().text.find("it is a named pipe") != std::string::npos);
  }
  // One row of 16 GiB in each: much longer to read than the test takes.
  const std::string x(8 << 20, 'x');
  std::string packed(compressBound(x.size()) + 64, '\0');
  z_stream state{};
  deflateInit2(&state, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(x.data()));
  state.avail_in = static_cast<uInt>(x.size());
  state.next_out = reinterpret_cast<Bytef*>(packed.data());
  state.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&state, Z_FINISH) == Z_STREAM_END);
  packed.resize(state.total_out);
  deflateEnd(&state);
  for (auto name : {"long.jsonl.gz", "longer.jsonl.gz"}) { // As many as there are readers.
    std::ofstream out{home.dir / name, std::ios::binary};
    for (int i = 0; i < 2048; ++i)
      out << packed;
    out.close();
    auto begun = begin(home.dir / name);
    REQUIRE_MESSAGE(begun, begun.error().text);
    auto query = build_message(
        [&](auto& out_) { return wire::CreateImportQuery(out_, out_.CreateString(id_of(*begun))); });
    REQUIRE(home.ask(wire::Kind::import_cancel, query));
  }
  auto path = home.dir / "ordinary.jsonl";
  std::ofstream{path} << row_of_one;
  auto soon = deadline::in(std::chrono::seconds{8});

  auto begun = begin(path);

  REQUIRE_MESSAGE(begun, begun.error().text);
  CHECK(home.end_of(id_of(*begun)) == wire::ImportState::done);
  CHECK_FALSE(soon.passed());
  CHECK(home.log->state().total.events == 1);
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

TEST_CASE("records without a time are of the instant at which their import began, though it was stopped and "
          "went on") {
  import_plan plan;
  plan.id = "x";
  plan.started = from_micros(1'700'000'000'000'000);
  troupe::testing::temp_dir files;
  plan.path = (files / "items.jsonl").string();
  std::ofstream{plan.path} << R"({"kind":"item","id":"1","item":"i"})"
                           << "\n";
  plan.files.push_back({plan.path, 0, 0, {}});
  refresh(plan.files.back());

  house again{{{plan, {}}}};
  CHECK(again.end_of("x") == wire::ImportState::done);
  auto kept = again.log->fetch(partition_of("i", again.log->partitions()), 0, 1000).value();
  REQUIRE(kept.batches.size() == 1);
  auto item = to_record(batch::open(kept.batches[0]).value()[0]);
  CHECK(item.untimed);
  CHECK(item.event_time == plan.started);

  // One that failed and is started anew goes on, too.
  house failed;
  auto path = failed.dir / "more.jsonl";
  std::ofstream{path} << R"({"kind":"item","id":"2","item":"i"})"
                      << "\n";
  import_plan before = plan;
  before.id = import_id(path.string(), "");
  before.path = path.string();
  before.state = wire::ImportState::canceled;
  before.files = {{path.string(), 0, 0, {}}};
  refresh(before.files.back());
  failed.stop();
  house third{{{before, {}}}};
  auto begun = third.ask(wire::Kind::import_start, build_message([&](auto& out) {
                           return wire::CreateImportStart(out, out.CreateString(path.string()));
                         }));
  REQUIRE_MESSAGE(begun, begun.error().text);
  CHECK(third.end_of(before.id) == wire::ImportState::done);
  kept = third.log->fetch(partition_of("i", third.log->partitions()), 0, 1000).value();
  REQUIRE(kept.batches.size() == 1);
  CHECK(to_record(batch::open(kept.batches[0]).value()[0]).event_time == plan.started);
}

TEST_CASE("an event of a file that is dated ahead of the clock goes to quarantine and moves no watermark") {
  house home;
  auto path = home.dir / "a.jsonl";
  std::ofstream{path}
      << row_of_one
      << R"({"kind":"event","id":"2","type":"click","user":"u","item":"i","event_time":"2999-01-01T00:00:00Z"})"
      << "\n";

  auto begun = home.ask(wire::Kind::import_start, build_message([&](auto& out) {
                          return wire::CreateImportStart(out, out.CreateString(path.string()));
                        }));
  REQUIRE_MESSAGE(begun, begun.error().text);
  CHECK(home.end_of(std::string{(*begun)->import_id()->string_view()}) == wire::ImportState::done);

  auto refused = home.log->quarantine().list({}).value();
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].rule == "max_ahead");
  CHECK(refused[0].row == 2);
  for (auto& each : home.log->state().partitions)
    CHECK(each.watermark < micros_of(wall_now()));
}
