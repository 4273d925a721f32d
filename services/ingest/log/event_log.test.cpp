#include "services/ingest/log/event_log.hpp"

#include "services/ingest/log/log_layout.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <sys/mount.h>

#include <fstream>
#include <future>

using namespace troupe;
using namespace troupe::ingest;

namespace {

record event(int number, std::int64_t second = 0) {
  record rec;
  rec.id = "e" + std::to_string(number);
  rec.type = "view";
  rec.user = "u" + std::to_string(number % 37);
  rec.item = "i" + std::to_string(number % 11);
  rec.event_time = from_micros((1'000'000 + second) * 1'000'000);
  rec.value = number;
  return rec;
}

append_request request_of(int first, int last) {
  append_request request;
  request.source = "test";
  for (int i = first; i < last; ++i)
    request.records.push_back(event(i, i));
  return request;
}

std::unique_ptr<event_log> open_log(const testing::temp_dir& dir, log_options opts = {}) {
  opts.write_buffer_bytes = 4 << 20;
  auto log = event_log::open(dir / "log", opts);
  REQUIRE_MESSAGE(log.has_value(), (log ? "" : render(log.error())));
  return std::move(*log);
}

std::vector<record> all_of(const event_log& log, std::uint32_t partition, std::size_t credit = 1 << 20) {
  std::vector<record> found;
  for (;;) {
    auto page = log.fetch(partition, found.size(), credit).value();
    if (page.batches.empty())
      return found;
    for (auto& bytes : page.batches) {
      auto block = batch::open(bytes).value();
      CHECK(block.partition() == partition);
      REQUIRE(block.base_offset() <= found.size());
      for (auto i = found.size() - block.base_offset(); i < block.size(); ++i)
        found.push_back(to_record(block[i]));
    }
  }
}

} // namespace

TEST_CASE("offsets are dense in every partition and survive a reopening") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  auto first = log->append(request_of(0, 3000));
  REQUIRE(first.has_value());
  CHECK(first->added.events == 3000);
  log.reset();
  log = open_log(dir);
  REQUIRE(log->append(request_of(3000, 5000)).has_value());

  std::size_t total = 0;
  for (std::uint32_t p = 0; p < log->partitions(); ++p) {
    auto found = all_of(*log, p, 1);
    CHECK(found.size() == log->next_offset(p));
    for (auto& rec : found) {
      CHECK(partition_of(rec.user, 8) == p);
      CHECK(micros_of(rec.ingest_time) > 0);
    }
    total += found.size();
  }

  CHECK(total == 5000);
  CHECK(log->state().total.events == 5000);
}

TEST_CASE(
    "the same id with the same content adds nothing, with other content it goes to quarantine, each once") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  REQUIRE(log->append(request_of(0, 100)).has_value());
  auto changed = request_of(50, 150);
  changed.records[0].value = 4711;
  changed.records.push_back(changed.records.back()); // twice in one request

  auto result = log->append(changed).value();
  auto again = log->append(changed).value();

  CHECK(result.added.events == 50);
  CHECK(result.added.duplicates == 50);
  CHECK(result.added.quarantined == 1);
  CHECK(result.rows[0].outcome == wire::Outcome::quarantined);
  CHECK(result.rows[0].rule == "duplicate_id");
  CHECK(result.rows[1].outcome == wire::Outcome::duplicate);
  CHECK(again.added.events == 0);
  CHECK(again.added.quarantined == 0);
  auto rows = log->quarantine().list({}).value();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].number == 1);
  CHECK(rows[0].raw.find("4711.0") != std::string::npos);
}

TEST_CASE("an event, a user and an item of one id are three records, each known again after a reopening") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  append_request request;
  for (auto kind : {record_kind::event, record_kind::user, record_kind::item}) {
    auto& rec = request.records.emplace_back(event(1));
    rec.kind = kind;
    if (kind != record_kind::event)
      rec.type.clear(), rec.value.reset();
    (kind == record_kind::item ? rec.user : rec.item).clear();
    if (kind == record_kind::event)
      rec.item = "i1";
  }
  auto changed = request;
  changed.records[2].attributes = {{"title", std::string{"another"}}};

  auto first = log->append(request).value();
  log.reset();
  log = open_log(dir);
  auto again = log->append(changed).value();

  CHECK(first.added.events == 1);
  CHECK(first.added.users == 1);
  CHECK(first.added.items == 1);
  CHECK(again.added.duplicates == 2);
  CHECK(again.rows[2].reason == "item e1 is in the log with other content");
}

TEST_CASE("position, records and refused rows of a source arrive together, and a batch cannot come twice") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  auto request = request_of(0, 10);
  request.source_key = "import/a";
  request.progress.position = "after 10";
  request.progress.rows = 11;
  request.refused.push_back({"file.csv", "a", 11, 400, "parse", "", "no such column", "x,y"});
  REQUIRE(log->append(request).has_value());

  auto twice = log->append(request);
  log.reset();
  log = open_log(dir);
  auto state = log->positions().find("import/a").value();

  CHECK(twice.error().code == ec::conflict);
  REQUIRE(state.has_value());
  CHECK(state->position == "after 10");
  CHECK(state->batches == 1);
  CHECK(state->added.events == 10);
  CHECK(state->added.quarantined == 1);
  CHECK(log->positions().list("import/").value().size() == 1);
  CHECK(log->quarantine().list({.rule = "parse"}).value().size() == 1);
  CHECK(log->quarantine().list({.rule = "range"}).value().empty());
  REQUIRE(log->positions().forget("import/a").has_value());
  CHECK_FALSE(log->positions().find("import/a").value().has_value());
}

TEST_CASE("events older than the watermark of their partition are counted as late and are applied") {
  testing::temp_dir dir;
  auto log = open_log(dir, {.partitions = 1, .allowed_lateness = std::chrono::seconds{10}});
  append_request request;
  request.records = {event(1, 100), event(2, 95), event(3, 89), event(4, 120)};

  auto result = log->append(request).value();

  CHECK(result.added.events == 4);
  CHECK(result.added.late == 1);
  CHECK(log->state().partitions[0].watermark == micros_of(event(4, 120).event_time));
  CHECK(all_of(*log, 0).size() == 4);
}

TEST_CASE("appends that come together are committed together, in order") {
  testing::temp_dir dir;
  auto log = open_log(dir, {.partitions = 1});
  std::vector<std::future<std::uint64_t>> answers;
  for (int i = 0; i < 200; ++i) {
    auto promise = std::make_shared<std::promise<std::uint64_t>>();
    answers.push_back(promise->get_future());
    auto request = std::make_shared<append_request>(request_of(i * 5, i * 5 + 5));
    request->source_key = "s";
    request->batch = static_cast<std::uint64_t>(i);
    log->append(request, [promise](expected<append_result> result) {
      promise->set_value(result ? result->added.events : 0);
    });
  }
  for (auto& each : answers)
    CHECK(each.get() == 5);

  auto found = all_of(*log, 0);
  REQUIRE(found.size() == 1000);
  for (int i = 0; i < 1000; ++i)
    CHECK(found[static_cast<std::size_t>(i)].id == "e" + std::to_string(i));
}

TEST_CASE("what waits is bounded") {
  testing::temp_dir dir;
  auto log = open_log(dir, {.group_bytes = 1, .queue_bytes = 1});
  std::vector<std::future<ec>> answers;
  for (int i = 0; i < 50; ++i) {
    auto promise = std::make_shared<std::promise<ec>>();
    answers.push_back(promise->get_future());
    log->append(std::make_shared<append_request>(request_of(i * 10, i * 10 + 10)),
                [promise](expected<append_result> result) {
                  promise->set_value(result ? ec{} : result.error().code);
                });
  }
  std::uint64_t taken = 0, refused = 0;
  for (auto& each : answers) {
    auto code = each.get();
    CHECK((code == ec{} || code == ec::overloaded));
    ++(code == ec{} ? taken : refused);
  }

  CHECK(taken >= 1);
  CHECK(log->state().total.events == taken * 10);
  CHECK(taken + refused == 50);
}

TEST_CASE("quarantine is paged, filtered and marks what was replayed") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  append_request request;
  request.source = "f";
  for (std::uint64_t i = 1; i <= 25; ++i)
    request.refused.push_back({i % 2 ? "odd" : "even", "", i, 0, i % 5 ? "range" : "type", "value", "why",
                               "raw " + std::to_string(i)});
  REQUIRE(log->append(request).has_value());
  auto page = log->quarantine().list({.after = 10, .limit = 5}).value();
  append_request replay = request_of(0, 1);
  replay.origins = {{1, 0, "mended", page[0].number}};

  REQUIRE(log->append(replay).has_value());

  REQUIRE(page.size() == 5);
  CHECK(page[0].number == 11);
  CHECK(page[4].raw == "raw 15");
  CHECK(log->quarantine().list({.rule = "type", .source = "odd"}).value().size() == 3);
  CHECK(log->quarantine().list({.after = 10, .limit = 1}).value()[0].replayed);
  CHECK(log->quarantine().list({.open_only = true}).value().size() == 24);
}

TEST_CASE("rows in quarantine are found by the whole name of their source, or by the end of its path") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  append_request request;
  request.source = "f";
  for (auto* source : {"/data/a/ratings.csv", "/data/b/ratings.csv", "ratings.csv", "/data/old_ratings.csv"})
    request.refused.push_back({source, "", 1, 0, "type", "value", "why", source});
  REQUIRE(log->append(request).has_value());
  auto found = [&](const std::string& source) { return log->quarantine().list({.source = source})->size(); };

  CHECK(found("ratings.csv") == 3);
  CHECK(found("a/ratings.csv") == 1);
  CHECK(found("/data/a/ratings.csv") == 1);
  CHECK(found("tings.csv") == 0);
  CHECK(found("") == 4);
}

TEST_CASE("a log opens only with the number of partitions it was made with") {
  testing::temp_dir dir;
  open_log(dir);

  auto other = event_log::open(dir / "log", {.partitions = 4});

  CHECK(other.error().code == ec::conflict);
}

TEST_CASE("segments of the lake follow one another and survive a reopening") {
  testing::temp_dir dir;
  auto log = open_log(dir, {.partitions = 1});
  REQUIRE(log->append(request_of(0, 100)).has_value());

  CHECK(log->segments().add({0, 10, 20, "x", 1}, 100).error().code == ec::conflict);
  CHECK(log->segments().add({0, 0, 60, "partition=0/0-60.parquet", 7}, 100).has_value());
  CHECK(log->segments().add({0, 60, 101, "x", 1}, 100).error().code == ec::conflict);
  log.reset();
  log = open_log(dir, {.partitions = 1});

  CHECK(log->state().partitions[0].sealed == 60);
  CHECK(log->segments().list().value() ==
        std::vector<lake_segment>{{0, 0, 60, "partition=0/0-60.parquet", 7}});
}

TEST_CASE("a log that was copied while it was written opens with whole requests only") {
  testing::temp_dir dir;
  auto log = open_log(dir, {.partitions = 2});
  for (int i = 0; i < 20; ++i)
    REQUIRE(log->append(request_of(i * 100, i * 100 + 100)).has_value());
  // What a crash leaves: the files as they lie, the newest WAL cut anywhere.
  std::filesystem::copy(dir / "log", dir / "crashed", std::filesystem::copy_options::recursive);
  for (auto& entry : std::filesystem::directory_iterator{dir / "crashed"})
    if (entry.path().extension() == ".log" && entry.file_size() > 1000)
      std::filesystem::resize_file(entry.path(), entry.file_size() - 777);

  log_options opts;
  opts.partitions = 2;
  auto crashed = event_log::open(dir / "crashed", opts).value();

  auto state = crashed->state();
  CHECK(state.total.events % 100 == 0);
  CHECK(state.total.events >= 1800);
  CHECK(state.total.events < 2000);
  CHECK(all_of(*crashed, 0).size() + all_of(*crashed, 1).size() == state.total.events);
  auto again = crashed->append(request_of(0, 2000)).value();
  CHECK(again.added.events + state.total.events == 2000);
}

TEST_CASE("on a full disk no request is half in the log, and appending goes on when there is room") {
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
    log_options opts;
    opts.write_buffer_bytes = 4 << 20;
    auto log = event_log::open(dir / "disk/log", opts).value();
    auto batch_of = [](std::uint64_t number) {
      auto request = request_of(static_cast<int>(number) * 1000, static_cast<int>(number) * 1000 + 1000);
      request.source_key = "s";
      request.batch = number;
      for (auto& rec : request.records) {
        std::string noise;
        for (auto seed = hash64(rec.id); noise.size() < 60; seed = hash64(std::string_view{noise}))
          noise += to_hex(hash128{seed, seed});
        rec.attributes.push_back({"noise", noise});
      }
      return request;
    };
    std::uint64_t taken = 0;
    expected<append_result> result;
    while (taken < 500 && (result = log->append(batch_of(taken))))
      ++taken;
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == ec::disk_full);
    CHECK(taken > 5);
    CHECK(log->state().total.events == taken * 1000);

    std::filesystem::remove(ballast);
    auto again = log->append(batch_of(taken));

    CHECK_MESSAGE(again.has_value(), (again ? "" : render(again.error())));
    log.reset();
    log = event_log::open(dir / "disk/log", opts).value();
    CHECK(log->state().total.events == (taken + 1) * 1000);
    CHECK(log->positions().find("s").value()->batches == taken + 1);
    std::size_t total = 0;
    for (std::uint32_t p = 0; p < 8; ++p)
      total += all_of(*log, p).size();
    CHECK(total == (taken + 1) * 1000);
  }
  ::umount((dir / "disk").c_str());
}

TEST_CASE("a log that is packed, trimmed and opened again reads as it did, from any offset on") {
  testing::temp_dir dir;
  std::vector<record> written;
  auto read_all = [&](const event_log& log, std::uint64_t from, std::size_t max_bytes) {
    std::vector<record> found;
    while (from < log.next_offset(0)) {
      auto page = log.fetch(0, from, max_bytes);
      REQUIRE_MESSAGE(page, page.error().text);
      REQUIRE_FALSE(page->batches.empty());
      auto got = each_record(*page, 0, from, log.next_offset(0), [&](auto& each) -> expected<void> {
        found.push_back(to_record(each));
        return {};
      });
      REQUIRE(got.has_value());
    }
    return found;
  };
  std::vector<record> before;
  {
    auto log = open_log(dir, {.partitions = 1});
    for (int i = 0; i < 30; ++i) {
      append_request request;
      for (int k = 0; k < 500; ++k)
        request.records.push_back(event(i * 500 + k));
      REQUIRE(log->append(request).has_value());
    }
    before = read_all(*log, 0, 1'000'000);
    REQUIRE(before.size() == 15'000);
    REQUIRE(log->pack_due());

    while (*log->pack(1)) {
    }

    CHECK_FALSE(log->pack_due());
    CHECK(read_all(*log, 0, 1'000'000) == before);
  }
  auto log = open_log(dir, {.partitions = 1});
  for (std::uint64_t from : {0, 1, 4095, 4096, 7000, 14'999})
    CHECK(read_all(*log, from, 3'000) ==
          std::vector<record>(before.begin() + static_cast<long>(from), before.end()));

  REQUIRE(log->segments().add({0, 0, 9'000, "a", 1}, 15'000).has_value());
  auto all = [](auto...) { return true; };
  CHECK(*log->trim(from_micros(0), all) == 0); // Too young.
  auto gone = log->trim(wall_now() + std::chrono::hours{1}, all);
  REQUIRE(gone.has_value());
  CHECK(*gone > 4'000);
  CHECK(*gone <= 9'000); // Whole blocks that are in the lake.
  CHECK(log->state().partitions[0].first == *gone);
  CHECK(log->fetch(0, *gone - 1, 1000).error().code == ec::not_found);
  log.reset();
  log = open_log(dir, {.partitions = 1});
  CHECK(log->state().partitions[0].first == *gone);
  CHECK(read_all(*log, *gone, 100'000) ==
        std::vector<record>(before.begin() + static_cast<long>(*gone), before.end()));
}

TEST_CASE("a log of before, whose rows lie where columns do now, is read on, appended to and packed") {
  testing::temp_dir dir;
  {
    store::options before;
    before.families = {"log", "dedup", "source", "quarantine", "meta"};
    before.large_values = {"log"};
    before.layout = "event-log 1";
    auto db = store::database::open(dir / "log", before).value();
    store::write_batch batch;
    for (int i = 0; i < 6; ++i) {
      std::vector<record> records;
      for (int k = 0; k < 1000; ++k)
        records.push_back(event(i * 1000 + k));
      batch.put(
          log_family, block_key(0, static_cast<std::uint64_t>(i) * 1000),
          encode_batch(std::span<const record>{records}, 0, static_cast<std::uint64_t>(i) * 1000).text());
    }
    log_state held;
    held.partitions.resize(1);
    held.partitions[0].next = 6000;
    batch.put(meta_family, state_key, encode(held));
    REQUIRE(db->write(batch, store::durability::synced));
  }
  auto log = open_log(dir, {.partitions = 1});
  append_request more;
  for (int k = 6000; k < 12'000; ++k)
    more.records.push_back(event(k));
  REQUIRE(log->append(more).has_value());
  auto good = [&] {
    for (std::uint64_t first : {std::uint64_t{0}, std::uint64_t{4500}, std::uint64_t{6200}}) {
      auto at = first;
      while (at < 12'000) {
        auto page = log->fetch(0, at, 100'000).value();
        REQUIRE_FALSE(page.batches.empty());
        auto read = each_record(page, 0, at, 12'000, [&](auto& each) -> expected<void> {
          REQUIRE(text_of(each.id()) == event(static_cast<int>(at)).id);
          return {};
        });
        REQUIRE(read.has_value());
      }
    }
  };

  good();
  REQUIRE(log->pack(1).value());
  good();
  REQUIRE_FALSE(log->pack(1'000'000).value());
  good();
  log.reset();
  log = open_log(dir, {.partitions = 1});
  good();
}

TEST_CASE("a log has an identity, the same when it is opened again, another when it is made anew") {
  testing::temp_dir dir;
  auto first = open_log(dir)->identity();

  CHECK(open_log(dir)->identity() == first);
  std::filesystem::remove_all(dir / "log");
  CHECK(open_log(dir)->identity() != first);
}

namespace {

/// A log as it was written before kinds were part of its keys: what it holds is known by the id alone.
std::unique_ptr<event_log> log_of_before(const testing::temp_dir& dir, const std::vector<record>& held) {
  store::options store_options;
  store_options.families = {"log", "dedup", "source", "quarantine", "meta"};
  store_options.large_values = {"log"};
  store_options.layout = "event-log 1";
  {
    auto db = store::database::open(dir / "log", store_options).value();
    store::write_batch batch;
    for (auto& each : held)
      batch.put(dedup_family, view(key_of(hash_wide(std::string_view{each.id}))),
                number_key(content_hash(each)));
    REQUIRE(db->write(batch, store::durability::synced));
  }
  return open_log(dir);
}

record item_of(int number, std::string title) {
  auto rec = event(number);
  rec.kind = record_kind::item;
  rec.type.clear(), rec.user.clear(), rec.value.reset();
  rec.attributes = {{"title", std::move(title)}};
  return rec;
}

append_request request_with(std::vector<record> records) {
  append_request request;
  request.source = "test";
  request.records = std::move(records);
  return request;
}

} // namespace

TEST_CASE(
    "in a log of before kinds were told apart events, users and items are known, with a time or without") {
  testing::temp_dir dir;
  auto timed = item_of(2, "a"), untimed = item_of(3, "b");
  untimed.event_time = {};
  auto log = log_of_before(dir, {event(1), timed, untimed});
  untimed.event_time = from_micros(9), untimed.untimed = true;

  auto first = log->append(request_with({event(1), timed, untimed})).value();
  auto again = log->append(request_with({event(1), timed, untimed})).value();

  CHECK(first.added == counts{.duplicates = 3});
  CHECK(again.added == counts{.duplicates = 3});
}

TEST_CASE(
    "in a log of before kinds were told apart an item that has changed is added once, whoever has its id") {
  testing::temp_dir dir;
  auto log = log_of_before(dir, {event(1), item_of(2, "a")});

  auto request = request_with({item_of(1, "a"), item_of(2, "b")});
  CHECK(log->append(request).value().added == counts{.items = 2});
  CHECK(log->append(request).value().added == counts{.duplicates = 2});
  CHECK(log->append(request_with({event(1)})).value().added == counts{.duplicates = 1});
}

TEST_CASE("an item of a log of before is in the way of the event of its id until it comes again") {
  testing::temp_dir dir;
  auto log = log_of_before(dir, {item_of(1, "a"), item_of(2, "b")});

  CHECK(log->append(request_with({event(1)})).value().added == counts{.quarantined = 1});
  CHECK(log->append(request_with({item_of(1, "a")})).value().added == counts{.duplicates = 1});
  CHECK(log->append(request_with({event(1), item_of(1, "a")})).value().added ==
        counts{.events = 1, .duplicates = 1});
  CHECK(log->append(request_with({item_of(2, "b"), event(2), item_of(2, "b")})).value().added ==
        counts{.events = 1, .duplicates = 2});
  log.reset();
  log = open_log(dir);
  CHECK(log->append(request_with({event(1), event(2), item_of(1, "a"), item_of(2, "b")})).value().added ==
        counts{.duplicates = 4});
}

TEST_CASE("a record without a time that comes again is the same record, whenever it comes") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  auto item = [](std::int64_t at, bool untimed) {
    append_request request;
    record rec;
    rec.kind = record_kind::item;
    rec.id = "i";
    rec.item = "i";
    rec.event_time = from_micros(at);
    rec.untimed = untimed;
    request.records.push_back(rec);
    return request;
  };

  CHECK(log->append(item(1, true)).value().added.items == 1);
  CHECK(log->append(item(2, true)).value().added.duplicates == 1);
  CHECK(log->append(item(1, false)).value().added.quarantined == 1);
}

TEST_CASE("what a log of before holds is sound with flags and times that would not enter today") {
  auto rec = item_of(1, "a");
  rec.attributes = {{"deleted", std::string{"maybe"}},
                    {"expires", std::string{"2024-03-01"}},
                    {"hidden", std::string{"True"}},
                    {"title", std::string{"a"}}};
  CHECK_FALSE(check(rec));
  CHECK(check_held(rec));
  rec.attributes[3].value = std::string{"\xff"};
  CHECK(check_held(rec).error().text == "title is not valid UTF-8");
  rec.item.clear();
  CHECK(check_held(rec).error().text == "item is missing");
}

TEST_CASE("a row without a time that was replayed, with the time that it got, is the row that comes again") {
  testing::temp_dir dir;
  auto log = open_log(dir);
  auto replayed = request_with({item_of(1, "a")});
  replayed.origins = {{1, 0, "", 7, true}};
  auto again = item_of(1, "a"), other = item_of(1, "b");
  again.event_time = from_micros(9), again.untimed = other.untimed = true;

  CHECK(log->append(replayed).value().added == counts{.items = 1});
  CHECK(log->append(request_with({again, other})).value().added == counts{.duplicates = 1, .quarantined = 1});
  CHECK_FALSE(all_of(*log, partition_of(again.item, 8)).at(0).untimed);
}
