#include "services/feature_store/testing/training_store.hpp"
#include "services/trainer/engine/train_config.hpp"
#include "services/trainer/run_folders.hpp"
#include "services/trainer/run_order.hpp"
#include "services/trainer/testing/process.hpp"

#include "common/core/file.hpp"
#include "common/testing/temp_dir.hpp"

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::testing;
using troupe::feature_store::testing::build_clicks;
using troupe::feature_store::testing::keep_clicks;
using troupe::feature_store::testing::training_store;

#if defined(__SANITIZE_THREAD__)
/// DuckDB takes all locks of its allocator when a rank is forked: more than the detector can count.
extern "C" const char* __tsan_default_options() {
  return "detect_deadlocks=0";
}
#endif

namespace {

std::size_t folders_in(const std::filesystem::path& where) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator{where}, std::filesystem::directory_iterator{}));
}

std::string order_on_rows(const std::string& training_set, const std::string& more = {}) {
  return "steps = 1\nmodel = \"dcn\"\n[dcn]\ntraining_set = \"" + training_set + "\"\n" + more;
}

std::string pinned(const std::string& sha256) {
  return "[run]\ndata_sha256 = \"" + sha256 + "\"\n";
}

bool holds(const wire::TrainStatus& status, const std::string& text) {
  return status.manifest()->str().find(text) != std::string::npos ||
         status.error()->str().find(text) != std::string::npos;
}

} // namespace

TEST_CASE("a run trains, describes its model by hashes, and a start sent twice is the same run") {
  troupe::testing::temp_dir dir;
  process one{dir.path()};
  auto config = config_in(dir.path(), "steps = 3\n");

  REQUIRE(one.start("r1", config));
  REQUIRE(one.start("r1", config));
  auto other = one.start("r1", config + "# changed\n");
  auto last = one.end_of("r1");

  CHECK(other.error().code == ec::conflict);
  CHECK(read(last).state() == wire::TrainState::done);
  auto manifest = read(last).manifest()->str();
  for (auto* part : {"\"kind\":\"popularity\"", "\"seed\":7", "\"ranks\":2",
                     "\"weights\":{\"bytes\":", "\"sha256\":", "\"hr_at_10\":", "\"parents\":[]"})
    CHECK_MESSAGE(manifest.find(part) != std::string::npos, part, " in ", manifest);
  CHECK(read(last).error()->str().find("no registry") != std::string::npos);
}

TEST_CASE("what becomes of runs is counted") {
  troupe::testing::temp_dir dir;
  process one{dir.path()};
  auto ended = [&](auto&) { return one.deps->seen.running.value() == 0; };

  REQUIRE(one.start("r1", config_in(dir.path(), "steps = 3\ncrash_at = 2\nfailing_rank = 1\n")));
  one.end_of("r1");
  one.ask_until("r1", wire::Kind::train_status, ended);
  REQUIRE(one.start("r2", config_in(dir.path(), "steps = 3\nexit_at = 2\ncode = 2\n")));
  one.end_of("r2");
  one.ask_until("r2", wire::Kind::train_status, ended);

  auto& seen = one.deps->seen;
  CHECK(seen.restarts.value() == 1);
  CHECK(seen.done.value() == 1);
  CHECK(seen.failed.value() == 1);
}

TEST_CASE("a run under way when the service ends goes on in its next life, an ended one is remembered") {
  troupe::testing::temp_dir dir;
  auto config = config_in(dir.path(), "steps = 3\nhang_at = 2\n"); // in its first start only
  {
    process first{dir.path()};
    REQUIRE(first.start("r1", config));
    first.ask_until("r1", wire::Kind::train_status, [](auto& now) { return now.step() == 2; });
  }
  {
    process second{dir.path()};
    CHECK(read(second.end_of("r1")).state() == wire::TrainState::done);
  }
  process third{dir.path()};
  CHECK(read(third.end_of("r1")).state() == wire::TrainState::done);
}

TEST_CASE("a run that is canceled ends as such, also while it waits for its turn") {
  troupe::testing::temp_dir dir;
  process one{dir.path()};
  auto config = config_in(dir.path(), "steps = 3\nwait = true\n");
  REQUIRE(one.start("r1", config));
  REQUIRE(one.start("r2", config));
  auto ended = [](auto& now) { return now.state() == wire::TrainState::canceled; };

  auto running = [&](double n) { return [&, n](auto&) { return one.deps->seen.running.value() == n; }; };
  one.ask_until("r1", wire::Kind::train_status, running(1));
  CHECK(one.deps->seen.waiting.value() == 1);

  one.ask_until("r2", wire::Kind::train_cancel, ended);
  one.ask_until("r1", wire::Kind::train_cancel, ended);

  CHECK(read(one.end_of("r2")).state() == wire::TrainState::canceled);
  one.ask_until("r1", wire::Kind::train_status, running(0));
  // As a run does that is canceled just as its turn comes.
  caf::anon_send(*one.runs, ended_atom::value, std::string{"r2"});
  one.ask_until("r2", wire::Kind::train_status, ended);
  CHECK(one.deps->seen.canceled.value() == 2);
}

TEST_CASE("an order that cannot be right is refused with the key") {
  troupe::testing::temp_dir dir;
  process one{dir.path()};

  auto unknown = one.start("r1", "model = \"ease\"\n[run]\nrank = 2\n");
  auto relative = one.start("r1", "model = \"ease\"\n[run]\ndata = \"x.tsv\"\n");
  auto nameless = one.start("r1", "seed = 1\n");
  auto outside = one.start("../r1", "model = \"ease\"\n");

  for (auto* each : {&unknown, &relative, &nameless, &outside})
    CHECK(each->error().code == ec::invalid_argument);
  CHECK(unknown.error().text.find("ranks") != std::string::npos);
}

TEST_CASE("an ended run leaves no thread and no actor behind, and the journal answers for it") {
  troupe::testing::temp_dir dir;
  process one{dir.path()};
  auto config = config_in(dir.path(), "steps = 1\n");
  for (int i = 0; i < 6; ++i) {
    auto id = "r" + std::to_string(i);
    REQUIRE(one.start(id, config));
    CHECK(read(one.end_of(id)).state() == wire::TrainState::done);
  }

  CHECK(one.threads->size() <= 2);
  CHECK(read(one.end_of("r0")).manifest()->size() > 100);
}

TEST_CASE("more runs than may wait are refused as overloaded, and one that was canceled makes room") {
  troupe::testing::temp_dir dir;
  trainer::config settings;
  settings.max_waiting = 2;
  process one{dir.path(), settings};
  auto config = config_in(dir.path(), "steps = 3\nwait = true\n");
  REQUIRE(one.start("r0", config)); // has its turn
  REQUIRE(one.start("r1", config));
  REQUIRE(one.start("r2", config));

  auto refused = one.start("r3", config);
  auto known = one.start("r2", config);
  auto canceled = [](auto& now) { return now.state() == wire::TrainState::canceled; };
  one.ask_until("r1", wire::Kind::train_cancel, canceled);
  one.ask_until("r1", wire::Kind::train_status, canceled);
  auto taken = one.start("r4", config);

  REQUIRE(!refused);
  CHECK(refused.error().code == ec::overloaded);
  CHECK(known.has_value());
  CHECK(taken.has_value());
  for (auto* id : {"r0", "r2", "r4"})
    one.ask_until(id, wire::Kind::train_cancel, canceled);
}

TEST_CASE("old folders of runs go, but for models that are nowhere else") {
  troupe::testing::temp_dir dir;
  trainer::config settings;
  settings.keep_runs = 1;
  process one{dir.path(), settings};
  REQUIRE(one.start("kept", config_in(dir.path(), "steps = 1\n"))); // the catalog has no registry
  one.end_of("kept");
  auto failing = config_in(dir.path(), "steps = 3\nexit_at = 1\ncode = 2\nalways = true\n");
  for (auto* id : {"f1", "f2", "f3"}) {
    REQUIRE(one.start(id, failing));
    CHECK(read(one.end_of(id)).state() == wire::TrainState::failed);
  }

  CHECK(folders_in(dir / "runs") == 2);
  CHECK(std::filesystem::exists(dir / "runs" / "kept" / "model"));
  CHECK(std::filesystem::exists(dir / "runs" / "f3"));
}

TEST_CASE(
    "a DCN's manifest names the training set it was trained on, and one that was changed stops the run") {
  troupe::testing::temp_dir dir;
  auto set = dir / "clicks";
  build_clicks(set, "clicks", 40);
  process one{dir.path()}; // there is no log to take a snapshot of
  auto config = order_on_rows(set.string());

  REQUIRE(one.start("r1", config));
  auto last = one.end_of("r1");
  REQUIRE(one.start("r2", config + pinned(std::string(64, 'a'))));
  auto other = one.end_of("r2");
  std::filesystem::path part;
  for (auto& each : std::filesystem::directory_iterator{set})
    if (each.path().extension() == ".parquet")
      part = each.path();
  std::filesystem::resize_file(part, std::filesystem::file_size(part) / 2);
  REQUIRE(one.start("r3", config + "# again\n"));
  auto changed = one.end_of("r3");

  REQUIRE_MESSAGE(read(last).state() == wire::TrainState::done, read(last).error()->str());
  auto manifest = read(last).manifest()->str();
  for (auto part_of : {std::string{"\"source\":\"training-set\""}, "\"path\":\"" + set.string() + "\"",
                       std::string{"\"views\":{\"a\":"}, std::string{"\"rows\":40"}})
    CHECK_MESSAGE(manifest.find(part_of) != std::string::npos, part_of, " in ", manifest);
  CHECK(manifest.find("interactions") == std::string::npos);
  CHECK(read(other).state() == wire::TrainState::failed);
  CHECK(read(other).error()->str().find("not aaaa") != std::string::npos);
  CHECK(read(changed).state() == wire::TrainState::failed);
}

TEST_CASE("a DCN's training set is fetched by its name, and the manifest names its content") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto made = keep_clicks(*store.kept, "clicks", 40);
  process one{dir.path(), {}, {}, store.client};

  REQUIRE(one.start("r1", order_on_rows("clicks")));
  auto done = one.end_of("r1");
  REQUIRE(one.start("none", order_on_rows("none")));
  auto none = one.end_of("none");
  auto nameless = one.start("nameless", order_on_rows(""));
  auto relative = one.start("relative", order_on_rows("sets/clicks"));

  REQUIRE_MESSAGE(read(done).state() == wire::TrainState::done, read(done).error()->str());
  for (auto part : {std::string{"\"name\":\"clicks\""}, "\"sha256\":\"" + made.content_sha256 + "\"",
                    std::string{"\"log_offsets\":[40]"}, std::string{"\"views\":{\"a\":"}})
    CHECK_MESSAGE(holds(read(done), part), part, " in ", read(done).manifest()->str());
  CHECK(!holds(read(done), "\"path\""));
  CHECK(feature_store::verify_training_set(dir / "training-sets" / made.content_sha256)->same);
  CHECK(read(none).state() == wire::TrainState::failed);
  CHECK_MESSAGE(holds(read(none), "keeps no training set none"), read(none).error()->str());
  for (auto* each : {&nameless, &relative}) {
    REQUIRE(!*each);
    CHECK(each->error().code == ec::invalid_argument);
    CHECK(each->error().text.find("dcn.training_set") != std::string::npos);
  }
}

TEST_CASE("a run that asks for one content of a training set gets that one, or an error with both hashes") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto then = keep_clicks(*store.kept, "clicks", 40);
  process one{dir.path(), {}, {}, store.client};
  REQUIRE(one.start("r1", order_on_rows("clicks")));
  REQUIRE(read(one.end_of("r1")).state() == wire::TrainState::done);
  auto now = keep_clicks(*store.kept, "clicks", 60);
  auto again = order_on_rows("clicks", pinned(then.content_sha256));

  REQUIRE(one.start("here", again)); // What was fetched before is still here.
  auto here = one.end_of("here");
  std::filesystem::remove_all(dir / "training-sets");
  REQUIRE(one.start("gone", again));
  auto gone = one.end_of("gone");
  keep_clicks(*store.kept, "clicks", 60, "offsets = [40]\n"); // As the error says.
  REQUIRE(one.start("back", again));
  auto back = one.end_of("back");

  CHECK(holds(read(here), then.content_sha256));
  CHECK(read(here).state() == wire::TrainState::done);
  CHECK(read(gone).state() == wire::TrainState::failed);
  for (auto& part : {then.content_sha256, now.content_sha256, std::string{"data.log_offsets"}})
    CHECK_MESSAGE(holds(read(gone), part), part, " in ", read(gone).error()->str());
  CHECK_MESSAGE(read(back).state() == wire::TrainState::done, read(back).error()->str());
}

TEST_CASE("a run that has begun to train stays with the content it has chosen, or ends with both hashes") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto then = keep_clicks(*store.kept, "clicks", 40);
  trainer::config settings;
  settings.runs_at_once = 2;
  {
    process first{dir.path(), settings, {}, store.client};
    for (auto* id : {"r1", "r2"}) {
      REQUIRE(first.start(id, "wait = true\n" + order_on_rows("clicks")));
      first.ask_until(id, wire::Kind::train_status,
                      [](auto& now) { return now.stage()->str() == "fitting" && now.step() > 1; });
    }
  }
  auto note = read_file(dir / "runs" / "r1" / training_set_note);
  REQUIRE(write_file_atomically(dir / "runs" / "r2" / result_file, as_bytes("{}"))); // It had trained.
  std::filesystem::remove_all(dir / "runs" / "r2" / checkpoint_folder);
  std::filesystem::remove_all(dir / "training-sets");
  auto now = keep_clicks(*store.kept, "clicks", 60);
  process second{dir.path(), settings, {}, store.client};

  for (auto* id : {"r1", "r2"}) {
    auto ended = second.ask_until(id, wire::Kind::train_status, [](auto& is) {
      return is.state() >= wire::TrainState::done || is.stage()->str() == "fitting";
    });
    CHECK(read(ended).state() == wire::TrainState::failed);
    for (auto& part : {then.content_sha256, now.content_sha256})
      CHECK_MESSAGE(holds(read(ended), part), part, " in ", read(ended).error()->str());
  }
  CHECK(read_file(dir / "runs" / "r1" / training_set_note) == note);
}

TEST_CASE("a run waits for the feature store, also in its next life, and stays with what it has fetched") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto made = keep_clicks(*store.kept, "clicks", 300, "rows_per_part = 100\n");
  auto waits = [](auto& now) { return now.stage()->str() == "waiting for the training set"; };
  auto part = dir / "training-sets" / made.content_sha256 / ".fetch" / made.parts[0];
  std::uintmax_t before = 0;
  {
    process first{dir.path(), {}, {}, store.client};
    std::promise<void> cut;
    store.before_page = [&, done = false](int) mutable {
      // After the manifest, when the first part is there.
      if (!done && std::filesystem::exists(part) && std::filesystem::file_size(part) > 0) {
        done = true;
        cut.set_value();
        store.stopped.wait(false);
      }
    };
    store.page_bytes = 200;
    REQUIRE(first.start("r1", order_on_rows("clicks")));
    cut.get_future().wait();
    store.stop();
    first.ask_until("r1", wire::Kind::train_status, waits);
    before = std::filesystem::file_size(part);
  }
  store.before_page = {};
  process second{dir.path(), {}, {}, store.client};
  second.ask_until("r1", wire::Kind::train_status, waits);
  CHECK(before > 0);
  CHECK(std::filesystem::file_size(part) >= before);
  store.start();
  auto done = second.end_of("r1");

  REQUIRE_MESSAGE(read(done).state() == wire::TrainState::done, read(done).error()->str());
  CHECK(holds(read(done), made.content_sha256));
  trainer::config hasty;
  hasty.feature_store_patience = std::chrono::seconds{0};
  store.stop();
  troupe::testing::temp_dir elsewhere;
  process third{elsewhere.path(), hasty, {}, store.client};
  REQUIRE(third.start("r2", order_on_rows("clicks")));
  auto gave_up = third.end_of("r2");
  CHECK(read(gave_up).state() == wire::TrainState::failed);
  CHECK_MESSAGE(holds(read(gave_up), "unavailable: fetching"), read(gave_up).error()->str());
}

TEST_CASE(
    "a fetch that is canceled ends its run, and training sets that no run needs go, but for the newest") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  process one{dir.path(), {}, {}, store.client};
  std::vector<std::string> hashes;
  for (int i = 0; i < 4; ++i) {
    auto name = "clicks-" + std::to_string(i);
    hashes.push_back(keep_clicks(*store.kept, name, 20 + i).content_sha256);
    REQUIRE(one.start(name, order_on_rows(name)));
    REQUIRE(read(one.end_of(name)).state() == wire::TrainState::done);
  }
  store.stop();
  REQUIRE(one.start("canceled", order_on_rows("clicks-0")));
  one.ask_until("canceled", wire::Kind::train_status,
                [](auto& now) { return now.stage()->str() == "waiting for the training set"; });
  one.ask_until("canceled", wire::Kind::train_cancel,
                [](auto& now) { return now.state() == wire::TrainState::canceled; });

  CHECK(folders_in(dir / "training-sets") == 2);
  CHECK(std::filesystem::exists(dir / "training-sets" / hashes[3]));
  CHECK(std::filesystem::exists(dir / "training-sets" / hashes[2]));
}

TEST_CASE("configs has an order for each model, and each is read whole") {
  std::set<std::string> models;
  for (auto& each : std::filesystem::directory_iterator{TROUPE_CONFIGS}) {
    CAPTURE(each.path().string());
    std::ifstream in{each.path()};
    std::string text{std::istreambuf_iterator<char>{in}, {}};
    auto order = read_order("", text, "");
    REQUIRE_MESSAGE(order, (order ? std::string{} : render(order.error())));
    auto section = parse_config(order->worker_config, each.path().string());
    REQUIRE(section);
    auto config = load_config<train_config>(*section);
    REQUIRE_MESSAGE(config, (config ? std::string{} : render(config.error())));
    CHECK(order->model_name == config->model);
    models.insert(config->model);
  }
  CHECK(models ==
        std::set<std::string>{"popularity", "item_knn", "ease", "ials", "bpr", "sasrec", "two_tower", "dcn"});
}
