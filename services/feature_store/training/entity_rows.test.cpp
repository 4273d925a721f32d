#include "services/feature_store/training/entity_rows.hpp"

#include "services/feature_store/client/training_manifest.hpp"
#include "services/feature_store/training/training_set.hpp"

#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::feature_store;

namespace fs = std::filesystem;

namespace {

/// A log of purchases by users whose names are easily taken for numbers.
ingest::memory_stream purchases() {
  std::vector<record> events;
  auto add = [&](const std::string& user, const std::string& item, std::string_view at) {
    record each;
    each.id = "e" + std::to_string(events.size());
    each.type = "purchase";
    each.user = user;
    each.item = item;
    each.event_time = *parse_rfc3339(at);
    events.push_back(each);
  };
  add("12345678901234567890", "i1", "2024-05-01T10:00:00Z");
  add("12345678901234567891", "i2", "2024-05-01T10:00:00Z");
  add("12345678901234567891", "i3", "2024-05-01T11:00:00Z");
  add("00123", "i1", "2024-05-01T10:00:00Z");
  add("123", "i1", "2024-05-01T10:00:00Z");
  add("123", "i2", "2024-05-01T10:30:00Z");
  add("c0ffee00-0000-0000-0000-000000000001", "i1", "2024-05-01T10:00:00Z");
  return ingest::memory_stream{events, 2};
}

training_spec spec_of(const fs::path& rows, const std::string& more = {}) {
  auto spec =
      parse_training_spec("name = \"rows\"\nfeatures = [\"act.n\", \"act.last_item\"]\nboundary = \"at\"\n" +
                              more + "[labels]\nentity_rows = \"" + rows.string() +
                              "\"\nuser = \"customer\"\ntime = \"at\"\ncolumns = [\"label\"]\n",
                          "spec");
  REQUIRE_MESSAGE(spec, (spec ? std::string{} : render(spec.error())));
  return *spec;
}

expected<std::string> build(const training_spec& spec, const fs::path& out) {
  auto views =
      parse_views("[[view]]\nname = \"act\"\nentity = \"user\"\nsource = [\"purchase\"]\nttl = \"90d\"\n"
                  "[[view.feature]]\nname = \"n\"\noperator = \"count\"\n"
                  "[[view.feature]]\nname = \"last_item\"\noperator = \"last\"\nof = \"item\"\n",
                  "views");
  REQUIRE(views);
  auto log = purchases();
  return build_training_set(spec, *views, log, out);
}

/// `user|label|n|last_item` of every row, and the number that match nobody.
std::string rows_of(const fs::path& rows, const std::string& more = {}) {
  troupe::testing::temp_dir dir;
  auto built = build(spec_of(rows, more), dir / "out");
  if (!built)
    return built.error().text;
  auto manifest = parse_training_manifest(*built, "manifest");
  REQUIRE(manifest);
  auto db = table::connection::open({.threads = 1});
  auto text =
      db->text("SELECT string_agg(concat_ws('|', \"user\", label, \"act.n\"::INT, \"act.last_item\"), ' ' "
               "ORDER BY label) FROM " +
               table::parquet_file(dir / "out" / "part-00000.parquet"));
  REQUIRE_MESSAGE(text, text.error().text);
  return text->value_or("") + fmt::format(" unmatched {}", manifest->unmatched_rows);
}

void write(const fs::path& path, std::string_view text) {
  std::ofstream{path, std::ios::binary} << text;
}

void write_parquet(const fs::path& path, const std::string& sql) {
  auto db = table::connection::open({.threads = 1});
  auto done = db->run("COPY (" + sql + ") TO " +
                      table::sql_text((path.parent_path() / "made.parquet").string()) + " (FORMAT parquet)");
  REQUIRE_MESSAGE(done, done.error().text);
  fs::rename(path.parent_path() / "made.parquet", path);
}

} // namespace

TEST_CASE("rows of a CSV file find the users that the same digits name in the log") {
  troupe::testing::temp_dir dir;
  write(dir / "long.csv",
        "customer,at,label\n12345678901234567890,2024-05-01T10:30:00Z,a\n12345678901234567891,"
        "2024-05-01T10:30:00Z,b\n12345678901234567891,2024-05-01T12:00:00Z,c\n");
  write(dir / "zero.csv", "customer,at,label\n00123,2024-05-01T10:30:00Z,a\n123,2024-05-01T10:30:00Z,b\n");
  write(dir / "zone.csv", "customer,at,label\n123,2024-05-01 12:15:00+02:00,a\n123,2024-05-01 10:30:00,b\n"
                          "123,1714559400,0.50\n");
  write(dir / "rows.jsonl",
        "{\"customer\":12345678901234567891,\"at\":\"2024-05-01T12:00:00Z\",\"label\":0.50}\n"
        "{\"customer\":\"00123\",\"at\":1714559400000,\"label\":[1,\"b\"]}\n");

  CHECK(rows_of(dir / "long.csv") ==
        "12345678901234567890|a|1|i1 12345678901234567891|b|1|i2 12345678901234567891|c|2|i3 unmatched 0");
  CHECK(rows_of(dir / "zero.csv") == "00123|a|1|i1 123|b|2|i2 unmatched 0");
  CHECK(rows_of(dir / "zone.csv") == "123|0.50|2|i2 123|a|1|i1 123|b|2|i2 unmatched 0");
  CHECK(rows_of(dir / "rows.jsonl") == "12345678901234567891|0.50|2|i3 00123|[1,\"b\"]|1|i1 unmatched 0");
}

TEST_CASE("rows of a Parquet file find them whatever the type of the column, wherever the file lies") {
  troupe::testing::temp_dir dir;
  auto path = dir / "customer=999" / "[rows]*.parquet";
  fs::create_directories(path.parent_path());
  auto rows = [&](const std::string& values) {
    write_parquet(
        path, "SELECT c AS customer, TIMESTAMP '2024-05-01 10:30:00' AS at, 'x' || row_number() OVER () AS "
              "label, '\\xFF'::BLOB AS unread FROM (VALUES " +
                  values + ") v(c)");
    return rows_of(path);
  };

  CHECK(rows("(12345678901234567890::DECIMAL(20,0)), (12345678901234567891::DECIMAL(20,0))") ==
        "12345678901234567890|x1|1|i1 12345678901234567891|x2|1|i2 unmatched 0");
  CHECK(rows("(12345678901234567890::UBIGINT), (12345678901234567891::UBIGINT)") ==
        "12345678901234567890|x1|1|i1 12345678901234567891|x2|1|i2 unmatched 0");
  CHECK(rows("('c0ffee00-0000-0000-0000-000000000001'::UUID)") ==
        "c0ffee00-0000-0000-0000-000000000001|x1|1|i1 unmatched 0");
  CHECK(rows("(123::SMALLINT)") == "123|x1|2|i2 unmatched 0");
  CHECK(rows("(123::DOUBLE)") == "123|x1|2|i2 unmatched 0");
  CHECK(rows("('00123'), (NULL)") == "00123|x1|1|i1 x2 unmatched 1");
  CHECK(rows("(12345678901234567890::DOUBLE)").find("row 1 of entity_rows") != std::string::npos);
  CHECK(rows("(12345678901234567890::DOUBLE)").find("column customer is no name") != std::string::npos);
  CHECK(rows("([1])").find("column customer: it is an array") != std::string::npos);
}

TEST_CASE("a training set counts the rows that match nobody, and is none when those are all or too many") {
  troupe::testing::temp_dir dir;
  write(dir / "some.csv", "customer,at,label\n123,2024-05-01T10:30:00Z,a\n124,2024-05-01T10:30:00Z,b\n"
                          "123,2024-04-01T10:30:00Z,c\n00123,2024-05-01T10:30:00Z,d\n");
  write(dir / "none.csv", "customer,at,label\n1.2345678901234567e+19,2024-05-01T10:30:00Z,a\n");

  CHECK(rows_of(dir / "some.csv") == "123|a|2|i2 124|b 123|c 00123|d|1|i1 unmatched 2");
  CHECK(rows_of(dir / "some.csv", "max_unmatched_share = 0.5\n").ends_with("unmatched 2"));
  CHECK(rows_of(dir / "some.csv", "max_unmatched_share = 0.49\n") ==
        "building training set rows: 2 of 4 rows match no user and no item that the log knows by then, more "
        "than "
        "max_unmatched_share = 0.49; the first is user `123`, item `` at 2024-04-01T10:30:00Z. Are the "
        "identities written "
        "as in the log, and its records older than the rows?");
  CHECK(rows_of(dir / "none.csv").find("1 of 1 rows match no user and no item") != std::string::npos);
  CHECK(rows_of(dir / "none.csv", "max_unmatched_share = 1\n").ends_with("unmatched 1"));
  for (auto wrong : {"1.1", "-0.1", "\"1\"", "nan"})
    CHECK(!parse_training_spec(
        fmt::format("features=['u.n']\nmax_unmatched_share={}\n[labels]\nevent='e'\n", wrong), "t"));
}

TEST_CASE("what failed for its rows is built anew from the mended ones") {
  troupe::testing::temp_dir dir;
  write(dir / "rows.csv", "customer,at,label\n124,2024-05-01T10:30:00Z,a\n");
  auto spec = spec_of(dir / "rows.csv");
  CHECK(!build(spec, dir / "out"));
  CHECK(fs::is_empty(dir / "out"));

  write(dir / "rows.csv", "customer,at,label\n123,2024-05-01T10:30:00Z,a\n");

  CHECK(build(spec, dir / "out"));
}

TEST_CASE("entity rows that cannot be read are refused with row and column") {
  troupe::testing::temp_dir dir;
  write(dir / "columns.csv", "who,at,label\n1,2024-05-01T10:30:00Z,a\n");
  write(dir / "time.csv", "customer,at,label\n1,2024-05-01T10:30:00Z,a\n1,yesterday,b\n");
  write(dir / "short.csv", "customer,at,label\n1,2024-05-01T10:30:00Z\n");
  write_parquet(dir / "infinite.parquet", "SELECT '123' AS customer, 'infinity'::DATE AS at, 'x' AS label");
  auto why = [&](const char* name) { return rows_of(dir / name); };

  CHECK(why("columns.csv").ends_with("has no column customer; its columns are who, at, label"));
  CHECK(why("time.csv").find("reading row 2 of entity_rows") != std::string::npos);
  CHECK(why("time.csv").find("column at") != std::string::npos);
  CHECK(why("short.csv").find("the row has 2 columns, 3 are expected") != std::string::npos);
  CHECK(why("infinite.parquet").find("column at holds no instant") != std::string::npos);
  CHECK(why("gone.csv").find("cannot open") != std::string::npos);
}
