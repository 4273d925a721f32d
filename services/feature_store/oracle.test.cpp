#include "services/feature_store/oracle.hpp"

#include "services/feature_store/client/training_manifest.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/online/state_engine.hpp"
#include "services/feature_store/training/training_set.hpp"

#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

using namespace troupe;
using namespace troupe::feature_store;

namespace {

std::filesystem::path data_folder() {
  auto* named = std::getenv("TROUPE_DATA");
  return named ? named : "../shared/data";
}

std::vector<feature_view> both_views() {
  auto text = oracle::view_toml("u", "user", oracle::every_operator("item")) +
              oracle::view_toml("i", "item", oracle::every_operator("user"));
  auto views = parse_views(text, "test");
  if (!views)
    FAIL(views.error().text);
  return *views;
}

std::vector<std::string> names_of(const std::string& view, const std::vector<oracle::pair>& features) {
  std::vector<std::string> out;
  for (auto& each : features)
    out.push_back(view + "." + each.name);
  return out;
}

std::vector<record> movielens() {
  std::vector<record> all;
  std::ifstream in{data_folder() / "ml-100k" / "u.data"};
  std::string user, item;
  double value = 0;
  std::int64_t seconds = 0;
  while (in >> user >> item >> value >> seconds) {
    record each;
    each.id = fmt::format("m{}", all.size());
    each.type = "rating";
    each.user = user;
    each.item = item;
    each.value = value;
    each.event_time = from_micros(seconds * 1'000'000);
    each.ingest_time = each.event_time;
    all.push_back(std::move(each));
  }
  return all;
}

/// Online values at the watermark of every `stride`th entity, and what SQL says.
void check_view(state_engine& engine, table::connection& db, entity_kind kind, const std::string& view,
                const std::vector<oracle::pair>& features, int stride) {
  auto entity = std::string{to_string(kind)};
  auto column = kind == entity_kind::user ? "usr" : "itm";
  REQUIRE(db.run(fmt::format("CREATE OR REPLACE TABLE lab AS SELECT row_number() OVER (ORDER BY {0}) - 1 "
                             "AS n, {0} AS ent, {1} AS t "
                             "FROM (SELECT DISTINCT {0} FROM ev WHERE hash({0}) % {2} = 0)",
                             column, engine.watermark(), stride)));
  auto theirs = oracle::rows_of(db, oracle::query(features, "lab", entity, "true"), 1);
  std::vector<std::string> ids;
  for (auto& row : oracle::rows_of(db, "SELECT ent FROM lab ORDER BY n", 0))
    ids.push_back(std::get<std::string>(row[0]));
  auto names = names_of(view, features);
  std::vector<std::string_view> name_views{names.begin(), names.end()};
  auto plan = plan_read(engine, kind, name_views);
  REQUIRE(plan);
  std::vector<std::vector<oracle::cell>> ours(ids.size());
  for (std::size_t from = 0; from < ids.size(); from += 500) {
    std::vector<std::string_view> some{ids.begin() + static_cast<std::ptrdiff_t>(from),
                                       ids.begin() +
                                           static_cast<std::ptrdiff_t>(std::min(from + 500, ids.size()))};
    auto columns = read_features(engine, *plan, some, engine.watermark());
    REQUIRE(columns);
    for (std::size_t r = 0; r < some.size(); ++r)
      for (auto& each : *columns) {
        oracle::cell value;
        if (each.status[r] == 1 && each.type == value_type::number)
          value = each.numbers[r];
        if (each.status[r] == 1 && each.type == value_type::list)
          value = fmt::format("{}", fmt::join(each.list(r), " "));
        if (each.status[r] == 1 && each.type == value_type::text && !each.text(r).empty())
          value = std::string{each.text(r)};
        ours[from + r].push_back(value);
      }
  }
  oracle::compare(ours, theirs, features);
}

std::unique_ptr<state_engine> engine_of(const std::filesystem::path& path, std::vector<feature_view> views,
                                        const ingest::memory_stream& stream) {
  auto opened = state_engine::open(path, std::move(views));
  REQUIRE(opened);
  std::vector<std::uint32_t> all((*opened)->views().size());
  std::iota(all.begin(), all.end(), 0u);
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      REQUIRE((*opened)->apply(all, each));
  return std::move(*opened);
}

void check_online(const ingest::memory_stream& stream, int stride = 1) {
  testing::temp_dir folder;
  auto engine = engine_of(folder / "s", both_views(), stream);
  auto db = oracle::database(stream);
  check_view(*engine, db, entity_kind::user, "u", oracle::every_operator("item"), stride);
  check_view(*engine, db, entity_kind::item, "i", oracle::every_operator("user"), stride);
}

std::string build(const training_spec& spec, ingest::memory_stream& stream, const std::filesystem::path& out,
                  const std::vector<feature_view>& views, const training_options& options = {}) {
  auto manifest = build_training_set(spec, views, stream, out, options);
  if (!manifest)
    FAIL(manifest.error().text);
  return *manifest;
}

std::string hash_in(const std::string& manifest) {
  return std::string{boost::json::parse(manifest).as_object().at("content_sha256").as_string()};
}

training_spec label_spec() {
  training_spec spec;
  spec.name = "test";
  spec.label_event = "rating";
  spec.features = names_of("u", oracle::every_operator("item"));
  for (auto& each : names_of("i", oracle::every_operator("user")))
    spec.features.push_back(each);
  spec.rows_per_part = 700;
  return spec;
}

/// Rows of a training set, against the same question to DuckDB, for every `stride`th label.
void check_training(ingest::memory_stream& stream, training_spec spec, int stride) {
  testing::temp_dir folder;
  build(spec, stream, folder / "out", both_views());
  auto db = oracle::database(stream);
  auto known = spec.knowledge == knowledge::ingest_time ? " AND e.it <= l.t" : "";
  REQUIRE(db.run(fmt::format(
      "CREATE VIEW ours AS SELECT * FROM read_parquet({}, filename = true, file_row_number = true)",
      table::sql_text((folder / "out" / "part-*.parquet").string()))));
  REQUIRE(db.run(fmt::format("CREATE TABLE lab AS SELECT * FROM (SELECT row_number() OVER (ORDER BY et, "
                             "part, off) - 1 AS n, usr, itm, et AS t, val "
                             "FROM ev WHERE type = 'rating') WHERE n % {} = 0",
                             stride)));
  auto all = *db.integer("SELECT count(*) FROM ours");
  CHECK(all == *db.integer("SELECT count(*) FROM ev WHERE type = 'rating'"));
  for (std::string entity : {"user", "item"}) {
    auto features = oracle::every_operator(entity == "user" ? "item" : "user");
    REQUIRE(db.run(fmt::format("CREATE OR REPLACE VIEW one AS SELECT n, {} AS ent, t FROM lab",
                               entity == "user" ? "usr" : "itm")));
    auto theirs =
        oracle::rows_of(db, oracle::query(features, "one", entity, std::string{"e.et < l.t"} + known), 1);
    std::string columns;
    for (auto& each : names_of(entity == "user" ? "u" : "i", features))
      columns += (columns.empty() ? "" : ", ") + table::sql_name(each);
    auto ours = oracle::rows_of(
        db,
        fmt::format(
            "SELECT {} FROM (SELECT *, row_number() OVER (ORDER BY filename, file_row_number) - 1 AS n "
            "FROM ours) WHERE n % {} = 0 ORDER BY n",
            columns, stride),
        0);
    oracle::compare(ours, theirs, features);
  }
}

} // namespace

TEST_CASE("online: every operator and window equals SQL over generated events with late and equal instants") {
  for (unsigned seed : {1u, 2u}) {
    CAPTURE(seed);
    check_online(ingest::memory_stream{oracle::generated(6000, seed), 4, 100});
  }
}

TEST_CASE("online: what an entity's own records say equals SQL, whatever events are between") {
  auto records = oracle::generated_users(900, 5);
  for (auto& each : oracle::generated(900, 6)) {
    each.id += "e";
    records.push_back(std::move(each));
  }
  ingest::memory_stream stream{records, 3, 50};
  auto features = oracle::every_record_operator();
  auto views = parse_views(oracle::view_toml("r", "user", features), "test");
  REQUIRE(views);
  testing::temp_dir folder;
  auto engine = engine_of(folder / "s", *views, stream);
  auto db = oracle::database(stream);

  check_view(*engine, db, entity_kind::user, "r", features, 1);
}

TEST_CASE("what pages show is to features what impressions are, and equals SQL that unnests them") {
  ingest::memory_stream pages{oracle::generated_pages(3000, 7, false), 3, 50};
  ingest::memory_stream events{oracle::generated_pages(3000, 7, true), 3, 50};
  auto of_user = oracle::page_operators("item"), of_item = oracle::page_operators("user");
  auto views =
      parse_views(oracle::view_toml("u", "user", of_user) + oracle::view_toml("i", "item", of_item), "pages");
  REQUIRE(views);
  testing::temp_dir folder;
  auto by_pages = engine_of(folder / "pages", *views, pages);
  auto by_events = engine_of(folder / "events", *views, events);
  auto db = oracle::database(pages), before = oracle::database(events);

  check_view(*by_pages, db, entity_kind::user, "u", of_user, 1);
  check_view(*by_pages, db, entity_kind::item, "i", of_item, 1);
  check_view(*by_events, db, entity_kind::user, "u", of_user, 1);
  check_view(*by_events, db, entity_kind::item, "i", of_item, 1);
  REQUIRE(by_pages->flush());
  CHECK(*db.integer("SELECT count(*) FROM ev") == *before.integer("SELECT count(*) FROM ev"));

  training_spec spec;
  spec.name = "shown";
  spec.label_event = "impression";
  spec.features = names_of("u", of_user);
  for (auto& each : names_of("i", of_item))
    spec.features.push_back(each);
  spec.rows_per_part = 500;
  auto rows_of = [&](const std::string& name) {
    return oracle::rows_of(db,
                           fmt::format("SELECT * EXCLUDE (label_value, filename, file_row_number) FROM "
                                       "read_parquet({}, filename = true, file_row_number = true) ORDER BY "
                                       "filename, file_row_number",
                                       table::sql_text((folder / name / "part-*.parquet").string())),
                           0);
  };
  auto once = build(spec, pages, folder / "once", *views);
  CHECK(build(spec, pages, folder / "twice", *views) == once);
  build(spec, events, folder / "before", *views);
  CHECK(rows_of("once") == rows_of("before"));
}

TEST_CASE("training: at each label a user is what their newest record says, and no more than that") {
  auto records = oracle::generated_users(900, 5);
  for (auto& each : oracle::generated(900, 6)) {
    each.id += "e";
    records.push_back(std::move(each));
  }
  ingest::memory_stream stream{records, 3, 50};
  auto features = oracle::every_record_operator();
  auto views = parse_views(oracle::view_toml("r", "user", features), "test");
  REQUIRE(views);
  training_spec spec;
  spec.name = "records";
  spec.label_event = "rating";
  spec.features = names_of("r", features);
  testing::temp_dir folder;
  build(spec, stream, folder / "out", *views);
  auto db = oracle::database(stream);

  auto ours = oracle::rows_of(db,
                              "SELECT \"r.device\", \"r.record\" FROM read_parquet(" +
                                  table::sql_text((folder / "out" / "part-00000.parquet").string()) + ")",
                              0);
  REQUIRE(
      db.run("CREATE TABLE lab AS SELECT row_number() OVER (ORDER BY et, part, off) - 1 AS n, usr AS ent, "
             "et AS t FROM ev WHERE type = 'rating'"));
  auto theirs = oracle::rows_of(db, oracle::query(features, "lab", "user", "e.et < l.t"), 1);
  oracle::compare(ours, theirs, features);
  CHECK(std::ranges::count_if(ours, [](auto& row) { return row[0].index() == 0; }) > 100);
  CHECK(std::ranges::count_if(ours, [](auto& row) { return row[0].index() == 2; }) > 100);
}

TEST_CASE("every operator has its SQL tried") {
  std::set<std::string_view> tried;
  for (auto& toml : {oracle::view_toml("v", "user", oracle::every_operator("item")),
                     oracle::view_toml("v", "user", oracle::every_record_operator())}) {
    auto views = parse_views(toml, "test");
    REQUIRE(views);
    for (auto& each : views->front().features)
      tried.insert(each.op->name());
  }

  for (auto* each : all_operators())
    CHECK_MESSAGE(tried.contains(each->name()), each->name());
}

TEST_CASE("online: every operator and window equals SQL over MovieLens 100K") {
  auto events = movielens();
  if (events.empty()) {
    MESSAGE("skipped: no data");
    return;
  }
  CHECK(events.size() == 100'000);
  check_online(ingest::memory_stream{events, 8}, 4);
}

TEST_CASE("training: every operator and window at each label equals SQL over generated events") {
  ingest::memory_stream stream{oracle::generated(5000, 3), 4, 100};
  check_training(stream, label_spec(), 1);
}

TEST_CASE("training as known: what had not reached the log at the label's instant is not seen") {
  ingest::memory_stream stream{oracle::generated(4000, 4), 4, 100};
  auto spec = label_spec();
  spec.knowledge = knowledge::ingest_time;
  check_training(stream, spec, 1);
}

TEST_CASE("training: every operator and window at labels of MovieLens 100K equals SQL") {
  auto events = movielens();
  if (events.empty()) {
    MESSAGE("skipped: no data");
    return;
  }
  ingest::memory_stream stream{events, 8};
  auto spec = label_spec();
  spec.rows_per_part = 100'000;
  check_training(stream, spec, 211);
}

TEST_CASE("a training set is the same when built twice, and when killed and resumed at any checkpoint") {
  ingest::memory_stream stream{oracle::generated(4000, 6), 3, 100};
  auto spec = label_spec();
  spec.rows_per_part = 300;
  testing::temp_dir folder;
  auto once = build(spec, stream, folder / "once", both_views());
  auto twice = build(spec, stream, folder / "twice", both_views());
  CHECK(once == twice);
  CHECK(build(spec, stream, folder / "once", both_views()) == once);

  int calls = 0;
  std::string resumed;
  for (int attempt = 1; resumed.empty(); ++attempt) {
    REQUIRE(attempt < 100);
    training_options options;
    calls = 0;
    options.tell = [&](const training_progress&) { return ++calls < attempt; };
    auto manifest = build_training_set(spec, both_views(), stream, folder / "torn", options);
    if (manifest)
      resumed = *manifest;
    else
      CHECK(manifest.error().code == ec::canceled);
  }
  CHECK(resumed == once);
  auto checked = verify_training_set(folder / "torn");
  REQUIRE(checked);
  CHECK(checked->same);
  CHECK(!std::filesystem::exists(folder / "torn" / ".work"));

  auto other = spec;
  other.features.pop_back();
  auto refused = build_training_set(other, both_views(), stream, folder / "once");
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::conflict);
}

TEST_CASE("time travel: a training set over the first offsets does not change when the log grows") {
  auto events = oracle::generated(3000, 8);
  std::vector<record> early{events.begin(), events.begin() + 2000};
  ingest::memory_stream before{early, 3}, after{events, 3};
  auto spec = label_spec();
  testing::temp_dir folder;
  auto then = build(spec, before, folder / "then", both_views());
  spec.offsets = *before.ends();
  auto now = build(spec, after, folder / "now", both_views());
  CHECK(hash_in(then) == hash_in(now));
}

TEST_CASE("no feature sees an event at or after its label, and changing a value shows in the hash") {
  // Each event's value is its own instant: the largest value seen must lie before the label.
  auto events = oracle::generated(3000, 12);
  for (auto& each : events)
    each.value = static_cast<double>(micros_of(each.event_time) / 1'000'000);
  auto views = parse_views("[[view]]\nname='u'\nentity='user'\nsource=['rating','click']\n[[view.feature]]"
                           "\nname='newest'\noperator='max'\n"
                           "[[view.feature]]\nname='week'\noperator='max'\nwindow='7d'\n[[view]]\nname='i'"
                           "\nentity='item'\nsource=['rating','click']\n"
                           "[[view.feature]]\nname='newest'\noperator='last'\nof='value'\n",
                           "test");
  REQUIRE(views);
  training_spec spec;
  spec.name = "leak";
  spec.label_event = "click";
  spec.features = {"u.newest", "u.week", "i.newest"};
  spec.ages = true;
  testing::temp_dir folder;
  ingest::memory_stream stream{events, 4};
  auto manifest = build(spec, stream, folder / "out", *views);
  auto db = table::connection::open();
  auto from = "read_parquet(" + table::sql_text((folder / "out" / "part-00000.parquet").string()) + ")";
  for (auto& name : spec.features) {
    auto column = table::sql_name(name);
    CHECK(*db->integer(fmt::format("SELECT count(*) FROM {} WHERE {} >= epoch(label_time)", from, column)) ==
          0);
    CHECK(*db->integer(fmt::format("SELECT count(*) FROM {} WHERE \"{}.age_us\" <= 0", from, name)) == 0);
    CHECK(*db->integer(fmt::format("SELECT count({}) FROM {}", column, from)) > 100);
  }
  for (auto& each : events)
    *each.value += 1;
  ingest::memory_stream changed{events, 4};
  CHECK(hash_in(build(spec, changed, folder / "changed", *views)) != hash_in(manifest));
}

TEST_CASE("a label that is an event cannot see its own instant") {
  auto spec = parse_training_spec("features=['u.n']\nboundary='at'\n[labels]\nevent='click'\n", "t");
  CHECK(!spec);
  CHECK(!parse_training_spec("features=['u.n']\nlables=1\n[labels]\nevent='click'\n", "t"));
  CHECK(parse_training_spec("features=['u.n']\n[labels]\nentity_rows='x.parquet'\nuser='id'\ntime='at'\n",
                            "t"));
}

TEST_CASE(
    "the Feast fixture: attributes at the instants of entity rows equal DuckDB's ASOF join, duplicates and "
    "straggler included") {
  auto file = (data_folder() / "feast" / "driver_stats.parquet").string();
  if (!std::filesystem::exists(file)) {
    MESSAGE("skipped: no data");
    return;
  }
  auto db = table::connection::open();
  REQUIRE(db);
  auto rows = db->query(
      "SELECT driver_id::VARCHAR, epoch_us(event_timestamp::TIMESTAMP), conv_rate::DOUBLE, acc_rate::DOUBLE, "
      "avg_daily_trips::DOUBLE FROM read_parquet(" +
      table::sql_text(file) + ")");
  if (!rows)
    FAIL(rows.error().text);
  std::vector<record> records;
  std::set<std::string> seen;
  for (;;) {
    auto more = rows->next();
    REQUIRE(more);
    if (!*more)
      break;
    for (std::uint64_t r = 0; r < rows->rows(); ++r) {
      record each;
      each.kind = record_kind::user;
      each.user = rows->column(0).text(r);
      each.event_time = from_micros(rows->column(1).integer(r));
      each.ingest_time = each.event_time;
      each.attributes = {{"conv_rate", rows->column(2).number(r)},
                         {"acc_rate", rows->column(3).number(r)},
                         {"trips", rows->column(4).number(r)}};
      each.id = fmt::format("{}/{}/{}", each.user, rows->column(1).integer(r), rows->column(2).number(r));
      normalise(each);
      if (seen.insert(each.id).second) // as the log does it
        records.push_back(std::move(each));
    }
  }
  CHECK(records.size() < 1808);
  auto views = parse_views(
      "[[view]]\nname='d'\nentity='user'\nttl='1d'\n"
      "[[view.feature]]\nname='conv'\noperator='attribute'\nof='attribute.conv_rate'\ntype='number'\n"
      "[[view.feature]]\nname='acc'\noperator='attribute'\nof='attribute.acc_rate'\ntype='number'\n"
      "[[view.feature]]\nname='trips'\noperator='attribute'\nof='attribute.trips'\ntype='number'\n",
      "test");
  REQUIRE(views);
  testing::temp_dir folder;
  auto entity_rows = (folder / "entity_rows.parquet").string();
  // Instants around every row: exactly at it, a second before, 20 minutes and two days after.
  REQUIRE(db->run(fmt::format(
      "CREATE TABLE entity_rows AS SELECT driver_id, event_timestamp::TIMESTAMP + to_seconds(d) AS moment, d "
      "FROM "
      "(SELECT DISTINCT driver_id, event_timestamp FROM read_parquet({})), (VALUES (0), (-1), (1200), "
      "(172800)) v(d) "
      "ORDER BY moment, driver_id, d; COPY entity_rows TO {} (FORMAT parquet)",
      table::sql_text(file), table::sql_text(entity_rows))));
  training_spec spec;
  spec.name = "feast";
  spec.entity_rows = entity_rows;
  spec.entity_user = "driver_id";
  spec.entity_time = "moment";
  spec.kept_columns = {"d"};
  spec.boundary = boundary::at;
  spec.features = {"d.conv", "d.acc", "d.trips"};
  ingest::memory_stream stream{records, 2};
  build(spec, stream, folder / "out", *views);
  auto ours = oracle::rows_of(*db,
                              fmt::format("SELECT \"user\", \"d.conv\", \"d.acc\", \"d.trips\" FROM "
                                          "read_parquet({}) ORDER BY label_time, \"user\", d",
                                          table::sql_text((folder / "out" / "part-00000.parquet").string())),
                              1);
  auto theirs = oracle::rows_of(
      *db,
      fmt::format(
          "SELECT s.driver_id, CASE WHEN fresh THEN conv END, CASE WHEN fresh THEN acc END, CASE WHEN fresh "
          "THEN trips END FROM (SELECT s.driver_id, s.moment, s.d, f.conv_rate::DOUBLE AS conv, "
          "f.acc_rate::DOUBLE AS acc, f.avg_daily_trips::DOUBLE AS trips, s.moment - f.ts <= INTERVAL 1 DAY "
          "AS fresh FROM entity_rows s "
          "ASOF LEFT JOIN (SELECT DISTINCT driver_id, event_timestamp::TIMESTAMP AS ts, conv_rate, acc_rate, "
          "avg_daily_trips "
          "FROM read_parquet({})) f ON s.driver_id = f.driver_id AND s.moment >= f.ts) s ORDER BY s.moment, "
          "s.driver_id::VARCHAR, s.d::VARCHAR",
          table::sql_text(file)),
      1);
  oracle::compare(ours, theirs, {{"conv", "", ""}, {"acc", "", ""}, {"trips", "", ""}});
}

TEST_CASE("training sets equal DuckDB's ASOF join over MovieLens 100K") {
  auto events = movielens();
  if (events.empty()) {
    MESSAGE("skipped: no data");
    return;
  }
  auto views = parse_views(
      "[[view]]\nname='u'\nentity='user'\nsource='rating'\n[[view.feature]]\nname='n'\noperator='count'\n"
      "[[view.feature]]\nname='sum'\noperator='sum'\n[[view.feature]]\nname='last'\noperator='last'\nof='"
      "value'\n",
      "test");
  REQUIRE(views);
  training_spec spec;
  spec.name = "asof";
  spec.label_event = "rating";
  spec.features = {"u.n", "u.sum", "u.last"};
  testing::temp_dir folder;
  ingest::memory_stream stream{events, 8};
  build(spec, stream, folder / "out", *views);
  auto db = oracle::database(stream);
  auto ours = oracle::rows_of(db,
                              "SELECT \"u.n\", \"u.sum\", \"u.last\" FROM read_parquet(" +
                                  table::sql_text((folder / "out" / "part-00000.parquet").string()) + ")",
                              0);
  // The running state after the last event of each instant, joined to the label strictly after it.
  auto theirs = oracle::rows_of(
      db,
      "WITH run AS (SELECT usr, et, part, off, (count(*) OVER w)::DOUBLE AS n, sum(val) OVER w AS s, val AS "
      "last, "
      "row_number() OVER (PARTITION BY usr, et ORDER BY part DESC, off DESC) AS final FROM ev "
      "WINDOW w AS (PARTITION BY usr ORDER BY et, part, off ROWS UNBOUNDED PRECEDING)) "
      "SELECT r.n, r.s, r.last FROM ev l ASOF LEFT JOIN (SELECT * FROM run WHERE final = 1) r "
      "ON l.usr = r.usr AND l.et > r.et ORDER BY l.et, l.part, l.off",
      0);
  oracle::compare(ours, theirs, {{"n", "", ""}, {"sum", "", ""}, {"last", "", ""}});
}
