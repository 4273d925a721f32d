#include "services/ingest/lake_sealer.hpp"

#include "services/ingest/log/event_log.hpp"
#include "services/ingest/testing/requests.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/testing/temp_dir.hpp"

#include <fstream>

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

struct sealing : troupe::testing::actor_fixture {
  metrics::registry numbers;
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {.partitions = 1}).value();
  std::shared_ptr<lake> into = std::make_shared<lake>(log, dir / "lake", 10);
  std::unique_ptr<blocking_pool> slow =
      std::make_unique<blocking_pool>(blocking_pool::options{"slow", 1, 2}, numbers);
  std::shared_ptr<health> well = health::make("ingest", 0);
  std::promise<void> go_on;
  lake_sealer_actor sealer;

  sealing() {
    sealer =
        own(spawn_lake_sealer(system, {log, into, slow.get(), health::add(well, "lake_sealer"), 0s, 0s}));
    run();
  }
  ~sealing() {
    caf::anon_send_exit(sealer, caf::exit_reason::kill);
    run();
  }
  void append(int first, int last) {
    append_request request;
    for (int i = first; i < last; ++i)
      request.records.push_back(event(i));
    REQUIRE(log->append(request).has_value());
  }
  /// The pool's thread waits until `go_on` has a value.
  void block() {
    auto begun = std::make_shared<std::promise<void>>();
    REQUIRE(slow->post([begun, until = go_on.get_future().share()] {
                  begun->set_value();
                  until.wait();
                })
                .has_value());
    begun->get_future().wait();
  }
  /// What was given to the pool is done, and its message has come.
  void settle() {
    std::promise<void> done;
    REQUIRE(slow->post([&] { done.set_value(); }).has_value());
    done.get_future().wait();
    run();
  }
  std::uint64_t sealed() { return log->state().partitions[0].sealed; }
};

} // namespace

TEST_CASE_FIXTURE(sealing, "full segments are written to the lake, what is not full waits") {
  append(0, 9);
  advance(1s);
  settle();
  CHECK(sealed() == 0);

  append(9, 25);
  advance(1s);
  settle();

  CHECK(sealed() == 20);
  CHECK(log->segments().list()->size() == 2);
}

TEST_CASE_FIXTURE(sealing, "there is one seal at a time, and the next look comes after it") {
  block();
  append(0, 10);

  advance(1s);
  advance(10s); // Nothing is posted a second time: the pool holds two, and takes one more.
  std::promise<void> last;
  CHECK(slow->post([&] { last.set_value(); }).has_value());
  go_on.set_value();
  last.get_future().wait();
  run();

  CHECK(sealed() == 10);
  append(10, 20);
  advance(1s);
  settle();
  CHECK(sealed() == 20);
}

TEST_CASE_FIXTURE(sealing, "a pool that is full, or a lake that cannot be written, is tried again") {
  block();
  std::promise<void> last;
  REQUIRE(slow->post([] {}).has_value());
  REQUIRE(slow->post([&] { last.set_value(); }).has_value());
  std::ofstream{dir / "lake"} << "a file where the folder should be";
  append(0, 10);

  advance(1s); // Refused by the pool.
  CHECK_FALSE(well->read().last_error.empty());
  go_on.set_value();
  last.get_future().wait();
  settle();
  CHECK(sealed() == 0);
  advance(1s); // Fails at the disk.
  settle();
  CHECK(well->read().why().find("sealed") != std::string::npos);
  std::filesystem::remove(dir / "lake");
  advance(1s);
  settle();

  CHECK(sealed() == 10);
  CHECK(well->read().why().empty());
}

TEST_CASE_FIXTURE(sealing, "a sealer that is stopped half-way leaves the lake whole") {
  block();
  append(0, 10);
  advance(1s);

  caf::anon_send_exit(sealer, caf::exit_reason::user_shutdown);
  run();
  go_on.set_value();
  settle();

  CHECK(sealed() == 10); // The seal under way ended; what it tells reaches nobody.
  append(10, 20);
  advance(2s);
  settle();
  CHECK(sealed() == 10);
}

TEST_CASE_FIXTURE(sealing, "a lake that cannot be written keeps nothing from going that may go") {
  append(0, 10);
  append_request request;
  request.refused.push_back({"a.csv", {}, 1, 0, "range", "value", "too big", "raw"});
  REQUIRE(log->append(request).has_value());
  advance(1s);
  settle();
  REQUIRE(sealed() == 10);
  auto in_the_way = dir / "lake/partition=0/00000000000000000010-00000000000000000020.parquet/folder";
  std::filesystem::create_directories(in_the_way);
  append(10, 20);

  advance(1min);
  settle();

  CHECK(sealed() == 10);
  CHECK_FALSE(well->read().why().empty());
  CHECK(log->state().partitions[0].first == 10);
  CHECK(log->quarantine().list({})->empty());
}

TEST_CASE_FIXTURE(sealing, "what the lake has lost stays in the log, which says so until the file is back") {
  append(0, 30);
  advance(1s);
  settle();
  REQUIRE(sealed() == 30);
  auto second = dir / "lake" / log->segments().list().value()[1].path;
  auto good = dir / "good";
  std::filesystem::rename(second, good);

  advance(1min);
  settle();
  CHECK(log->state().partitions[0].first == 0); // One block holds all.
  CHECK(well->read().why().find(second.string()) != std::string::npos);
  append(30, 40);
  advance(1s); // Seals, which is well.
  settle();
  REQUIRE(sealed() == 40);
  CHECK_FALSE(well->read().why().empty());

  std::filesystem::copy_file(good, second);
  {
    std::fstream damaged{second, std::ios::in | std::ios::out | std::ios::binary};
    damaged.seekp(4).write(std::string(16, '\xff').data(), 16); // As many bytes as before.
  }
  advance(1min);
  settle();
  CHECK(log->state().partitions[0].first == 0);
  std::filesystem::resize_file(second, 5);
  advance(1min);
  settle();
  CHECK(log->state().partitions[0].first == 0);

  std::filesystem::rename(good, second);
  advance(1min);
  settle();
  CHECK(log->state().partitions[0].first == 40);
  CHECK(well->read().why().empty());
}

TEST_CASE_FIXTURE(sealing,
                  "once a minute the log goes as far as the lake holds it, and refused rows that are old") {
  append(0, 25);
  append_request request;
  request.refused.push_back({"a.csv", {}, 1, 0, "range", "value", "too big", "raw"});
  REQUIRE(log->append(request).has_value());
  advance(1s);
  settle();
  REQUIRE(sealed() == 20);
  CHECK(log->state().partitions[0].first == 0);
  CHECK(log->quarantine().list({})->size() == 1);
  append(25, 30); // Whole blocks go: the one before ends in the lake now.
  advance(1s);
  settle();

  advance(1min);
  settle();

  CHECK(sealed() == 30);
  CHECK(log->state().partitions[0].first == 30);
  CHECK(log->quarantine().list({})->empty());
  CHECK(into->fetch(0, 0, 100)->batches.size() == 1);
}
