// Feature states of generated users under the shipped views: processor time to apply a row, memory when all
// of them are in memory, and processor time of one user's read as the ranker makes it.
#include "tests/bench/report.hpp"

#include "services/cli/synthetic_data/generator.hpp"
#include "services/feature_store/client/feature_client.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/online/state_engine.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <map>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

using namespace troupe;
using namespace troupe::feature_store;

namespace {

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "feature_state_bench: %s\n", text.c_str());
  std::exit(1);
}

template <class T>
T must(expected<T> result) {
  if (!result)
    die(render(result.error()));
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

double seconds_on(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

/// The whole process: RocksDB works on threads of its own.
double processor_s() {
  return seconds_on(CLOCK_PROCESS_CPUTIME_ID);
}

constexpr std::uint32_t partitions = 8;
constexpr std::size_t records_per_batch = 2'000;

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  synthetic_data::settings world;
  world.users = quick ? 5'000 : 100'000;
  world.items = world.users / 50;
  world.events = world.users * 20;
  synthetic_data::generator generator{world};
  std::vector<batch> batches;
  std::vector<std::vector<record>> open(partitions);
  std::vector<std::uint64_t> next(partitions);
  auto close = [&](std::uint32_t p) {
    batches.push_back(batch::trusted(encode_batch(open[p], p, next[p])));
    next[p] += open[p].size();
    open[p].clear();
  };
  std::unordered_map<std::string, std::size_t> histories;
  while (auto rec = generator.next()) {
    normalise(*rec);
    if (rec->kind == record_kind::event)
      ++histories[rec->user];
    auto p = partition_of(rec->partition_key(), partitions);
    open[p].push_back(std::move(*rec));
    if (open[p].size() == records_per_batch)
      close(p);
  }
  for (std::uint32_t p = 0; p < partitions; ++p)
    close(p);

  troupe::testing::temp_dir folder;
  auto views = must(read_views(TROUPE_SOURCE_DIR "/services/feature_store/views"));
  for (auto entity : {entity_kind::user, entity_kind::item})
    views.push_back(record_view(entity));
  engine_options options;
  options.cache_bytes = std::size_t{2} << 30;
  auto engine = must(state_engine::open(folder / "state", std::move(views), options));
  std::vector<std::uint32_t> all(engine->views().size());
  std::iota(all.begin(), all.end(), 0U);
  auto began = processor_s();
  for (auto& each : batches)
    must(engine->apply(all, each));
  must(engine->flush());
  auto applied_s = processor_s() - began;
  auto counted = engine->counters();
  auto events = static_cast<double>(generator.made().events());
  bench::report({.name = "features applied, all shipped views",
                 .unit = "us of processor an event",
                 .value = applied_s * 1e6 / events,
                 .limit_name = "aim",
                 .limit = 3,
                 .aim = 1});
  bench::report({.name = "feature states in memory, 1,000,000 users and 20,000 items",
                 .unit = "MiB",
                 .value = static_cast<double>(counted.cached_bytes) / (1 << 20) * 1e6 /
                          static_cast<double>(world.users),
                 .limit_name = "aim",
                 .limit = 400,
                 .aim = 1});
  struct sizes {
    std::size_t states = 0, bytes = 0;
  };
  std::map<std::string, sizes> by_view;
  for (auto at = engine->database().scan(0); at.valid(); at.next()) {
    auto version = to_hex(as_bytes(at.key().substr(0, 16)));
    for (auto& view : engine->views())
      if (view.version.starts_with(version)) {
        ++by_view[view.name].states;
        by_view[view.name].bytes += at.value().size();
      }
  }
  for (auto& [name, of] : by_view)
    std::fprintf(stderr, "%s: %zu states of %zu bytes\n", name.c_str(), of.states, of.bytes / of.states);

  std::vector<std::pair<std::size_t, std::string>> active;
  for (auto& [user, events_of_user] : histories)
    active.emplace_back(events_of_user, user);
  std::ranges::sort(active, std::greater{});
  feature_query query;
  query.at = at_watermark;
  query.features = {"user_history.items", "user_activity.clicks_7d", "user_activity.impressions_7d",
                    "user_activity.click_rate_30d"};
  std::vector<chunk> asked;
  for (int i = 0; i < 200; ++i) {
    query.ids = {active[static_cast<std::size_t>(i)].second};
    asked.push_back(encode(query));
  }
  std::size_t words = 0;
  auto read = [&] {
    for (auto& each : asked) {
      auto got = must(answer_read(*engine, *flatbuffers::GetRoot<wire::ReadFeatures>(each.data()), 0));
      words += flatbuffers::GetRoot<wire::Features>(got.data())
                   ->columns()
                   ->Get(0)
                   ->lists()
                   ->Get(0)
                   ->items()
                   ->size();
    }
  };
  read();
  std::fprintf(stderr, "%.0f items in a history\n", static_cast<double>(std::exchange(words, 0)) / 200);
  const int rounds = quick ? 5 : 50;
  began = processor_s();
  for (int i = 0; i < rounds; ++i)
    read();
  auto reads = static_cast<double>(rounds) * static_cast<double>(asked.size());
  auto read_us = (processor_s() - began) * 1e6 / reads;
  bench::report({.name = "features of one user with a long history",
                 .unit = "us of processor",
                 .value = read_us,
                 .limit_name = "aim",
                 .limit = 100,
                 .aim = 1});
}
