#include "tests/bench/report.hpp"

#include "services/ingest/event_log.hpp"

#include "common/testing/temp_dir.hpp"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <condition_variable>
#include <mutex>

/// Durable events per second of the event log beside raw RocksDB: one WriteBatch of the same block bytes,
/// synced, per batch of 2,000 events; the log keeps 4 batches in flight as a source does.
namespace {

using namespace troupe;
using namespace troupe::ingest;

constexpr std::size_t batch_rows = 2000;
constexpr std::size_t window = 4;

std::vector<record> make_records(std::size_t first) {
  std::vector<record> records(batch_rows);
  for (std::size_t i = 0; i < batch_rows; ++i) {
    auto number = first + i;
    auto& rec = records[i];
    rec.id = "event-" + std::to_string(number);
    rec.type = "rating";
    rec.user = "user-" + std::to_string(hash64(std::to_string(number)) % 50'000);
    rec.item = "item-" + std::to_string(number * 7919 % 20'000);
    rec.event_time = from_micros(1'700'000'000'000'000 + static_cast<std::int64_t>(number) * 1000);
    rec.value = static_cast<double>(number % 5 + 1);
  }
  return records;
}

bench::samples raw_puts(const testing::temp_dir& dir, std::size_t batches) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  if (!rocksdb::DB::Open(options, (dir / "raw").string(), &opened).ok())
    std::abort();
  std::unique_ptr<rocksdb::DB> db{opened};
  rocksdb::WriteOptions how;
  how.sync = true;
  bench::samples steps;
  for (std::size_t i = 0; i < batches; ++i) {
    auto records = make_records(i * batch_rows);
    auto bytes = encode_batch(std::span<const record>{records});
    steps.time([&] {
      rocksdb::WriteBatch batch;
      // The same bytes: each event with its share of the block, under its own key.
      auto share = bytes.size() / batch_rows;
      for (std::size_t k = 0; k < batch_rows; ++k)
        batch.Put(records[k].id, rocksdb::Slice{bytes.text().data() + k * share, share});
      if (!db->Write(how, &batch).ok())
        std::abort();
    });
  }
  return steps;
}

struct log_run {
  bench::samples commits;
  double seconds = 0;
};

log_run log_appends(const testing::temp_dir& dir, std::size_t batches) {
  auto log = event_log::open(dir / "log", {}).value();
  log_run run;
  std::mutex mutex;
  std::condition_variable wake;
  std::size_t in_flight = 0;
  auto start = bench::clock::now();
  for (std::size_t i = 0; i < batches; ++i) {
    auto request = std::make_shared<append_request>();
    request->source = "bench";
    request->source_key = "bench";
    request->batch = i;
    request->records = make_records(i * batch_rows);
    {
      std::unique_lock lock{mutex};
      wake.wait(lock, [&] { return in_flight < window; });
      ++in_flight;
    }
    log->append(request, [&, sent = bench::clock::now()](expected<append_result> result) {
      if (!result || result->added.events != batch_rows)
        std::abort();
      std::lock_guard lock{mutex};
      run.commits.add(bench::clock::now() - sent);
      --in_flight;
      wake.notify_one();
    });
  }
  std::unique_lock lock{mutex};
  wake.wait(lock, [&] { return in_flight == 0; });
  run.seconds = std::chrono::duration<double>(bench::clock::now() - start).count();
  return run;
}

} // namespace

int main(int argc, char** argv) {
  std::size_t batches = bench::quick(argc, argv) ? 50 : 1000;
  testing::temp_dir dir;
  auto raw = raw_puts(dir, batches);
  auto log = log_appends(dir, batches);
  auto events = static_cast<double>(batches * batch_rows);
  bench::report({.name = "durable ingest, event log",
                 .unit = "events/s",
                 .value = events / log.seconds,
                 .limit_name = "raw RocksDB, same sync",
                 .limit = raw.rate(batch_rows),
                 .aim = 0.5,
                 .p50_us = log.commits.p50_us(),
                 .p99_us = log.commits.p99_us()});
}
