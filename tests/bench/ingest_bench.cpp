#include "tests/bench/report.hpp"

#include "services/ingest/log/event_log.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/mapping/shipped.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/testing/temp_dir.hpp"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <mutex>
#include <thread>

/// Durable events per second of the event log beside raw RocksDB: one WriteBatch of the same block bytes,
/// synced, per batch of 2,000 events; the log keeps 4 batches in flight as a source does. A log that knows
/// millions of ids must be as fast as an empty one (`--held N` says how many). Rows of a file, read and
/// mapped by one thread, must not hold up the log.
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
  rocksdb::WriteOptions write_options;
  write_options.sync = true;
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
      if (!db->Write(write_options, &batch).ok())
        std::abort();
    });
  }
  return steps;
}

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct log_run {
  bench::samples commits;
  double seconds = 0;
  double processor = 0; ///< Of all threads, without what the records cost that are appended.
};

log_run log_appends(event_log& log, std::size_t first, std::size_t batches) {
  log_run run;
  std::mutex mutex;
  std::condition_variable wake;
  std::size_t in_flight = 0;
  // As the service does beside the appends, its cost included.
  std::jthread packing{[&](const std::stop_token& over) {
    while (!over.stop_requested())
      if (!log.pack_due() || !log.pack(500'000))
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }};
  auto start = bench::clock::now();
  auto before = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  double making = 0;
  for (auto i = first; i < first + batches; ++i) {
    auto request = std::make_shared<append_request>();
    request->source = "bench";
    request->source_key = "bench";
    request->batch = i;
    making -= seconds_of(CLOCK_THREAD_CPUTIME_ID);
    request->records = make_records(i * batch_rows);
    making += seconds_of(CLOCK_THREAD_CPUTIME_ID);
    {
      std::unique_lock lock{mutex};
      wake.wait(lock, [&] { return in_flight < window; });
      ++in_flight;
    }
    log.append(request, [&, sent = bench::clock::now()](expected<append_result> result) {
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
  packing.request_stop();
  packing.join();
  run.processor = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - before - making;
  return run;
}

/// `--held N`; else `otherwise`.
std::size_t ids_held(int argc, char** argv, std::size_t otherwise) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view{argv[i]} == "--held")
      return static_cast<std::size_t>(std::atoll(argv[i + 1]));
  return otherwise;
}

/// Rows per second of a file of ratings as MovieLens has them.
double map_rows(const testing::temp_dir& dir, std::size_t rows) {
  auto path = dir / "u.data";
  {
    std::ofstream out{path};
    for (std::size_t i = 0; i < rows; ++i)
      out << fmt::format("{}\t{}\t{}\t{}\n", i % 943, i % 1682, i % 5 + 1, 881250949 + i);
  }
  std::string_view toml;
  for (auto& each : ingest_format::shipped_mappings())
    if (each.name == "movielens-100k")
      toml = each.text;
  auto rules = ingest_format::mapping::parse(toml, "movielens-100k").value();
  auto file = rules->match(path).value();
  auto start = bench::clock::now();
  auto reader = ingest_format::open_reader(path, rules->options(file)).value();
  auto mapper = rules->bind(file, path, *reader).value();
  std::vector<record> records;
  std::vector<ingest_format::refused_row> refused;
  std::size_t mapped = 0;
  for (;;) {
    auto* batch = reader->next(batch_rows).value();
    if (batch->rows.empty())
      break;
    records.clear();
    for (auto& row : batch->rows)
      mapper.apply(row, records, refused);
    mapped += records.size();
  }
  if (mapped != rows || !refused.empty())
    std::abort();
  return static_cast<double>(rows) / std::chrono::duration<double>(bench::clock::now() - start).count();
}

} // namespace

int main(int argc, char** argv) {
  std::size_t batches = bench::quick(argc, argv) ? 50 : 1000;
  auto held = ids_held(argc, argv, batches * batch_rows * 5) / batch_rows;
  testing::temp_dir dir;
  auto raw = raw_puts(dir, batches);
  auto log = event_log::open(dir / "log", {}).value();
  auto fresh = log_appends(*log, 0, batches);
  if (held > batches)
    log_appends(*log, batches, held - batches);
  auto later = log_appends(*log, std::max(batches, held), batches);
  auto events = static_cast<double>(batches * batch_rows);
  bench::report({.name = "durable ingest, event log",
                 .unit = "events/s",
                 .value = events / fresh.seconds,
                 .limit_name = "raw RocksDB, same sync",
                 .limit = raw.rate(batch_rows),
                 .aim = 0.5,
                 .p50_us = fresh.commits.p50_us(),
                 .p99_us = fresh.commits.p99_us()});
  bench::report(
      {.name = fmt::format("the same, {:.1f} million ids held", static_cast<double>(held * batch_rows) / 1e6),
       .unit = "events/s",
       .value = events / later.seconds,
       .limit_name = "the empty log",
       .limit = events / fresh.seconds,
       .aim = 0.9,
       .p50_us = later.commits.p50_us(),
       .p99_us = later.commits.p99_us()});
  bench::report({.name = "processor time of an event, event log, as many held",
                 .unit = "us",
                 .value = later.processor / events * 1e6,
                 .limit_name = "the empty log",
                 .limit = fresh.processor / events * 1e6,
                 .aim = 0.9});
  bench::report({.name = "rows read and mapped, one thread",
                 .unit = "rows/s",
                 .value = map_rows(dir, batches * batch_rows),
                 .limit_name = "the event log",
                 .limit = events / fresh.seconds,
                 .aim = 1});
}
