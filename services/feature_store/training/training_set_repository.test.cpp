#include "services/feature_store/training/training_set_repository.hpp"

#include "services/feature_store/testing/training_store.hpp"
#include "services/feature_store/training/training_jobs.hpp"

#include "common/metrics/metrics.hpp"
#include "common/testing/temp_dir.hpp"

#include <fstream>
#include <future>
#include <iterator>
#include <thread>

using namespace troupe;
using namespace troupe::feature_store;
using namespace troupe::feature_store::testing;

namespace fs = std::filesystem;

namespace {

/// The jobs of a feature store over a log that grows when the test says so.
struct jobs_here {
  explicit jobs_here(const fs::path& folder)
      : kept{*training_set_repository::open(folder)}, jobs{click_views(),
                                                           [this] {
                                                             opened.set_value();
                                                             if (hold.valid())
                                                               hold.wait();
                                                             return std::make_unique<ingest::memory_stream>(
                                                                 clicks(events), 1);
                                                           },
                                                           kept, std::uint64_t{64} << 20,
                                                           registry.counter("rows", "")} {}

  /// Starts and waits for the end; the manifest, or the error.
  expected<std::string> build(const std::string& spec) {
    opened = {};
    TROUPE_TRY(begun, jobs.start(spec, ""));
    std::string id = flatbuffers::GetRoot<wire::TrainingStatus>(begun.data())->training_id()->str();
    for (;; std::this_thread::yield()) {
      TROUPE_TRY(now, jobs.query(id, false));
      auto* status = flatbuffers::GetRoot<wire::TrainingStatus>(now.data());
      if (status->state() == wire::TrainingState::done)
        return status->manifest()->str();
      if (status->state() != wire::TrainingState::running)
        return fail(ec::internal, "{}", status->error()->str());
    }
  }

  metrics::registry registry;
  std::shared_ptr<training_set_repository> kept;
  int events = 40;
  std::promise<void> opened;
  std::shared_future<void> hold;
  training_jobs jobs;
};

std::string all_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

TEST_CASE(
    "a training set is kept by name, found done while it is up to date, and replaced by a complete one") {
  troupe::testing::temp_dir dir;
  jobs_here store{dir / "sets"};

  auto first = store.build(click_spec("clicks"));
  REQUIRE_MESSAGE(first, (first ? std::string{} : render(first.error())));
  auto made = fs::last_write_time(dir / "sets" / "clicks" / "manifest.json");
  CHECK(store.build(click_spec("clicks")) == first);
  CHECK(fs::last_write_time(dir / "sets" / "clicks" / "manifest.json") == made);
  auto other = store.build(click_spec("clicks", "ages = true\n"));
  REQUIRE(other);
  CHECK(*other != *first);
  CHECK(all_of(dir / "sets" / "clicks" / "manifest.json") == *other);
  store.events = 60; // the log has grown
  auto grown = store.build(click_spec("clicks", "ages = true\n"));
  REQUIRE(grown);
  CHECK(store.kept->find("clicks")->rows == 60);
  auto then = store.build(click_spec("clicks", "offsets = [40]\n"));
  REQUIRE(then);

  CHECK(store.kept->find("clicks")->content_sha256 == parse_training_manifest(*first, "")->content_sha256);
  CHECK(verify_training_set(dir / "sets" / "clicks")->same);
  auto nameless = store.build(click_spec("../clicks"));
  REQUIRE(!nameless);
  CHECK(nameless.error().code == ec::invalid_argument);
}

TEST_CASE("a build that fails, or was begun for another specification, leaves the kept set as it is") {
  troupe::testing::temp_dir dir;
  jobs_here store{dir / "sets"};
  auto first = store.build(click_spec("clicks"));
  REQUIRE(first);

  auto failed = store.build("name = \"clicks\"\nfeatures = [\"a.gone\"]\n[labels]\nevent = \"click\"\n");
  REQUIRE(!failed);
  CHECK(all_of(dir / "sets" / "clicks" / "manifest.json") == *first);
  // What was begun under the name with other features gives way.
  auto begun = parse_training_spec(click_spec("clicks", "rows_per_part = 7\n"), "spec");
  training_options options;
  int calls = 0;
  options.tell = [&](const training_progress&) { return ++calls < 3; };
  ingest::memory_stream log{clicks(40), 1};
  REQUIRE(!build_training_set(*begun, click_views(), log, store.kept->workshop("clicks"), options));
  CHECK(all_of(dir / "sets" / "clicks" / "manifest.json") == *first);
  auto next = store.build(click_spec("clicks", "ages = true\n"));

  REQUIRE_MESSAGE(next, (next ? std::string{} : render(next.error())));
  CHECK(all_of(dir / "sets" / "clicks" / "manifest.json") == *next);
}

TEST_CASE("a build of a kept set goes on with the parts that it had written when it was cut off") {
  troupe::testing::temp_dir dir;
  jobs_here store{dir / "sets"};
  auto text = click_spec("clicks", "rows_per_part = 7\n");
  auto spec = parse_training_spec(text, "spec");
  training_options options;
  options.tell = [](const training_progress& now) { return now.rows == 0; };
  ingest::memory_stream log{clicks(40), 1};
  REQUIRE(!build_training_set(*spec, click_views(), log, store.kept->workshop("clicks"), options));
  auto part = store.kept->workshop("clicks") / "part-00000.parquet";
  REQUIRE(fs::exists(part));
  auto written = fs::last_write_time(part);
  store.events = 60; // More came meanwhile: the build ends where it was to end.

  auto resumed = store.build(text);

  REQUIRE_MESSAGE(resumed, (resumed ? std::string{} : render(resumed.error())));
  CHECK(fs::last_write_time(dir / "sets" / "clicks" / "part-00000.parquet") == written);
  CHECK(*resumed == build_clicks(dir / "undisturbed", "clicks", 40, "rows_per_part = 7\n").text);
  CHECK(parse_training_manifest(*store.build(text), "")->rows == 60);
}

TEST_CASE("a build that goes on collects again what the disk has lost of its rows") {
  for (bool all : {true, false}) {
    CAPTURE(all);
    troupe::testing::temp_dir dir;
    auto spec = parse_training_spec(click_spec("clicks", "rows_per_part = 7\n"), "spec");
    training_options options;
    options.tell = [](const training_progress& now) { return now.rows == 0; };
    ingest::memory_stream log{clicks(40), 1};
    REQUIRE(!build_training_set(*spec, click_views(), log, dir / "torn", options));
    auto rows = dir / "torn" / ".work" / "rows-00000";
    fs::resize_file(rows, all ? 0 : fs::file_size(rows) / 2);

    auto resumed = build_training_set(*spec, click_views(), log, dir / "torn");

    REQUIRE_MESSAGE(resumed, (resumed ? std::string{} : render(resumed.error())));
    CHECK(*resumed == build_clicks(dir / "undisturbed", "clicks", 40, "rows_per_part = 7\n").text);
  }
}

TEST_CASE("a kept set that was being replaced when the feature store was killed is whole after its restart") {
  troupe::testing::temp_dir dir;
  auto old = build_clicks(dir / "old", "clicks", 20), fresh = build_clicks(dir / "fresh", "clicks", 40);
  auto hurt = dir / "hurt"; // The power went: the disk has not all of it.
  fs::copy(dir / "fresh", hurt, fs::copy_options::recursive);
  fs::resize_file(hurt / fresh.parts[0], fs::file_size(hurt / fresh.parts[0]) / 2);
  auto after = [&](bool in_place, bool aside, bool built, const char* from_build = "fresh") {
    auto folder = dir / "sets";
    fs::remove_all(folder);
    for (auto& [there, from, to] : {std::tuple{in_place, "old", "clicks"},
                                    {aside, "old", ".old/clicks"},
                                    {built, from_build, ".building/clicks"}})
      if (there) {
        fs::create_directories(folder / to);
        fs::copy(dir / from, folder / to, fs::copy_options::recursive);
      }
    auto kept = training_set_repository::open(folder);
    REQUIRE_MESSAGE(kept, (kept ? std::string{} : render(kept.error())));
    REQUIRE((*kept)->find("clicks"));
    CHECK(!fs::exists(folder / ".old" / "clicks"));
    CHECK(!fs::exists(folder / ".building" / "clicks"));
    CHECK(verify_training_set(folder / "clicks")->same);
    return (*kept)->find("clicks")->content_sha256;
  };

  CHECK(after(true, false, true) == fresh.content_sha256); // built, not yet in its place
  CHECK(after(false, true, true) == fresh.content_sha256); // between the two renames
  CHECK(after(false, true, false) == old.content_sha256);  // the new one was lost: the old one comes back
  CHECK(after(true, true, false) == old.content_sha256);   // before what stood aside was removed
  CHECK(after(true, false, true, "hurt") == old.content_sha256);
  CHECK(after(false, true, true, "hurt") == old.content_sha256);
}

TEST_CASE("a kept set is read by bounded pages, of its own files and of the content asked for") {
  troupe::testing::temp_dir dir;
  auto kept = *training_set_repository::open(dir / "sets");
  auto made = keep_clicks(*kept, "clicks", 40);
  std::ofstream{dir / "secret"} << "secret";
  std::ofstream{dir / "sets" / "clicks" / "other.txt"} << "not in the manifest";
  auto code = [&](const std::string& name, const std::string& file, std::uint64_t offset, std::size_t bytes,
                  const std::string& content = {}) {
    auto got = kept->read(name, file, offset, bytes, content);
    return got ? ec{} : got.error().code;
  };

  std::string text;
  for (std::uint64_t size = 1; text.size() < size;) {
    auto page = kept->read("clicks", "manifest.json", text.size(), 100, made.content_sha256);
    REQUIRE(page);
    CHECK(page->bytes.size() <= 100);
    size = page->size;
    text += page->bytes;
  }
  CHECK(text == made.text);
  auto part = kept->read("clicks", made.parts[0], 0, training_set_repository::most_bytes, "");
  REQUIRE(part);
  CHECK(part->bytes == all_of(dir / "sets" / "clicks" / made.parts[0]));
  CHECK(part->set_bytes == part->size + text.size());
  CHECK(kept->read("clicks", "manifest.json", text.size(), 1, "")->bytes.empty());

  CHECK(code("clicks", "manifest.json", text.size() + 1, 1) == ec::invalid_argument);
  CHECK(code("clicks", "manifest.json", 0, training_set_repository::most_bytes + 1) == ec::invalid_argument);
  CHECK(code("clicks", "manifest.json", 0, 0) == ec::invalid_argument);
  for (auto* file : {"other.txt", "../../secret", "../clicks/manifest.json", "/etc/passwd", "", "."})
    CHECK(code("clicks", file, 0, 10) == ec::not_found);
  for (auto* name : {"", ".", "..", "../sets/clicks", "clicks/", "/clicks", ".building", "a\nb"})
    CHECK(code(name, "manifest.json", 0, 10) == ec::invalid_argument);
  CHECK(code(std::string(129, 'a'), "manifest.json", 0, 10) == ec::invalid_argument);
  CHECK(code("gone", "manifest.json", 0, 10) == ec::not_found);
  CHECK(code("clicks", "manifest.json", 0, 10, std::string(64, 'a')) == ec::conflict);
  fs::remove(dir / "sets" / "clicks" / made.parts[0]);
  fs::create_symlink(dir / "secret", dir / "sets" / "clicks" / made.parts[0]);
  CHECK(code("clicks", made.parts[0], 0, 6) == ec::io_failed);
}

TEST_CASE("kept sets are listed by pages in the order of their names, and one that is removed is gone") {
  troupe::testing::temp_dir dir;
  {
    auto kept = *training_set_repository::open(dir / "sets");
    for (auto* name : {"c", "a", "b"})
      keep_clicks(*kept, name, 8);
    bool last = true;
    auto page = kept->list("", 2, last);
    REQUIRE(page.size() == 2);
    CHECK(!last);
    CHECK(page[0].name == "a");
    CHECK(page[0].rows == 8);
    CHECK(page[0].bytes > 0);
    CHECK(page[0].made_at > 1'600'000'000'000'000);
    page = kept->list(page.back().name, 2, last);
    REQUIRE(page.size() == 1);
    CHECK(last);
    CHECK(page[0].name == "c");

    auto gone = kept->remove("b");
    REQUIRE(gone);
    CHECK(gone->rows == 8);
    CHECK(!fs::exists(dir / "sets" / "b"));
    CHECK(kept->remove("b").error().code == ec::not_found);
    CHECK(kept->remove("..").error().code == ec::invalid_argument);
  }
  fs::create_directories(dir / "sets" / "broken");
  std::ofstream{dir / "sets" / "broken" / "manifest.json"} << "{}";

  auto again = *training_set_repository::open(dir / "sets");
  bool last = false;
  CHECK(again->list("", 0, last).size() == 2);
  CHECK(again->remove("broken"));
  CHECK(!fs::exists(dir / "sets" / "broken"));
}

TEST_CASE("a training set is not removed while it is being built") {
  troupe::testing::temp_dir dir;
  jobs_here store{dir / "sets"};
  REQUIRE(store.build(click_spec("clicks")));
  std::promise<void> go;
  store.hold = go.get_future().share();
  store.opened = {};
  REQUIRE(store.jobs.start(click_spec("clicks", "ages = true\n"), ""));
  store.opened.get_future().wait();

  auto refused = store.jobs.remove("clicks");
  go.set_value();
  REQUIRE(store.build(click_spec("clicks", "ages = true\n")));

  REQUIRE(!refused);
  CHECK(refused.error().code == ec::conflict);
  CHECK(store.jobs.remove("clicks"));
}
