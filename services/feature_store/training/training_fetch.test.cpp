#include "services/feature_store/client/training_fetch.hpp"

#include "services/feature_store/testing/training_store.hpp"

#include "common/testing/temp_dir.hpp"

#include <fstream>

using namespace troupe;
using namespace troupe::feature_store;
using namespace troupe::feature_store::testing;

namespace fs = std::filesystem;

namespace {

template <class T>
std::string why(const expected<T>& result) {
  return result ? std::string{} : render(result.error());
}

} // namespace

TEST_CASE("a training set is fetched by pages, is one only when it is whole, and is not fetched twice") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto made = keep_clicks(*store.kept, "clicks", 300, "rows_per_part = 100\n");
  auto manifest = kept_manifest(*store.client, "clicks");
  REQUIRE_MESSAGE(manifest, why(manifest));
  CHECK(manifest->text == made.text);
  fetch_progress last;
  fetch_options options;
  options.tell = [&](const fetch_progress& now) {
    CHECK(!fs::exists(dir / "out" / "manifest.json"));
    last = now;
    return true;
  };

  auto check = fetch_training_set(*store.client, *manifest, dir / "out", options);

  REQUIRE_MESSAGE(check, why(check));
  CHECK(check->same);
  CHECK(check->rows == 300);
  CHECK(verify_training_set(dir / "out")->same);
  CHECK(read_training_manifest(dir / "out")->text == made.text);
  CHECK(!fs::exists(dir / "out" / ".fetch"));
  CHECK(last.bytes_total > 0);
  CHECK(last.bytes + made.text.size() == last.bytes_total);
  auto asked = store.pages.load();
  store.stop();
  CHECK(fetch_training_set(*store.client, *manifest, dir / "out"));
  CHECK(store.pages == asked);
  auto other = build_clicks(dir / "other", "clicks", 20);
  auto refused = fetch_training_set(*store.client, *manifest, dir / "other");
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::conflict);
  CHECK(refused.error().text.find(other.content_sha256) != std::string::npos);
}

TEST_CASE("a fetch that was cut off goes on where it was, and waits for a feature store that is away") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  keep_clicks(*store.kept, "clicks", 300, "rows_per_part = 100\n");
  auto manifest = *kept_manifest(*store.client, "clicks");
  fetch_options options;
  std::uint64_t before = 0;
  options.tell = [&](const fetch_progress& now) {
    before = now.bytes;
    return now.bytes < 2'000;
  };
  auto cut = fetch_training_set(*store.client, manifest, dir / "out", options);
  REQUIRE(!cut);
  CHECK(cut.error().code == ec::canceled);
  CHECK(!read_training_manifest(dir / "out"));

  // The feature store goes down while pages come, and comes back while it is waited for.
  bool waited = false;
  std::uint64_t first = 0;
  int told = 0;
  options.tell = [&](const fetch_progress& now) {
    if (first == 0)
      first = now.bytes;
    if (++told == 3)
      store.stop();
    if (!now.waits_for.empty() && !std::exchange(waited, true))
      store.start();
    return true;
  };
  auto check = fetch_training_set(*store.client, manifest, dir / "out", options);

  REQUIRE_MESSAGE(check, why(check));
  CHECK(check->same);
  CHECK(waited);
  CHECK(first > 0); // What was there counted from the start.
  store.stop();
  options.patience = std::chrono::milliseconds{0};
  auto gone = fetch_training_set(*store.client, manifest, dir / "elsewhere", options);
  REQUIRE(!gone);
  CHECK(gone.error().code == ec::unavailable);
  CHECK(gone.error().text.find("clicks") != std::string::npos);
}

TEST_CASE("what was damaged on the way is fetched again, and what is damaged at its source is refused") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto made = keep_clicks(*store.kept, "clicks", 300, "rows_per_part = 100\n");
  auto half = dir / "out" / ".fetch";
  fs::create_directories(half);
  std::ofstream{half / "manifest.json", std::ios::binary} << made.text;
  std::ofstream{half / made.parts[0], std::ios::binary} << std::string(100, 'x');
  std::ofstream{half / made.parts[1], std::ios::binary} << std::string(1'000'000, 'x');

  auto mended = fetch_training_set(*store.client, made, dir / "out");
  REQUIRE_MESSAGE(mended, why(mended));
  CHECK(mended->same);

  auto other = build_clicks(dir / "other", "clicks", 299, "rows_per_part = 100\n");
  fs::copy_file(dir / "other" / made.parts[2], dir / "kept" / "clicks" / made.parts[2],
                fs::copy_options::overwrite_existing);
  store.kept = *training_set_repository::open(dir / "kept"); // Sizes are those of the files again.
  auto refused = fetch_training_set(*store.client, made, dir / "again");
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::corrupt);
  CHECK(!read_training_manifest(dir / "again"));
  CHECK(!fs::exists(dir / "again" / ".fetch"));
}

TEST_CASE("a set that is built again while it is fetched ends the fetch, with both hashes") {
  troupe::testing::temp_dir dir;
  training_store store{dir.path()};
  auto made = keep_clicks(*store.kept, "clicks", 300);
  std::string now;
  store.before_page = [&](int page) {
    if (page == 2)
      now = keep_clicks(*store.kept, "clicks", 200).content_sha256;
  };

  auto cut = fetch_training_set(*store.client, made, dir / "out");

  REQUIRE(!cut);
  CHECK(cut.error().code == ec::conflict);
  CHECK(cut.error().text.find(made.content_sha256) != std::string::npos);
  CHECK(cut.error().text.find(now) != std::string::npos);
  auto none = kept_manifest(*store.client, "none");
  REQUIRE(!none);
  CHECK(none.error().code == ec::not_found);
  CHECK(none.error().text.find("training-set list") != std::string::npos);
}
