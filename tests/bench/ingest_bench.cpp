#include "tests/bench/report.hpp"

#include "services/ingest/log/event_log.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/mapping/shipped.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/testing/temp_dir.hpp"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <condition_variable>
#include <fstream>
#include <mutex>

/// Durable events per second of the event log beside raw RocksDB: one WriteBatch of the same block bytes,
/// synced, per batch of 2,000 events; the log keeps 4 batches in flight as a source does. Rows of a file,
/// read and mapped by one thread, must not hold up the log.
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
  bench::report({.name = "rows read and mapped, one thread",
                 .unit = "rows/s",
                 .value = map_rows(dir, batches * batch_rows),
                 .limit_name = "the event log",
                 .limit = events / log.seconds,
                 .aim = 1});
}
