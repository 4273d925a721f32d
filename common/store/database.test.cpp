#include "common/store/database.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <fstream>
#include <random>

using namespace troupe;
using namespace troupe::store;

namespace {

options two_families() {
  options opts;
  opts.families = {"small", "large"};
  opts.large_values = {"large"};
  opts.point_lookups = {"small"};
  opts.layout = "test 1";
  opts.write_buffer_bytes = 4 << 20;
  return opts;
}

} // namespace

TEST_CASE("a batch is written whole and found again after reopening") {
  testing::temp_dir dir;
  {
    auto db = database::open(dir / "db", two_families());
    REQUIRE(db.has_value());
    write_batch batch;
    batch.put(0, "a", "1");
    batch.put(1, "a", std::string(100'000, 'x'));
    batch.put(0, "b", "2");
    CHECK(batch.count() == 3);
    REQUIRE((*db)->write(batch, durability::synced).has_value());
    batch.clear();
    batch.erase(0, "b");
    REQUIRE((*db)->write(batch, durability::buffered).has_value());
  }

  auto db = database::open(dir / "db", two_families());
  REQUIRE(db.has_value());
  CHECK(*(*db)->find(0, "a") == "1");
  CHECK_FALSE((*db)->find(0, "b")->has_value());
  CHECK((*db)->find(1, "a")->value().size() == 100'000);
}

TEST_CASE("find_many answers in the order of its keys, across more keys than one step") {
  testing::temp_dir dir;
  auto db = database::open(dir / "db", two_families()).value();
  write_batch batch;
  std::vector<std::string> keys;
  for (int i = 0; i < 1000; ++i) {
    keys.push_back(std::to_string(i * 7919 % 1000));
    if (i % 3 == 0)
      batch.put(0, keys.back(), keys.back());
  }
  REQUIRE(db->write(batch, durability::buffered).has_value());

  std::vector<std::string_view> views{keys.begin(), keys.end()};
  auto found = db->find_many(0, views).value();

  for (std::size_t i = 0; i < keys.size(); ++i) {
    CHECK(found[i].has_value() == (i % 3 == 0));
    if (found[i])
      CHECK(*found[i] == keys[i]);
  }
}

TEST_CASE("a scan keeps to its bounds and a snapshot to its instant") {
  testing::temp_dir dir;
  auto db = database::open(dir / "db", two_families()).value();
  for (auto* key : {"a", "b", "c", "d"})
    REQUIRE(db->put(0, key, key, durability::buffered).has_value());
  auto before = db->take_snapshot();
  write_batch batch;
  batch.erase_range(0, "b", "d");
  REQUIRE(db->write(batch, durability::buffered).has_value());

  std::string now, then;
  for (auto at = db->scan(0, "b"); at.valid(); at.next())
    now += at.key();
  for (auto at = db->scan(0, "b", "d", {.at = &before}); at.valid(); at.next())
    then += at.value();
  auto last = db->scan(0);
  last.seek_at_or_before("cc");

  CHECK(now == "d");
  CHECK(then == "bc");
  REQUIRE(last.valid());
  CHECK(last.key() == "a");
  CHECK(last.check().has_value());
  CHECK(*db->find(0, "b", &before) == "b");
}

TEST_CASE("another layout, a missing store and a broken file do not open") {
  testing::temp_dir dir;
  REQUIRE(database::open(dir / "db", two_families()).has_value());
  auto newer = two_families();
  newer.layout = "test 2";
  auto absent = two_families();
  absent.create = false;

  CHECK(database::open(dir / "db", newer).error().code == ec::unsupported_version);
  CHECK(database::open(dir / "none", absent).error().code == ec::not_found);
  std::ofstream{dir / "db/CURRENT", std::ios::trunc} << "nonsense";
  CHECK_FALSE(database::open(dir / "db", two_families()).has_value());
}

TEST_CASE("a layout of before that a program reads is renamed, so that a program of before refuses it") {
  testing::temp_dir dir;
  REQUIRE(
      database::open(dir / "db", two_families()).value()->put(0, "a", "1", durability::synced).has_value());
  auto newer = two_families();
  newer.layout = "test 2";
  newer.older_layouts = {"test 1"};
  newer.point_lookups.clear(); // What a family is like may change, too.

  CHECK(*database::open(dir / "db", newer).value()->find(0, "a") == "1");

  CHECK(database::open(dir / "db", newer).has_value());
  CHECK(database::open(dir / "db", two_families()).error().code == ec::unsupported_version);
}

TEST_CASE("what was erased gives its room back when its range is compacted") {
  testing::temp_dir dir;
  auto db = database::open(dir / "db", two_families()).value();
  std::string value(100'000, 'x');
  std::minstd_rand draw{1};
  for (auto& each : value)
    each = static_cast<char>(draw() >> 8);
  for (std::uint64_t i = 0; i < 50; ++i) {
    std::string key;
    append_u64(key, i);
    REQUIRE(db->put(1, key, value, durability::buffered).has_value());
    if (i % 10 == 9)
      REQUIRE(db->flush().has_value());
  }
  auto before = db->disk_bytes();
  std::string end;
  append_u64(end, 45);
  write_batch gone;
  gone.erase_range(1, {}, end);
  REQUIRE(db->write(gone, durability::buffered).has_value());
  REQUIRE(db->compact(1, {}, end).has_value());

  CHECK(db->disk_bytes() < before / 2);
  CHECK(db->find(1, end)->value() == value);
}

TEST_CASE("keys of numbers sort as the numbers do") {
  std::string small, large;
  append_u32(small, 7);
  append_u64(small, 255);
  append_u32(large, 7);
  append_u64(large, 256);

  CHECK(small < large);
  CHECK(read_u32(large) == 7);
  CHECK(read_u64(large, 4) == 256);
  CHECK(prefix_end("ab") == "ac");
  CHECK(prefix_end("a\xff") == "b");
  CHECK(prefix_end("\xff").empty());
}

TEST_CASE("a full disk refuses writes whole, and writing goes on when there is room") {
  testing::temp_dir dir;
  std::filesystem::create_directories(dir / "disk");
  if (::mount("none", (dir / "disk").c_str(), "tmpfs", 0, "size=48m") != 0) {
    MESSAGE("skipped: mounting a tmpfs needs root");
    return;
  }
  {
    auto ballast = dir / "disk/ballast";
    {
      std::ofstream out{ballast, std::ios::binary};
      std::string block(1 << 20, 'b');
      for (int i = 0; i < 24; ++i)
        out << block;
    }
    auto db = database::open(dir / "disk/db", two_families()).value();
    std::uint64_t state = 1;
    auto noise = [&](std::size_t bytes) { // does not compress
      std::string text;
      while (text.size() < bytes)
        append_u64(text, state = state * 6364136223846793005u + 1442695040888963407u);
      return text;
    };
    int written = 0;
    expected<void> result;
    while (result && written < 1000) {
      write_batch batch;
      batch.put(0, "count", std::to_string(written + 1));
      batch.put(1, std::to_string(written), noise(200'000));
      result = db->write(batch, durability::synced);
      written += result.has_value();
    }
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == ec::disk_full);
    CHECK(written > 5);
    CHECK(*db->find(0, "count") == std::to_string(written));
    // More than the ballast leaves: a smaller one may fit into what RocksDB frees meanwhile.
    CHECK(db->put(1, "more", noise(30 << 20), durability::synced).error().code == ec::disk_full);

    std::filesystem::remove(ballast);
    auto again = db->put(0, "more", "m", durability::synced);

    CHECK_MESSAGE(again.has_value(), (again ? "" : again.error().text));
    db.reset();
    db = database::open(dir / "disk/db", two_families()).value();
    CHECK(*db->find(0, "count") == std::to_string(written));
    CHECK(*db->find(0, "more") == "m");
    for (int i = 0; i < written; ++i)
      CHECK(db->find(1, std::to_string(i))->has_value());
  }
  ::umount((dir / "disk").c_str());
}
