#include "tests/bench/report.hpp"

#include "services/ingest/lake.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/testing/temp_dir.hpp"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <random>

/// What an event takes in the log, beside the same events as Parquet, and what it costs to read it back: all
/// of it, and by column. Events as `troupe generate` makes them. Figures are of processor time.
namespace {

using namespace troupe;
using namespace troupe::ingest;

double processor_s() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

/// Pages of five items, shown in sessions of three.
std::vector<record> make_records(std::size_t first, std::size_t count, std::mt19937_64& draw) {
  std::vector<record> records(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto number = first + i;
    auto session = number / 15;
    auto& rec = records[i];
    rec.id = fmt::format("w1-e{}", number);
    rec.type = number % 9 == 8 ? "click" : "impression";
    rec.user = fmt::format("u{}", hash64(std::to_string(session)) % 100'000);
    rec.item = fmt::format("i{}", std::min(draw() % 20'000, draw() % 20'000));
    rec.event_time = from_micros(1'700'000'000'000'000 + static_cast<std::int64_t>(session) * 20'000'000 +
                                 static_cast<std::int64_t>(number % 15 / 5) * 31'000'000);
    rec.request_id = fmt::format("w1-r{}-{}", session, number % 15 / 5);
    rec.attributes = {{"device", std::string{session % 3 == 0 ? "phone" : "desktop"}},
                      {"policy", std::string{"logging"}},
                      {"position", static_cast<double>(number % 5 + 1)},
                      {"propensity", static_cast<double>(draw()) / 1e21},
                      {"session", fmt::format("s{}", session)}};
  }
  return records;
}

/// Bytes of table and blob files.
double disk_bytes(const std::filesystem::path& folder) {
  double sum = 0;
  for (auto& each : std::filesystem::recursive_directory_iterator{folder})
    if (each.path().extension() == ".sst" || each.path().extension() == ".blob" ||
        each.path().extension() == ".parquet")
      sum += static_cast<double>(each.file_size());
  return sum;
}

/// Processor seconds to read every record.
double read_all(const event_log& log) {
  auto start = processor_s();
  std::uint64_t records = 0, wanted = 0;
  for (std::uint32_t p = 0; p < log.partitions(); ++p) {
    wanted += log.next_offset(p);
    for (std::uint64_t at = 0; at < log.next_offset(p);) {
      auto page = log.fetch(p, at, std::size_t{1} << 20).value();
      auto read = each_record(page, p, at, log.next_offset(p), [&](auto& each) -> expected<void> {
        records += each.user() && each.item() && each.type();
        return {};
      });
      if (!read)
        std::abort();
    }
  }
  if (records != wanted)
    std::abort();
  return processor_s() - start;
}

double read_columns(const event_log& log) {
  auto start = processor_s();
  std::uint64_t records = 0, wanted = 0;
  for (std::uint32_t p = 0; p < log.partitions(); ++p) {
    wanted += log.next_offset(p);
    auto read = log.each_block(p, 0, [&](const column_block& block) -> expected<bool> {
      auto users = block.texts(block_field::user).value();
      auto items = block.texts(block_field::item).value();
      auto types = block.texts(block_field::type).value();
      auto times = block.times(block_field::event_time).value();
      for (std::size_t i = 0; i < block.size(); ++i)
        records += users.at[i] < users.entries.size() && items.at[i] < items.entries.size() &&
                   types.at[i] < types.entries.size() && times[i] > 0;
      return true;
    });
    if (!read)
      std::abort();
  }
  if (records != wanted)
    std::abort();
  return processor_s() - start;
}

} // namespace

int main(int argc, char** argv) {
  std::size_t batches = bench::quick(argc, argv) ? 60 : 1000;
  constexpr std::size_t batch_rows = 2000;
  auto events = static_cast<double>(batches * batch_rows);
  testing::temp_dir dir;
  std::mt19937_64 draw{1};
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  double read_rows = 0, pack = 0;
  for (std::size_t i = 0; i < batches; ++i) {
    append_request request;
    request.records = make_records(i * batch_rows, batch_rows, draw);
    if (!log->append(std::move(request)))
      std::abort();
    if (i + 1 == std::min<std::size_t>(batches, 60))
      read_rows = read_all(*log) / static_cast<double>((i + 1) * batch_rows);
    if (i % 20 == 19) { // As the service does, once a second.
      auto start = processor_s();
      while (*log->pack(1'000'000)) {
      }
      pack += processor_s() - start;
    }
  }
  auto whole = read_all(*log) / events;
  auto some = read_columns(*log) / events;
  auto into = std::make_unique<lake>(log, dir / "lake", 250'000);
  if (!into->seal(true))
    std::abort();
  into.reset();
  log.reset();
  event_log::open(dir / "log", {}).value().reset(); // What was in memory is in a table now.
  bench::report({.name = "event in the log, without its id among the known ones",
                 .unit = "bytes",
                 .value = disk_bytes(dir / "log") / events,
                 .limit_name = "Parquet of the lake",
                 .limit = disk_bytes(dir / "lake") / events,
                 .aim = 0.8});
  bench::report({.name = "records packed into columns, processor",
                 .unit = "records/s",
                 .value = events / pack,
                 .limit_name = "durable ingest, aim of issue 16",
                 .limit = 100'000,
                 .aim = 5});
  bench::report({.name = "records read back out of columns, processor",
                 .unit = "records/s",
                 .value = 1 / whole,
                 .limit_name = "as they came, in rows",
                 .limit = 1 / read_rows,
                 .aim = 0.3});
  bench::report({.name = "user, item, type and time by column, processor",
                 .unit = "records/s",
                 .value = 1 / some,
                 .limit_name = "all fields of them",
                 .limit = 1 / whole,
                 .aim = 5});
}
