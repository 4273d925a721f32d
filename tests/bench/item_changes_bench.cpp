// What it costs feature store and ranker together to keep the ranker's items fresh: taking over what changed,
// beside reading all items again. Processor time, without the socket between them.
#include "tests/bench/report.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/online/state_engine.hpp"
#include "services/ranker/items/item_scan.hpp"
#include "services/ranker/items/item_snapshot.hpp"

#include "common/testing/temp_dir.hpp"

#include <cstdlib>
#include <ctime>
#include <numeric>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::feature_store;
using namespace troupe::ranker;

namespace {

template <class T>
T must(expected<T> result) {
  if (!result) {
    std::fprintf(stderr, "item_changes_bench: %s\n", render(result.error()).c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

double processor_us() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

record item_record(std::size_t number, std::size_t version) {
  record out;
  out.kind = record_kind::item;
  out.id = fmt::format("w{}.{}", number, version);
  out.item = fmt::format("item-{}", number);
  out.event_time = out.ingest_time = from_micros(1'700'000'000'000'000 + static_cast<std::int64_t>(version));
  out.attributes = {{"title", fmt::format("Title {} of item {}", version, number)},
                    {"genres", text_list{"Drama", number % 2 ? "War" : "Comedy"}},
                    {"created", 1'600'000'000.0 + static_cast<double>(number)}};
  return out;
}

record click(std::size_t number) {
  record out;
  out.id = fmt::format("c{}", number);
  out.type = "click";
  out.user = fmt::format("user-{}", number % 1000);
  out.item = fmt::format("item-{}", number);
  out.event_time = out.ingest_time = from_micros(1'700'000'000'000'000);
  return out;
}

} // namespace

int main(int argc, char** argv) {
  const std::size_t count = bench::quick(argc, argv) ? 5'000 : 50'000;
  constexpr std::size_t changed = 10, rounds = 100;
  troupe::testing::temp_dir folder;
  auto views = must(read_views(TROUPE_SOURCE_DIR "/services/feature_store/views/serving.toml"));
  for (auto entity : {entity_kind::user, entity_kind::item})
    views.push_back(record_view(entity));
  auto engine = must(state_engine::open(folder / "state", std::move(views), {}));
  std::vector<std::uint32_t> all(engine->views().size());
  std::iota(all.begin(), all.end(), 0U);
  std::uint64_t next = 0;
  auto apply = [&](const std::vector<record>& records) {
    must(engine->apply(all, batch::trusted(encode_batch(records, 0, next))));
    next += records.size();
  };
  for (std::size_t begin = 0; begin < count; begin += 1000) {
    std::vector<record> batch;
    for (auto i = begin; i < begin + 1000; ++i) {
      batch.push_back(item_record(i, 0));
      batch.push_back(click(i));
    }
    apply(batch);
  }
  auto plan = plan_scan({}, {});
  std::string place;
  auto changes = [&] {
    auto question = encode_changes({"item", plan.names, place, 1000, true});
    auto page = must(decode_changes(
        must(answer_changes(*engine, *flatbuffers::GetRoot<wire::FeatureChanges>(question.data()), 0))));
    place = page.next;
    return page;
  };
  auto space = std::make_shared<item_space>();
  auto scan = [&] {
    std::vector<item_attributes> rows;
    std::string after;
    for (bool last = false; !last;) {
      auto question = encode_scan("item", plan.names, after, 5000, 0);
      auto page = must(decode_page(
          must(answer_scan(*engine, *flatbuffers::GetRoot<wire::FeatureScan>(question.data()), 0))));
      last = page.last;
      after = page.ids.back();
      must(append_page(std::move(page), plan, rows));
    }
    return std::make_shared<const item_snapshot>(space, rows, snapshot_origin{});
  };

  changes();
  item_snapshot_ptr items = scan();
  auto began = processor_us();
  for (int i = 0; i < 5; ++i)
    items = scan();
  auto scan_us = (processor_us() - began) / 5;
  if (items->size() != count)
    return 1;

  double change_us = 0;
  for (std::size_t round = 1; round <= rounds; ++round) {
    std::vector<record> written;
    for (std::size_t i = 0; i < changed; ++i)
      written.push_back(item_record((round * 7919 + i * 4999) % count, round));
    apply(written);
    began = processor_us();
    item_changes by;
    must(append_page(changes(), plan, by.changed));
    items = with_changes(items, by);
    change_us += processor_us() - began;
    if (by.changed.size() != changed)
      return 1;
  }
  began = processor_us();
  for (std::size_t i = 0; i < 1000; ++i)
    changes();
  auto empty_us = (processor_us() - began) / 1000;

  bench::report({.name = fmt::format("{} changed items of {} taken over", changed, count),
                 .unit = "us of processor",
                 .value = change_us / rounds,
                 .limit_name = "all read again",
                 .limit = scan_us,
                 .aim = 100});
  bench::report({.name = "question for changes where there are none",
                 .unit = "us of processor",
                 .value = empty_us,
                 .limit_name = "all read again",
                 .limit = scan_us,
                 .aim = 1000});
}
