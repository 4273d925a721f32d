// A tenth of ten million users: 1,000,000 users, 20,000 items and 20,000,000 events, or all of it with --full
// (10,000,000 users, 200,000 items, 200,000,000 events; hours, some 30 GB of disk). A world is generated and
// imported, validator and features on; then the whole answer of gateway_bench is asked for by users drawn at
// random. Prints the rate of the import over time, which is to stay flat, bytes on disk for each event,
// memory and processor time by service.
//
//   scale_bench [--quick|--full]
#include "tests/bench/served_fleet.hpp"

namespace {

using namespace bench;

struct counted {
  double at_s = 0;
  std::uint64_t records = 0;
};

std::uint64_t records_in_log(const fleet& services) {
  auto told = json::parse(services.troupe({"--json", "log", "info"}));
  std::uint64_t out = 0;
  for (auto* name : {"events", "users", "items"})
    out += told.at(name).to_number<std::uint64_t>();
  return out;
}

double bytes_below(const std::filesystem::path& folder) {
  double out = 0;
  std::error_code gone; // Files come and go while the fleet runs.
  for (auto at = std::filesystem::recursive_directory_iterator{folder, gone}; at != decltype(at){};
       at.increment(gone))
    if (at->is_regular_file(gone))
      if (auto size = at->file_size(gone); !gone)
        out += static_cast<double>(size);
  return out;
}

/// Imports the world; what was in the log, every so often.
std::vector<counted> import_world(const fleet& services, const std::filesystem::path& world,
                                  std::chrono::milliseconds every) {
  std::vector<counted> out;
  auto begin = clock::now();
  auto count = [&] {
    auto records = records_in_log(services);
    out.push_back({std::chrono::duration<double>(clock::now() - begin).count(), records});
    std::printf("# import: %.0f s, %lu records\n", out.back().at_s, records);
    std::fflush(stdout);
  };
  std::jthread counter{[&](const std::stop_token& over) {
    for (auto next = begin; !over.stop_requested(); std::this_thread::sleep_for(50ms))
      if (clock::now() >= next) {
        count();
        next += every;
      }
  }};
  services.troupe({"ingest", "--quiet", world.string()}, 6h);
  counter.request_stop();
  counter.join();
  count();
  return out;
}

/// Records a second in that share of what came.
double rate_between(const std::vector<counted>& all, double from, double to) {
  auto at = [&](double share) {
    auto wanted = share * static_cast<double>(all.back().records);
    for (std::size_t i = 1; i < all.size(); ++i)
      if (static_cast<double>(all[i].records) >= wanted) {
        auto before = static_cast<double>(all[i - 1].records), after = static_cast<double>(all[i].records);
        auto part = after > before ? (wanted - before) / (after - before) : 0;
        return all[i - 1].at_s + part * (all[i].at_s - all[i - 1].at_s);
      }
    return all.back().at_s;
  };
  return (to - from) * static_cast<double>(all.back().records) / std::max(at(to) - at(from), 1e-9);
}

void print_memory(const char* when) {
  std::printf("# memory %s:", when);
  for (auto& each : parts)
    std::printf(" %s %.0f MiB", each.c_str(), resident_bytes("troupe-" + each) / 0x1p20);
  std::printf("\n");
}

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  auto full = argc > 1 && std::string_view{argv[1]} == "--full";
  sizes workload{.users = 1'000'000, .items = 20'000, .events = 20'000'000};
  auto every = 10s;
  if (quick)
    workload = {.users = 10'000, .items = 2'000, .events = 200'000, .span = 500ms}, every = 1s;
  if (full)
    workload = {.users = 10'000'000, .items = 200'000, .events = 200'000'000}, every = 60s;
  try {
    fleet services;
    auto world = services.folder() / "world";
    auto begin = clock::now();
    services.troupe({"generate", "--quiet", "--format", "parquet", "--out", world.string(), "--users",
                     std::to_string(workload.users), "--items", std::to_string(workload.items), "--events",
                     std::to_string(workload.events)},
                    6h);
    std::printf("# generated %lu users, %lu items, %lu events in %.0f s: %.0f MiB of Parquet\n",
                workload.users, workload.items, workload.events,
                std::chrono::duration<double>(clock::now() - begin).count(), bytes_below(world) / 0x1p20);
    auto before = processor_now();
    auto rates = import_world(services, world, every);
    std::filesystem::remove_all(world);
    auto records = static_cast<double>(rates.back().records);
    for (int tenth = 0; tenth < 10; ++tenth)
      std::printf("# import, tenth %d: %.0f records/s\n", tenth + 1,
                  rate_between(rates, tenth / 10.0, (tenth + 1) / 10.0));
    release_models(services, workload);
    wait_for_features(services, std::chrono::seconds{3600});
    auto after = processor_now();
    std::printf("# processor a record, until the features have it:");
    double processor = 0;
    for (auto& each : parts) {
      std::printf(" %s %.1f us", each.c_str(), (after[each] - before[each]) / records * 1e6);
      processor += after[each] - before[each];
    }
    std::printf("; %.1f us in all\n", processor / records * 1e6);
    auto name = [&](const std::string& what) {
      return fmt::format("{}, {} users, {} events", what, workload.users, workload.events);
    };
    report({.name = name("import end to end"),
            .unit = "records/s",
            .value = records / rates.back().at_s,
            .limit_name = "100,000 a second",
            .limit = 100'000,
            .aim = 1});
    report({.name = name("import, its last tenth"),
            .unit = "records/s",
            .value = rate_between(rates, 0.9, 1),
            .limit_name = "its first tenth",
            .limit = rate_between(rates, 0, 0.1),
            .aim = 0.9});
    for (auto* part : {"ingest-0", "feature-store-0"})
      std::printf("# on disk, %s: %.0f MiB\n", part, bytes_below(services.folder() / "data" / part) / 0x1p20);
    report(
        {.name = name("ingest on disk"),
         .unit = "B an event",
         .value = bytes_below(services.folder() / "data" / "ingest-0") / static_cast<double>(workload.events),
         .limit_name = "40 B",
         .limit = 40,
         .aim = 1});
    print_memory("after the import");
    std::mt19937_64 source{5};
    auto next = [&] {
      return get(fmt::format("/v1/users/u{}/recommendations?n=10", source() % workload.users));
    };
    for (std::size_t connections : {std::size_t{4}, std::size_t{16}}) {
      http_load{services.port(), connections, next}.closed(workload.span); // Warm.
      auto used = processor_now();
      auto got = http_load{services.port(), connections, next}.closed(4 * workload.span);
      auto now = processor_now();
      double sum = 0;
      std::printf("# processor an answer, %zu connections:", connections);
      for (auto& each : parts) {
        auto share = (now[each] - used[each]) / static_cast<double>(std::max<std::uint64_t>(got.good, 1));
        std::printf(" %s %.2f ms", each.c_str(), share * 1e3);
        sum += share;
      }
      std::printf("; %lu not 200\n", got.bad);
      report({.name = name(fmt::format("whole answer, closed loop of {}", connections)),
              .unit = "ms of processor",
              .value = sum * 1e3,
              .limit_name = "1.4 ms",
              .limit = 1.4,
              .aim = 1,
              .p50_us = got.answers.p50_us(),
              .p99_us = got.answers.p99_us()});
      std::printf("# %zu connections: %.0f answers/s\n", connections, got.rate);
    }
    print_memory("under load");
  } catch (const std::exception& failed) {
    std::fprintf(stderr, "scale_bench: %s\n", failed.what());
    return 1;
  }
}
