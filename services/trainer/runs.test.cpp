#include "services/trainer/actors.hpp"

#include "common/testing/temp_dir.hpp"

#include <boost/json/parse.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <fstream>
#include <future>
#include <optional>
#include <thread>

using namespace troupe;
using namespace troupe::trainer;
using namespace std::chrono_literals;

namespace {

/// One life of the service without its endpoint.
struct life {
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::shared_ptr<run_parts> parts = std::make_shared<run_parts>();
  std::shared_ptr<run_threads> threads = std::make_shared<run_threads>();
  std::optional<runs_actor> runs;

  explicit life(const std::filesystem::path& folder) {
    parts->folder = folder / "runs";
    parts->worker = TROUPE_TEST_WORKER;
    parts->settings = std::make_shared<const trainer::config>();
    parts->journal = *run_journal::open(folder / "journal");
    runs = *spawn_runs(system, parts, threads);
  }

  ~life() {
    caf::anon_send_exit(caf::actor_cast<caf::actor>(*runs), caf::exit_reason::user_shutdown);
    runs.reset();
    system.await_all_actors_done();
    threads->join();
  }

  expected<chunk> ask(wire::Kind kind, const flatbuffers::FlatBufferBuilder& out) {
    auto answer = std::make_shared<std::promise<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = kind;
    asked->payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
    asked->respond = net::responder::to([answer](expected<chunk> got) { answer->set_value(std::move(got)); });
    caf::anon_send(*runs, net::request_atom::value, std::move(asked));
    return answer->get_future().get();
  }

  expected<wire::TrainState> start(const std::string& id, const std::string& toml) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateTrainStartDirect(out, id.c_str(), toml.c_str()), "TRPT");
    TROUPE_TRY(got, ask(wire::Kind::train_start, out));
    return flatbuffers::GetRoot<wire::TrainStatus>(got.data())->state();
  }

  /// Asks until `enough` says yes; gives the last answer.
  chunk ask_until(const std::string& id, wire::Kind kind,
                  const std::function<bool(const wire::TrainStatus&)>& enough) {
    for (;;) {
      flatbuffers::FlatBufferBuilder out;
      out.Finish(wire::CreateTrainQueryDirect(out, id.c_str()), "TRPT");
      auto got = ask(kind, out);
      REQUIRE(got);
      if (enough(*flatbuffers::GetRoot<wire::TrainStatus>(got->data())))
        return *got;
      std::this_thread::yield();
    }
  }

  chunk end_of(const std::string& id) {
    return ask_until(id, wire::Kind::train_status,
                     [](auto& now) { return now.state() >= wire::TrainState::done; });
  }
};

std::string config_in(const std::filesystem::path& folder, const std::string& more) {
  std::ofstream{folder / "data.tsv"} << "u\ti\t1\n";
  return more + "model = \"test\"\nseed = 7\n[run]\nranks = 2\ndata = \"" + (folder / "data.tsv").string() +
         "\"\n";
}

const wire::TrainStatus& read(const chunk& bytes) {
  return *flatbuffers::GetRoot<wire::TrainStatus>(bytes.data());
}

} // namespace

TEST_CASE("a run trains, describes its model by hashes, and a start sent twice is the same run") {
  troupe::testing::temp_dir dir;
  life one{dir.path()};
  auto config = config_in(dir.path(), "steps = 3\n");

  REQUIRE(one.start("r1", config));
  REQUIRE(one.start("r1", config));
  auto other = one.start("r1", config + "# changed\n");
  auto last = one.end_of("r1");

  CHECK(other.error().code == ec::conflict);
  CHECK(read(last).state() == wire::TrainState::done);
  auto manifest = read(last).manifest()->str();
  for (auto* part : {"\"kind\":\"test\"", "\"seed\":7", "\"ranks\":2",
                     "\"weights\":{\"bytes\":", "\"sha256\":", "\"hr_at_10\":", "\"parents\":[]"})
    CHECK_MESSAGE(manifest.find(part) != std::string::npos, part, " in ", manifest);
  CHECK(read(last).error()->str().find("no registry") != std::string::npos);
}

TEST_CASE("a run under way when the service ends goes on in its next life, an ended one is remembered") {
  troupe::testing::temp_dir dir;
  auto config = config_in(dir.path(), "steps = 3\nhang_at = 2\n"); // in its first start only
  {
    life first{dir.path()};
    REQUIRE(first.start("r1", config));
    first.ask_until("r1", wire::Kind::train_status, [](auto& now) { return now.step() == 2; });
  }
  {
    life second{dir.path()};
    CHECK(read(second.end_of("r1")).state() == wire::TrainState::done);
  }
  life third{dir.path()};
  CHECK(read(third.end_of("r1")).state() == wire::TrainState::done);
}

TEST_CASE("a run that is canceled ends as such, also while it waits for its turn") {
  troupe::testing::temp_dir dir;
  life one{dir.path()};
  auto config = config_in(dir.path(), "steps = 3\nwait = true\n");
  REQUIRE(one.start("r1", config));
  REQUIRE(one.start("r2", config));
  auto ended = [](auto& now) { return now.state() == wire::TrainState::canceled; };

  one.ask_until("r2", wire::Kind::train_cancel, ended);
  one.ask_until("r1", wire::Kind::train_cancel, ended);

  CHECK(read(one.end_of("r2")).state() == wire::TrainState::canceled);
}

TEST_CASE("an order that cannot be right is refused with the key") {
  troupe::testing::temp_dir dir;
  life one{dir.path()};

  auto unknown = one.start("r1", "model = \"ease\"\n[run]\nrank = 2\n");
  auto relative = one.start("r1", "model = \"ease\"\n[run]\ndata = \"x.tsv\"\n");
  auto nameless = one.start("r1", "seed = 1\n");
  auto outside = one.start("../r1", "model = \"ease\"\n");

  for (auto* each : {&unknown, &relative, &nameless, &outside})
    CHECK(each->error().code == ec::invalid_argument);
  CHECK(unknown.error().text.find("ranks") != std::string::npos);
}

TEST_CASE("canonical JSON has sorted keys and no blanks") {
  auto value = boost::json::parse(R"({"b": [1, {"d": 2, "c": null}], "a": "x y"})");

  CHECK(canonical(value) == R"({"a":"x y","b":[1,{"c":null,"d":2}]})");
}
