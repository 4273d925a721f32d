#include "services/ingest/sources/file_source.hpp"

#include "services/ingest/log/event_log.hpp"

#include "common/ingest_format/mapping/mapping.hpp"
#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::ingest;

namespace {

constexpr auto pages = R"(
[[file]]
pattern = "*.csv"
  [[file.record]]
  kind = "slate"
  slate_by = "session"
  request_id = "session"
  user = "user"
  item = "item"
  position = "place"
  event_time = "at"
  [[file.record]]
  kind = "event"
  when = { column = "clicked", equals = "1" }
  type = { constant = "click" }
  user = "user"
  item = "item"
  request_id = "session"
  event_time = "at"
)";

std::vector<record> records_of(const event_log& log) {
  std::vector<record> out;
  std::uint64_t offset = 0, end = log.next_offset(0);
  auto page = log.fetch(0, 0, 64u << 20).value();
  REQUIRE(each_record(page, 0, offset, end, [&](auto& each) -> expected<void> {
            out.push_back(to_record(each));
            out.back().ingest_time = {};
            return {};
          }).has_value());
  return out;
}

struct world {
  testing::temp_dir dir;
  file_source_options options;

  world() {
    std::ofstream out{dir / "pages.csv"};
    out << "session,user,item,place,at,clicked\n";
    for (int page = 0; page < 40; ++page)
      for (int i = 1; i <= 1 + page % 7; ++i)
        out << "s" << page << ",u,i" << i << ',' << i << ",170000000" << page % 10 << ',' << (i == 2) << '\n';
    options.path = dir / "pages.csv";
    options.key = "import/x/pages";
    options.import = "x";
    options.rules = ingest_format::mapping::parse(pages, "test").value();
  }

  /// Takes so many batches into the log from where it says the source is; true at the end.
  bool live(event_log& log, std::size_t rows, int batches) {
    options.batch_rows = rows;
    auto stored = log.positions().find(options.key).value();
    auto source = open_file_source(options, stored.value_or(source_state{})).value();
    for (int i = 0; i < batches; ++i) {
      auto batch = source->next().value();
      batch->encode(log.partitions());
      auto taken = log.append(*batch->request());
      REQUIRE_MESSAGE(taken, taken.error().text);
      CHECK(taken->added.duplicates == 0);
      if (taken->progress.done)
        return true;
    }
    return false;
  }
};

} // namespace

TEST_CASE("slates of a file are the same however its rows are read in pieces, and whatever stops it") {
  world w;
  auto whole = event_log::open(w.dir / "whole", {.partitions = 1}).value();
  REQUIRE(w.live(*whole, 100'000, 2));
  auto wanted = records_of(*whole);
  auto slates = std::ranges::count(wanted, record_kind::slate, &record::kind);
  CHECK(slates == 40);

  for (std::size_t rows : {1, 3, 7, 50}) {
    auto log = event_log::open(w.dir / std::to_string(rows), {.partitions = 1}).value();
    for (int life = 0; !w.live(*log, rows, 9); ++life)
      REQUIRE(life < 1'000);
    auto state = log->positions().find(w.options.key).value();
    CHECK(records_of(*log) == wanted);
    CHECK(state->rows == whole->positions().find(w.options.key).value()->rows);
    CHECK(state->added.quarantined == 0);
  }
}

TEST_CASE("a row that is refused when its reader has gone on lies in quarantine as its file had it") {
  testing::temp_dir dir;
  auto base = table::connection::open().value();
  REQUIRE(
      base.run(fmt::format("COPY (SELECT 'e' || i AS id, 'view' AS type, 'u' AS \"user\", 'i' || i AS item, "
                           "TIMESTAMP '2024-01-01' + to_seconds(i) AS event_time, i / 8 AS \"value\" "
                           "FROM range(3) AS all_of(i)) TO '{}' (FORMAT parquet)",
                           (dir / "rows.parquet").string())));
  std::ofstream{dir / "rows.csv"} << "id,type,user,item,event_time,value\n"
                                     "e0,view,u,i0,2024-01-01,0\n"
                                     "e1,view,u,i1,2024-01-01,\"0.125\"\n"
                                     "e2,view,u,i2,2024-01-01,0.25\n";
  for (
      auto [name, bytes] :
      {std::pair{"rows.csv", R"(e1,view,u,i1,2024-01-01,"0.125")"},
       {"rows.parquet",
        R"({"id":"e1","type":"view","user":"u","item":"i1","event_time":"2024-01-01T00:00:01Z","value":0.125})"}}) {
    file_source_options options;
    options.path = dir / name;
    options.rules =
        ingest_format::mapping::parse(
            "[[file]]\npattern = \"*\"\n[[file.record]]\nkind = \"event\"\nid = { column = \"id\" }\n"
            "type = \"type\"\nuser = \"user\"\nitem = \"item\"\nevent_time = \"event_time\"\n"
            "value = \"value\"\n",
            "test")
            .value();
    auto source = open_file_source(options, {}).value();
    auto batch = source->next().value();
    batch->encode(1);
    REQUIRE(source->next());
    source.reset();

    batch->take_out({{1, "range", "value", "too small"}});

    REQUIRE(batch->request()->refused.size() == 1);
    CHECK(batch->request()->refused[0].raw == bytes);
    CHECK(batch->request()->refused[0].raw_is == raw_kind::row);
    CHECK(batch->request()->refused[0].row == 2);
    CHECK(batch->request()->size() == 2);
  }
}

TEST_CASE("a slate of several rows that is refused lies in quarantine as a record, and says so") {
  world w;
  auto source = open_file_source(w.options, {}).value();
  auto batch = source->next().value();
  batch->encode(1);
  auto slate = to_record((*batch->request())[1]);
  REQUIRE(slate.shown.size() == 2);

  batch->take_out({{1, "range", "position", "too large"}});

  REQUIRE(batch->request()->refused.size() == 1);
  auto& refused = batch->request()->refused[0];
  CHECK(refused.raw_is == raw_kind::record);
  CHECK(refused.raw == to_json(slate));
}
