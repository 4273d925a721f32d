#include "services/ingest/log/dedup_index.hpp"

#include "services/ingest/log/log_layout.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <thread>

using namespace troupe;
using namespace troupe::ingest;

namespace {

hash128 id(std::uint64_t number) {
  return hash_wide(std::to_string(number));
}

/// An index over a store of its own. Runs are of 100 ids.
struct held_ids {
  testing::temp_dir dir;
  std::unique_ptr<store::database> db;
  std::unique_ptr<dedup_index> index;
  dedup_options options{.run_ids = 100};

  held_ids() { open(); }

  void open() {
    index.reset();
    db.reset();
    store::options of_store;
    of_store.families = {"log", "dedup", "source", "quarantine", "meta", "keys"};
    of_store.layout = "event-log 1";
    db = store::database::open(dir / "log", of_store).value();
    index = dedup_index::open(*db, dir / "log/ids", options).value();
  }

  /// How many of `first` to `last` are new; they are known from now on, if `write`.
  std::size_t meet(std::uint64_t first, std::uint64_t last, bool write = true) {
    std::vector<hash128> ids;
    for (auto i = first; i < last; ++i)
      ids.push_back(id(i));
    auto known = index->look_up(ids).value();
    std::size_t fresh = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      auto content = dedup_index::content_of(7 * (first + i));
      auto held = index->meet(ids[i], content, known[i]);
      CHECK((!held || *held == content));
      fresh += !held;
    }
    store::write_batch batch;
    REQUIRE(index->add_to(batch));
    if (write) {
      REQUIRE(db->write(batch, store::durability::buffered));
      index->committed();
    } else {
      index->rolled_back();
    }
    return fresh;
  }

  std::size_t files() const {
    std::size_t count = 0;
    for (auto& each : std::filesystem::directory_iterator{dir / "log/ids"})
      count += each.path().extension() == ".ids";
    return count;
  }
};

} // namespace

TEST_CASE("a table of ids finds what was added and not erased") {
  dedup_table table;
  std::map<std::uint64_t, std::uint32_t> peer;
  std::mt19937_64 random{7};

  for (int i = 0; i < 20'000; ++i) {
    auto number = random() % 3'000 + 1;
    auto key = number % 2 ? number : number << 40; // Many in one slot.
    if (random() % 3 == 0) {
      table.erase(key);
      peer.erase(key);
    } else {
      auto content = static_cast<std::uint32_t>(random());
      auto [at, fresh] = peer.try_emplace(key, content);
      auto held = table.add({key, content});
      REQUIRE(held.has_value() != fresh);
      REQUIRE((fresh || *held == at->second));
    }
  }

  CHECK(table.size() == peer.size());
  for (std::uint64_t number = 1; number <= 3'000; ++number)
    for (auto key : {number, number << 40}) {
      auto at = peer.find(key);
      CHECK(table.find(key) == (at == peer.end() ? std::nullopt : std::optional{at->second}));
    }
  CHECK(std::ranges::is_sorted(table.sorted(), {}, &dedup_entry::id));
}

TEST_CASE("a run holds what was written, says no to nearly all else without a look, and merges with others") {
  testing::temp_dir dir;
  std::vector<std::shared_ptr<const dedup_run>> runs;
  for (std::uint64_t part = 0; part < 3; ++part) {
    dedup_table table;
    for (std::uint64_t i = 0; i < 30'000 * part + 5; ++i)
      table.add({id(part * 1'000'000 + i).high, static_cast<std::uint32_t>(i + part)});
    auto path = dir / std::to_string(part);
    REQUIRE(write_run(path, table.sorted()));
    runs.push_back(dedup_run::open(path).value());
    CHECK(runs.back()->size() == table.size());
  }
  REQUIRE(merge_runs(dir / "merged", runs));
  auto merged = dedup_run::open(dir / "merged").value();

  CHECK(merged->size() == 90'015);
  CHECK(merged->disk_bytes() < merged->size() * 14);
  for (std::uint64_t part = 0; part < 3; ++part)
    for (std::uint64_t i = 0; i < 30'000 * part + 5; ++i) {
      auto key = id(part * 1'000'000 + i).high;
      REQUIRE(runs[part]->find(key) == static_cast<std::uint32_t>(i + part));
      REQUIRE(merged->find(key) == static_cast<std::uint32_t>(i + part));
      REQUIRE_FALSE(merged->find(key + 1));
    }
  std::filesystem::resize_file(dir / "merged", merged->disk_bytes() - 1);
  CHECK(dedup_run::open(dir / "merged").error().code == ec::corrupt);
}

TEST_CASE("ids are known in memory, in runs and in merged runs, and after each reopening") {
  held_ids held;
  for (std::uint64_t i = 0; i < 200; ++i) {
    REQUIRE(held.meet(i * 37, i * 37 + 37) == 37);
    if (i % 50 == 49)
      held.open();
  }

  CHECK(held.meet(0, 7400) == 0);
  held.open();
  CHECK(held.meet(0, 7401) == 1);
}

TEST_CASE("runs of like size are merged, and their files go") {
  held_ids held;
  std::uint64_t next = 0;
  for (; next < 30'000 || (held.files() > 40 && next < 200'000); next += 10)
    REQUIRE(held.meet(next, next + 10) == 10);

  CHECK(held.files() <= 40);
  CHECK(held.meet(0, next) == 0);
}

TEST_CASE("what was not written is not known") {
  held_ids held;
  REQUIRE(held.meet(0, 1'000) == 1'000);

  CHECK(held.meet(500, 1'500, false) == 500);
  CHECK(held.meet(500, 1'500, false) == 500);
  held.open();
  CHECK(held.meet(500, 1'500) == 500);
}

TEST_CASE("an index that is full because no run can be written takes ids again when one can") {
  held_ids held;
  auto folder = held.dir / "log/ids", away = held.dir / "away";
  std::filesystem::rename(folder, away);
  auto try_some = [&](std::uint64_t first) -> expected<void> {
    std::vector<hash128> ids;
    for (auto i = first; i < first + 50; ++i)
      ids.push_back(id(i));
    auto known = held.index->look_up(ids).value();
    for (std::size_t i = 0; i < ids.size(); ++i)
      held.index->meet(ids[i], dedup_index::content_of(7 * (first + i)), known[i]);
    store::write_batch batch;
    auto added = held.index->add_to(batch);
    if (!added) {
      held.index->rolled_back();
      return added;
    }
    REQUIRE(held.db->write(batch, store::durability::buffered));
    held.index->committed();
    return {};
  };
  std::uint64_t taken = 0;
  while (taken < 1'000 && try_some(taken))
    taken += 50;
  CHECK(taken < 1'000); // Memory is bounded.

  std::filesystem::rename(away, folder);
  std::this_thread::sleep_for(std::chrono::milliseconds{1'050});

  CHECK(try_some(taken));
  CHECK(held.meet(0, taken + 50) == 0);
  held.open();
  CHECK(held.meet(0, taken + 50) == 0);
}

TEST_CASE("a run goes when its ids have been known for long enough, and an old key with them") {
  held_ids held;
  store::write_batch old;
  old.put(dedup_family, view(key_of(id(1))), number_key(7));
  REQUIRE(held.db->write(old, store::durability::buffered));
  store::write_batch none; // As of before: nothing said of runs.
  none.erase(meta_family, dedup_state_key);
  REQUIRE(held.db->write(none, store::durability::buffered));
  held.options.keep_for = std::chrono::seconds{1};
  held.open();
  CHECK(held.meet(0, 1'000) == 999);
  auto begin = deadline::clock::now();
  while (held.files() == 0) // Written by the next commit that finds it made.
    held.meet(5'000, 5'001);

  while (deadline::clock::now() - begin < std::chrono::milliseconds{1'100})
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  held.meet(5'000, 5'001);

  CHECK_FALSE(held.index->holds_old());
  CHECK(held.meet(0, 1'000) == 1'000);
  held.open();
  CHECK(held.meet(0, 1'000) == 0);
}
