// Rows of a training set per second, beside DuckDB computing the same columns by window functions and an ASOF
// join.
#include "tests/bench/report.hpp"

#include "services/feature_store/training/training_set.hpp"
#include "services/ingest/client/record_stream.hpp"

#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::feature_store;

namespace {

template <class T>
T must(expected<T> result) {
  if (!result) {
    std::fprintf(stderr, "training_set_bench: %s\n", render(result.error()).c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

} // namespace

int main(int argc, char** argv) {
  std::size_t count = bench::quick(argc, argv) ? 50'000 : 500'000;
  std::mt19937_64 random{1};
  std::vector<record> events;
  constexpr std::int64_t start = 1'600'000'000'000'000;
  for (std::size_t i = 0; i < count; ++i) {
    record each;
    each.id = fmt::format("e{}", i);
    each.type = "rating";
    each.user = fmt::format("user-{}", random() % (count / 50));
    each.item = fmt::format("item-{}", random() % (count / 100));
    each.value = static_cast<double>(random() % 10) / 2;
    each.event_time = from_micros(start + static_cast<std::int64_t>(i) * 1'000'000);
    each.ingest_time = each.event_time;
    events.push_back(std::move(each));
  }
  ingest::memory_stream stream{events, 8, 2000};
  events = {};
  auto views = must(parse_views(
      "[[view]]\nname='u'\nentity='user'\nsource='rating'\n[[view.feature]]\nname='n'\noperator='count'\n"
      "[[view.feature]]\nname='sum'\noperator='sum'\n[[view.feature]]\nname='last'\noperator='last'\nof='"
      "value'\n"
      "[[view]]\nname='i'\nentity='item'\nsource='rating'\n[[view.feature]]\nname='n'\noperator='count'\n"
      "[[view.feature]]\nname='sum'\noperator='sum'\n[[view.feature]]\nname='last'\noperator='last'\nof='"
      "value'\n",
      "bench"));
  training_spec spec;
  spec.name = "bench";
  spec.label_event = "rating";
  spec.features = {"u.n", "u.sum", "u.last", "i.n", "i.sum", "i.last"};
  troupe::testing::temp_dir folder;
  bench::samples ours, theirs;
  ours.time([&] { must(build_training_set(spec, views, stream, folder / "ours", {})); });

  auto db = must(table::connection::open());
  must(db.run("CREATE TABLE ev(usr VARCHAR, itm VARCHAR, val DOUBLE, et BIGINT, part BIGINT, off BIGINT)"));
  auto rows = must(db.append_to("ev"));
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      for (std::size_t i = 0; i < each.size(); ++i) {
        auto& rec = each[i];
        rows.add(text_of(rec.user())).add(text_of(rec.item())).add(*rec.value()).add(rec.event_time());
        rows.add(static_cast<std::int64_t>(each.partition()))
            .add(static_cast<std::int64_t>(each.base_offset() + i));
        must(rows.end_row());
      }
  must(rows.flush());
  auto state = [](const std::string& key) {
    return "(SELECT " + key +
           ", et, count(*) OVER w AS n, sum(val) OVER w AS s, val AS last FROM ev WINDOW w AS (PARTITION "
           "BY " +
           key + " ORDER BY et, part, off ROWS UNBOUNDED PRECEDING))";
  };
  theirs.time([&] {
    must(db.run("COPY (SELECT l.et, l.usr, l.itm, l.val, u.n, u.s, u.last, i.n AS n2, i.s AS s2, i.last AS "
                "last2 FROM ev l ASOF LEFT JOIN " +
                state("usr") + " u ON l.usr = u.usr AND l.et > u.et ASOF LEFT JOIN " + state("itm") +
                " i ON l.itm = i.itm AND l.et > i.et ORDER BY l.et, l.part, l.off) TO " +
                table::sql_text((folder / "theirs.parquet").string()) +
                " (FORMAT parquet, COMPRESSION zstd)"));
  });
  bench::report({.name = "training set, 6 features",
                 .unit = "rows/s",
                 .value = ours.rate(static_cast<double>(count)),
                 .limit_name = "DuckDB ASOF join",
                 .limit = theirs.rate(static_cast<double>(count)),
                 .aim = 0.5,
                 .p50_us = ours.p50_us(),
                 .p99_us = ours.p99_us()});
}
