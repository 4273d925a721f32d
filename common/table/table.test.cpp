#include "common/table/connection.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::table;

namespace {

connection memory() {
  auto made = connection::open({.threads = 1});
  REQUIRE(made);
  return std::move(*made);
}

} // namespace

TEST_CASE("a query streams its rows with types and NULL") {
  auto base = memory();
  auto rows = base.query(
      "SELECT i, i / 2.0 AS half, CASE WHEN i % 3 = 0 THEN NULL ELSE 'row ' || i || ' is long enough' END AS "
      "name, "
      "TIMESTAMP '2020-01-01 00:00:00' + to_seconds(i) AS at, [i, i + 1] AS list, sum(i) OVER () AS total, "
      "1.25::DECIMAL(9,2) AS money FROM range(5000) t(i) ORDER BY i");
  REQUIRE_MESSAGE(rows, rows.error().text);
  REQUIRE(rows->columns() == 7);
  CHECK(rows->name(1) == "half");
  CHECK(rows->find("at") == 3);
  CHECK(!rows->find("nothing"));
  CHECK(rows->type(4).of == kind::list);

  std::int64_t seen = 0;
  while (true) {
    auto more = rows->next();
    REQUIRE(more);
    if (!*more)
      break;
    auto elements = rows->column(4).child();
    for (std::uint64_t row = 0; row < rows->rows(); ++row, ++seen) {
      REQUIRE(rows->column(0).integer(row) == seen);
      REQUIRE(rows->column(1).number(row) == doctest::Approx(static_cast<double>(seen) / 2));
      REQUIRE(rows->column(2).is_null(row) == (seen % 3 == 0));
      if (seen % 3)
        REQUIRE(rows->column(2).text(row) == "row " + std::to_string(seen) + " is long enough");
      REQUIRE(micros_of(rows->column(3).time(row)) == 1577836800000000 + seen * 1000000);
      auto part = rows->column(4).elements(row);
      REQUIRE(part.length == 2);
      REQUIRE(elements.integer(part.offset + 1) == seen + 1);
      REQUIRE(rows->column(5).integer(row) == 5000 * 4999 / 2);
      REQUIRE(rows->column(6).number(row) == 1.25);
    }
  }
  CHECK(seen == 5000);
}

TEST_CASE("parameters are bound by position and text is never SQL") {
  auto base = memory();
  REQUIRE(base.run("CREATE TABLE t(a BIGINT, b VARCHAR, c TIMESTAMP, d DOUBLE); INSERT INTO t VALUES (1, "
                   "'x', NULL, 2.5)"));
  value row[] = {std::int64_t{7}, std::string_view{"it's"}, from_micros(5), std::monostate{}};

  CHECK(base.run("INSERT INTO t VALUES (?, ?, ?, ?)", row) == 1);

  value name[] = {std::string_view{"it's"}};
  CHECK((base.integer("SELECT a FROM t WHERE b = ?", name).value() == std::optional<std::int64_t>{7}));
  CHECK((base.integer("SELECT d FROM t WHERE b = ?", name).value() == std::optional<std::int64_t>{}));
  CHECK((base.text("SELECT b FROM t WHERE a = 1").value() == std::optional<std::string>{"x"}));
  CHECK(base.integer("SELECT a FROM t WHERE b = ?").error().code == ec::invalid_argument);
  CHECK(sql_text("it's") == "'it''s'");
}

TEST_CASE("wrong statements are errors that name the statement and the reason") {
  auto base = memory();

  auto gone = base.query("SELECT * FROM nothing");
  CHECK(gone.error().code == ec::invalid_argument);
  CHECK(gone.error().text.find("SELECT * FROM nothing") != std::string::npos);
  CHECK(base.run("SELEC 1").error().code == ec::invalid_argument);
  CHECK(base.query("SELECT * FROM read_parquet('/nowhere.parquet')").error().code == ec::not_found);
  auto late = base.query("SELECT CASE WHEN i = 4000 THEN error('no') ELSE i END FROM range(5000) t(i)");
  bool failed = !late;
  while (!failed) {
    auto more = late->next();
    failed = !more;
    if (more && !*more)
      break;
  }
  CHECK(failed);
}

TEST_CASE("an appender writes rows of every cell type") {
  auto base = memory();
  REQUIRE(base.run(
      "CREATE TABLE t(a BIGINT, b VARCHAR, c DOUBLE, d BOOLEAN, e TIMESTAMP, f VARCHAR[], g INTEGER)"));
  auto rows = base.append_to("t");
  REQUIRE(rows);
  std::vector<std::string> words{"a", "a longer word than twelve"};

  for (std::int64_t i = 0; i < 5000; ++i) {
    rows->add(i).add("text " + std::to_string(i)).add(i).add(i % 2 == 0).add(from_micros(i));
    if (i % 2)
      rows->add_null();
    else
      rows->add(std::span<const std::string>{words});
    rows->add(7);
    REQUIRE(rows->end_row());
  }
  rows->add("wrong");
  CHECK(rows->end_row().error().text == "cannot add a row: cell 1 does not take text");
  rows->add(1);
  CHECK(rows->end_row().error().text == "cannot add a row: a row has 1 cells, 7 are needed");
  REQUIRE(rows->flush());

  CHECK((base.integer("SELECT count(*) FROM t WHERE a = c AND b = 'text ' || a AND d = (a % 2 = 0) AND "
                      "epoch_us(e) = a AND g = 7")
             .value() == std::optional<std::int64_t>{5000}));
  CHECK((base.integer("SELECT sum(len(f)) FROM t").value() == std::optional<std::int64_t>{5000}));
  CHECK(
      (base.integer("SELECT count(*) FROM t WHERE f IS NULL").value() == std::optional<std::int64_t>{2500}));
  CHECK(base.append_to("nothing").error().code == ec::not_found);
}

TEST_CASE("a Parquet file is written row by row and read back equal") {
  testing::temp_dir dir;
  auto path = dir / "rows.parquet";
  auto out = parquet_writer::open(
      path, {{"id", cell::text}, {"n", cell::int64}, {"x", cell::float64}, {"words", cell::text_list}},
      {.row_group_rows = 10'000});
  REQUIRE_MESSAGE(out, out.error().text);
  std::vector<std::string> words{"drama", "a very long word indeed"};

  for (std::int64_t i = 0; i < 50'000; ++i) {
    (*out)->add("id " + std::to_string(i)).add(i);
    if (i % 5 == 0)
      (*out)->add_null();
    else
      (*out)->add(0.5 * static_cast<double>(i));
    (*out)->add(std::span<const std::string>{words}.first(static_cast<std::size_t>(i % 3)));
    REQUIRE((*out)->end_row());
  }
  CHECK(!std::filesystem::exists(path));
  auto size = (*out)->finish();
  REQUIRE_MESSAGE(size, size.error().text);

  CHECK(*size == std::filesystem::file_size(path));
  auto base = memory();
  auto from = fmt::format(" FROM read_parquet({}, file_row_number=true)", sql_text(path.string()));
  CHECK((base.integer("SELECT count(*)" + from +
                      " WHERE id = 'id ' || n AND n = file_row_number AND len(words) = n % 3")
             .value() == std::optional<std::int64_t>{50'000}));
  CHECK((base.integer("SELECT count(*)" + from + " WHERE x IS NULL").value() ==
         std::optional<std::int64_t>{10'000}));
}

TEST_CASE("whole numbers and decimals of every width give all of their digits") {
  auto base = memory();
  constexpr std::string_view least = "(-170141183460469231731687303715884105728)::HUGEINT";
  for (std::string type :
       {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT",
        "DECIMAL(1, 0)", "DECIMAL(4, 2)", "DECIMAL(4, 4)", "DECIMAL(9, 3)", "DECIMAL(18, 18)",
        "DECIMAL(18, 1)", "DECIMAL(38, 0)", "DECIMAL(38, 10)", "DECIMAL(38, 38)"}) {
    CAPTURE(type);
    // A digit more or less each row, both signs, the outermost ones: what the type does not hold is NULL.
    auto rows =
        base.query(fmt::format("SELECT c, regexp_replace(c::VARCHAR, '^(-?)[.]', '\\10.') FROM (SELECT "
                               "TRY_CAST(x AS {}) AS c FROM (SELECT ('-1234567890123456789012345678901234"
                               "56789'[i % 2 + 1:2 + i // 2] || '.' || "
                               "'98765432109876543210987654321098765432'[1:j]) AS x FROM range(78) "
                               "a(i), range(39) b(j) UNION ALL VALUES ('0'), ('-1'), ('0.05'), ('-0.05'), "
                               "('-128'), ('255'), ('65535'), "
                               "('9223372036854775807'), ('-9223372036854775808'), ('18446744073709551615'), "
                               "('170141183460469231731687303715884105727'), ({}::VARCHAR)))",
                               type, least));
    REQUIRE_MESSAGE(rows, rows.error().text);
    int seen = 0;
    while (*rows->next())
      for (std::uint64_t row = 0; row < rows->rows(); ++row)
        if (!rows->column(0).is_null(row)) {
          std::string digits;
          rows->column(0).append_digits(row, digits);
          REQUIRE(digits == rows->column(1).text(row));
          if (type.starts_with("DECIMAL"))
            REQUIRE(rows->column(0).number(row) == std::strtod(digits.c_str(), nullptr));
          if (auto whole = digits.substr(0, digits.find('.')); whole.size() < 18)
            REQUIRE(rows->column(0).integer(row) == std::stoll(whole));
          ++seen;
        }
    CHECK(seen > 2);
  }
}

TEST_CASE("dates and timestamps have an instant in the years 1 to 9999") {
  auto base = memory();
  for (std::string type :
       {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ"}) {
    CAPTURE(type);
    auto rows = base.query(fmt::format(
        "SELECT c, CASE WHEN good THEN epoch_us(c::TIMESTAMP) END, good FROM (SELECT c, isfinite(c) AND "
        "year({}) BETWEEN 1 "
        "AND 9999 AS good FROM (SELECT TRY_CAST(x AS {}) "
        "AS c FROM (VALUES ('infinity'), ('-infinity'), ('0001-01-01'), ('0001-01-01 (BC)'), ('9999-12-31'), "
        "('10000-01-01'), ('5877642-06-25 (BC)'), ('5881580-07-10'), ('290000-01-01'), ('1970-01-01'), "
        "('2024-02-29'), ('1969-12-31'), ('1677-09-22'), ('2262-04-11')) v(x)) WHERE c IS NOT NULL)",
        type == "TIMESTAMPTZ" ? "c::TIMESTAMP" : "c", type)); // Of TIMESTAMPTZ the year before 1 is 1.
    REQUIRE_MESSAGE(rows, rows.error().text);
    REQUIRE(*rows->next());
    CHECK(rows->rows() >= 6);
    for (std::uint64_t row = 0; row < rows->rows(); ++row) {
      auto at = rows->column(0).instant(row);
      CHECK(at.has_value() == rows->column(2).flag(row));
      if (at)
        CHECK(micros_of(*at) == rows->column(1).integer(row));
    }
  }
}

TEST_CASE("a Parquet file is read by its path alone, whatever signs that has, and with its own columns") {
  testing::temp_dir dir;
  auto base = memory();
  for (std::string name : {"plain", "at=2024-01-01/user=999/x", "[a]*?", "a[!b]]", "it's", "~", "a{b,c}",
                           "back\\slash", ".hidden/[x]", "new\nline", "s3://bucket/x"}) {
    CAPTURE(name);
    auto path = dir / (name + ".parquet");
    std::filesystem::create_directories(path.parent_path());
    REQUIRE(base.run("COPY (SELECT 'u1' AS \"user\", 7 AS file_row_number, 'f' AS filename) TO " +
                     sql_text((dir / "made.parquet").string()) + " (FORMAT parquet)"));
    std::filesystem::rename(dir / "made.parquet", path);
    auto rows = base.query("SELECT * FROM " + parquet_file(path));
    REQUIRE_MESSAGE(rows, rows.error().text);
    CHECK(rows->columns() == 3);
    REQUIRE(*rows->next());
    CHECK(rows->column(0).text(0) == "u1");
    CHECK(rows->column(1).integer(0) == 7);
    CHECK(rows->column(2).text(0) == "f");
  }
}

TEST_CASE("a Parquet writer that is not finished leaves nothing behind") {
  testing::temp_dir dir;
  {
    auto out = parquet_writer::open(dir / "rows.parquet", {{"id", cell::text}});
    REQUIRE(out);
    for (int i = 0; i < 5'000; ++i)
      REQUIRE((*out)->add("x").end_row());
  }
  CHECK(std::filesystem::is_empty(dir.path()));

  auto nowhere = parquet_writer::open(dir / "no" / "rows.parquet", {{"id", cell::text}});
  REQUIRE(nowhere);
  REQUIRE((*nowhere)->add("x").end_row());
  CHECK(!(*nowhere)->finish());
}

TEST_CASE("a database file keeps its tables and a second connection sees them") {
  testing::temp_dir dir;
  {
    auto base = connection::open(
        {.file = dir / "a.db", .memory_limit_bytes = 64 << 20, .threads = 1, .temp_directory = dir / "tmp"});
    REQUIRE_MESSAGE(base, base.error().text);
    REQUIRE(base->run("CREATE TABLE t AS SELECT 42 AS a"));
    auto other = base->another();
    REQUIRE(other);
    CHECK((other->integer("SELECT a FROM t").value() == std::optional<std::int64_t>{42}));
  }
  auto again = connection::open({.file = dir / "a.db", .threads = 1, .read_only = true});
  REQUIRE(again);
  CHECK((again->integer("SELECT a FROM t").value() == std::optional<std::int64_t>{42}));

  std::ofstream{dir / "bad.db"} << std::string(5000, 'x');
  CHECK(!connection::open({.file = dir / "bad.db"}));
}
