#include "common/ingest_format/readers/row_text.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/json/exact.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>
#include <iterator>
#include <random>
#include <set>

using namespace troupe;
using namespace troupe::ingest_format;
namespace fs = std::filesystem;

namespace {

/// A row with its own memory.
struct kept {
  std::string bytes;
  std::uint64_t number, offset;
  std::vector<std::string> fields;
  std::string text, reason;

  friend bool operator==(const kept&, const kept&) = default;
};

struct reading {
  std::vector<kept> rows;
  std::vector<source_position> after; // Of each row.
  std::optional<error> failure;
};

reading read_all(const fs::path& path, const source_options& options = {}, source_position from = {},
                 std::size_t step = 1) {
  reading out;
  auto reader = open_reader(path, options, from);
  if (!reader) {
    out.failure = reader.error();
    return out;
  }
  while (true) {
    auto batch = (*reader)->next(step);
    if (!batch) {
      out.failure = batch.error();
      return out;
    }
    if ((*batch)->rows.empty())
      return out;
    for (auto& row : (*batch)->rows) {
      out.rows.push_back({bytes_of(row),
                          row.number,
                          row.offset,
                          {row.fields.begin(), row.fields.end()},
                          row.object ? bytes_of(row) : std::string{row.text},
                          row.refused ? row.refused->reason : ""});
      out.after.push_back((*batch)->after);
    }
    CHECK((*reader)->bytes_read() <= (*reader)->bytes_total());
  }
}

void write(const fs::path& path, std::string_view text) {
  std::ofstream{path, std::ios::binary} << text;
}

std::string gzipped(const std::string& text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&state, text.size()) + 64, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

std::string zstd_packed(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// Rows of changing length, some quoted, with line feeds inside.
std::string many_rows(int count) {
  std::mt19937 random{7};
  std::string text = "id,name,note\n";
  for (int i = 0; i < count; ++i) {
    text += std::to_string(i) + ",name " + std::string(random() % 90, 'x') + ",";
    text += i % 3 == 0 ? "\"a \"\"quoted\"\" note,\nof two lines\"" : "plain";
    text += i % 2 ? "\n" : "\r\n";
  }
  return text;
}

} // namespace

TEST_CASE("CSV rows are split as RFC 4180 says") {
  testing::temp_dir dir;
  write(dir / "a.csv", "\xef\xbb\xbf"
                       "a,b,c\r\n1,\"x,y\",\"he said \"\"no\"\"\"\r\n\n,\"\",\"two\nlines\"\n4,5,6");

  auto all = read_all(dir / "a.csv");

  REQUIRE(!all.failure);
  REQUIRE(all.rows.size() == 3);
  CHECK(all.rows[0].fields == std::vector<std::string>{"1", "x,y", "he said \"no\""});
  CHECK(all.rows[0].offset == 10);
  CHECK(all.rows[1].fields == std::vector<std::string>{"", "", "two\nlines"});
  CHECK(all.rows[1].bytes == ",\"\",\"two\nlines\"");
  CHECK(all.rows[2].fields == std::vector<std::string>{"4", "5", "6"});
  CHECK(all.rows[2].number == 3);
  CHECK(read_all(dir / "a.csv", {}, {}, 100).rows == all.rows);
}

TEST_CASE("delimiters may have several bytes and quotes may mean nothing") {
  testing::temp_dir dir;
  write(dir / "a.dat", "1::a \"b::c:d\n2::::\n");
  source_options options;
  options.csv = {"::", std::nullopt, false, {"x", "y", "z"}, 0};

  auto all = read_all(dir / "a.dat", options);

  REQUIRE(all.rows.size() == 2);
  CHECK(all.rows[0].fields == std::vector<std::string>{"1", "a \"b", "c:d"});
  CHECK(all.rows[1].fields == std::vector<std::string>{"2", "", ""});
}

TEST_CASE("a bad CSV row is refused with its reason and the next rows are read") {
  testing::temp_dir dir;
  write(dir / "a.csv", "a,b\n1,2\n3\n\"open,4\n5,6\n\"x\"y,7\n8,\xff\xfe\n9,10\n");

  auto all = read_all(dir / "a.csv");

  REQUIRE(!all.failure);
  REQUIRE(all.rows.size() == 7);
  CHECK(all.rows[1].reason == "the row has 1 columns, 2 are expected");
  CHECK(all.rows[2].bytes == "\"open,4");
  // The quote pairs with the next one, behind which text follows.
  CHECK(all.rows[2].reason == "text follows a closing quote");
  CHECK(all.rows[3].fields == std::vector<std::string>{"5", "6"});
  CHECK(all.rows[4].reason == "text follows a closing quote");
  CHECK(all.rows[5].reason == "column 2 is not valid UTF-8");
  CHECK(all.rows[5].bytes == "8,\xff\xfe");
  CHECK(all.rows[6].fields == std::vector<std::string>{"9", "10"});

  write(dir / "b.csv", "a,b\n1,\"2\n3,4\n");
  auto open = read_all(dir / "b.csv");
  REQUIRE(open.rows.size() == 2);
  CHECK(open.rows[0].reason == "a quote is opened and never closed");
  CHECK(open.rows[1].fields == std::vector<std::string>{"3", "4"});
}

TEST_CASE("a row that is too long is refused and the next one is read") {
  testing::temp_dir dir;
  auto big = std::string(3 << 20, 'x');
  write(dir / "a.csv",
        "a,b\n1,2\n" + big + ",2\n3,4\n\"" + big + "\n5,6\n" + std::string(900 << 10, 'y') + ",8\n");
  write(dir / "a.jsonl", "{\"a\":1}\n" + big + "\n{\"a\":2}\n");

  auto all = read_all(dir / "a.csv");

  REQUIRE(!all.failure);
  REQUIRE(all.rows.size() == 6);
  CHECK(all.rows[1].reason == "the row is longer than 1048576 bytes");
  CHECK(all.rows[1].bytes == std::string(4096, 'x') + '\n');
  CHECK(all.rows[2].fields == std::vector<std::string>{"3", "4"});
  CHECK(!all.rows[3].reason.empty());
  CHECK(all.rows[4].fields == std::vector<std::string>{"5", "6"});
  CHECK(all.rows[5].fields[1] == "8");
  auto lines = read_all(dir / "a.jsonl");
  REQUIRE(lines.rows.size() == 3);
  CHECK(lines.rows[1].reason == "the row is longer than 1048576 bytes");
  CHECK(lines.rows[2].text == "{\"a\":2}");
}

TEST_CASE("reading that stops after any row and goes on sees what undisturbed reading sees") {
  testing::temp_dir dir;
  auto text = many_rows(5000);
  write(dir / "a.csv", text);
  write(dir / "a.csv.gz", gzipped(text));
  write(dir / "a.csv.zst", zstd_packed(text));
  // gzip and zstd allow several streams in one file.
  write(dir / "two.csv.gz",
        gzipped(text.substr(0, 1000)) + gzipped(text.substr(1000)) + std::string(512, '\0'));
  write(dir / "two.csv.zst", zstd_packed(text.substr(0, 1000)) + zstd_packed(text.substr(1000)));
  std::string lines;
  for (int i = 0; i < 3000; ++i)
    lines += "{\"id\":\"" + std::string(static_cast<std::size_t>(i % 200), 'z') + "\"}\n";
  write(dir / "a.jsonl", lines);
  write(dir / "a.jsonl.gz", gzipped(lines));
  auto out = table::parquet_writer::open(
      dir / "a.parquet", {{"id", table::cell::text}, {"n", table::cell::int64}}, {.row_group_rows = 2048});
  REQUIRE(out);
  for (int i = 0; i < 5000; ++i)
    REQUIRE((*out)->add("id \"" + std::to_string(i)).add(i).end_row());
  REQUIRE((*out)->finish());
  auto plain = read_all(dir / "a.csv").rows;
  REQUIRE(plain.size() == 5000);

  for (auto name : {"a.csv", "a.csv.gz", "a.csv.zst", "two.csv.gz", "two.csv.zst", "a.jsonl", "a.jsonl.gz",
                    "a.parquet"}) {
    CAPTURE(name);
    auto whole = read_all(dir / name);
    REQUIRE_MESSAGE(!whole.failure, whole.failure->text);
    if (std::string_view{name}.find("csv") != std::string_view::npos)
      CHECK(whole.rows == plain);
    for (std::size_t at :
         {std::size_t{0}, std::size_t{1}, std::size_t{2047}, whole.rows.size() - 2, whole.rows.size() - 1}) {
      auto rest = read_all(dir / name, {}, whole.after[at], 97);
      REQUIRE(!rest.failure);
      CHECK(rest.rows ==
            std::vector<kept>(whole.rows.begin() + static_cast<std::ptrdiff_t>(at) + 1, whole.rows.end()));
    }
  }
}

TEST_CASE("a compressed file that is cut off gives its whole rows and then says where it ends") {
  testing::temp_dir dir;
  auto text = many_rows(20000);
  for (auto [name, packed] :
       {std::pair{"a.csv.gz", gzipped(text)}, std::pair{"a.csv.zst", zstd_packed(text)}}) {
    CAPTURE(name);
    auto half = packed.size() / 2;
    write(dir / name, packed.substr(0, half));

    auto all = read_all(dir / name, {}, {}, 500);

    REQUIRE(all.failure);
    CHECK(all.failure->code == ec::corrupt);
    CHECK_MESSAGE(all.failure->text.find("is cut off") != std::string::npos, all.failure->text);
    CHECK_MESSAGE(all.failure->text.find(fmt::format("byte {} of the file", half)) != std::string::npos,
                  all.failure->text);
    CHECK(all.rows.size() > 10);

    write(dir / name, "this is not compressed at all");
    CHECK(read_all(dir / name).failure->code == ec::corrupt);
    auto damaged = packed;
    damaged[half] = static_cast<char>(damaged[half] ^ 0x55);
    damaged[half + 1] = static_cast<char>(damaged[half + 1] ^ 0x55);
    write(dir / name, damaged);
    auto bad = read_all(dir / name, {}, {}, 500);
    CHECK((bad.failure ? bad.failure->code == ec::corrupt : bad.rows.size() > 0));
  }
}

TEST_CASE("a Parquet file that is cut in half or damaged is refused") {
  testing::temp_dir dir;
  auto out = table::parquet_writer::open(dir / "a.parquet", {{"id", table::cell::text}});
  REQUIRE(out);
  for (int i = 0; i < 10'000; ++i)
    REQUIRE((*out)->add("id " + std::to_string(i * 7919)).end_row());
  auto size = (*out)->finish();
  REQUIRE(size);
  std::ifstream in{dir / "a.parquet", std::ios::binary};
  std::string bytes{std::istreambuf_iterator<char>{in}, {}};

  write(dir / "half.parquet", bytes.substr(0, *size / 2));
  auto half = read_all(dir / "half.parquet");
  REQUIRE(half.failure);
  CHECK(half.failure->code == ec::corrupt);
  CHECK(half.failure->text.find("is cut off") != std::string::npos);

  auto damaged = bytes;
  std::fill_n(damaged.begin() + 40, 2000, '\x7f');
  write(dir / "damaged.parquet", damaged);
  CHECK(read_all(dir / "damaged.parquet").failure->code == ec::corrupt);
  write(dir / "text.parquet", "id\n1\n");
  CHECK(read_all(dir / "text.parquet").failure->code == ec::corrupt);
  CHECK(read_all(dir / "gone.parquet").failure->code == ec::not_found);
}

TEST_CASE("Parquet rows come as JSON with lists, structures, times and without NULL") {
  testing::temp_dir dir;
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  REQUIRE(base->run(
      "COPY (SELECT 1 AS a, NULL::INT AS b, 'x\"\n' AS c, [1, NULL] AS d, {'e': 2.5::FLOAT, 'f': true} AS s, "
      "MAP {'k': 'v'} AS m, TIMESTAMP '2020-01-01 00:00:00.5' AS t, DATE '2020-01-02' AS day, 0.1::DOUBLE AS "
      "x, "
      "'nan'::DOUBLE AS y, 1.25::DECIMAL(9,2) AS money, TIME '01:02:03' AS tod) TO " +
      table::sql_text((dir / "[a]*.parquet").string()) + " (FORMAT parquet)"));

  auto all = read_all(dir / "[a]*.parquet");

  REQUIRE_MESSAGE(!all.failure, all.failure->text);
  REQUIRE(all.rows.size() == 1);
  CHECK(all.rows[0].text ==
        R"({"a":1,"c":"x\"\n","d":[1,null],"s":{"e":2.5,"f":true},"m":{"k":"v"},)"
        R"("t":"2020-01-01T00:00:00.500000Z","day":"2020-01-02T00:00:00Z","x":0.1,"y":"nan",)"
        R"("money":1.25,"tod":"01:02:03"})");
}

namespace {

/// A table of one column `c` of that type, and the same value in a structure, a list, maps and deep below.
void write_nested(const fs::path& path, const std::string& type, const std::string& value) {
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  auto done = base->run(fmt::format("CREATE TYPE colour AS ENUM ('red', 'it''s', 'grün'); CREATE TABLE t AS "
                                    "SELECT i, CASE WHEN i % 10 = 9 THEN NULL "
                                    "ELSE CAST({} AS {}) END AS c FROM range(400) r(i); COPY (SELECT c, "
                                    "{{'v': c}} AS s, [c, NULL, c] AS l, "
                                    "MAP {{'k': c}} AS m, CASE WHEN c IS NULL THEN NULL ELSE MAP {{c: 1}} "
                                    "END AS k, [{{'v': [c]}}] AS d FROM t ORDER "
                                    "BY i) TO {} (FORMAT parquet, ROW_GROUP_SIZE 2048)",
                                    value, type, table::sql_text(path.string())));
  REQUIRE_MESSAGE(done, done.error().text);
}

/// What DuckDB's own cast makes of the same values, and whether an instant is one.
struct cast_row {
  std::optional<std::string> text;
  bool instant = true;
};

std::vector<cast_row> cast_of(const fs::path& path) {
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  auto shape = base->query("SELECT c FROM " + table::parquet_file(path) + " LIMIT 0");
  REQUIRE(shape);
  bool instants = is_instant(shape->type(0).of);
  auto rows = base->query(fmt::format("SELECT c::VARCHAR, {} FROM {}",
                                      instants ? "isfinite(c) AND year(c) BETWEEN 1 AND 9999" : "true",
                                      table::parquet_file(path)));
  REQUIRE_MESSAGE(rows, rows.error().text);
  std::vector<cast_row> out;
  while (*rows->next())
    for (std::uint64_t row = 0; row < rows->rows(); ++row) {
      auto& to = out.emplace_back();
      if (rows->column(0).is_null(row))
        continue;
      to.text = rows->column(0).text(row);
      to.instant = rows->column(1).flag(row);
    }
  return out;
}

/// The same value in one way of writing: RFC 3339 as DuckDB writes the same instant, the fewest digits of a
/// float.
std::string told(std::string text, const std::string& type) {
  auto cut = [&](std::string_view tail) {
    if (text.ends_with(tail))
      text.resize(text.size() - tail.size());
  };
  if (type.ends_with("HUGEINT")) // Parquet has none: DuckDB writes doubles.
    return told(std::move(text), "DOUBLE");
  if (type == "FLOAT")
    return fmt::format("{}", std::strtof(text.c_str(), nullptr));
  if (type == "DOUBLE")
    return fmt::format("{}", std::strtod(text.c_str(), nullptr));
  if (auto point = text.starts_with('-') ? 1 : 0; type.starts_with("DECIMAL") && text[point] == '.')
    text.insert(point, "0"); // JSON wants a digit before the point.
  if (!type.starts_with("TIMESTAMP") && type != "DATE")
    return text;
  cut("Z");
  cut("+00");
  if (text.size() > 10 && text[10] == 'T')
    text[10] = ' ';
  if (text.find('.') != std::string::npos)
    text.resize(text.find_last_not_of('0') + 1);
  cut(" 00:00:00");
  return text;
}

std::string text_of_value(std::optional<exact_value> from) {
  if (!from || from->is(exact_value::kind::null))
    return "NULL";
  return std::string{from->text()};
}

} // namespace

TEST_CASE(
    "random values of every type, also in structures, lists and maps, come out as DuckDB casts them or are "
    "refused by column") {
  // Of i: spread over the whole range of the type.
  const std::pair<std::string, std::string> types[] = {
      {"BOOLEAN", "hash(i) % 2 = 0"},
      {"TINYINT", "(hash(i) % 256)::INT - 128"},
      {"SMALLINT", "(hash(i) % 65536)::INT - 32768"},
      {"INTEGER", "(hash(i) % 4294967296)::BIGINT - 2147483648"},
      {"BIGINT", "(hash(i)::HUGEINT - 9223372036854775808)"},
      {"UTINYINT", "hash(i) % 256"},
      {"USMALLINT", "hash(i) % 65536"},
      {"UINTEGER", "hash(i) % 4294967296"},
      {"UBIGINT", "hash(i)"},
      {"HUGEINT", "(hash(i)::HUGEINT - 9223372036854775808) * (hash(i + 1) // 4)"},
      {"UHUGEINT", "hash(i)::UHUGEINT * hash(i + 1)"},
      {"BIGNUM", "hash(i)::VARCHAR || hash(i + 1)::VARCHAR || hash(i + 2)::VARCHAR"},
      {"FLOAT", "((hash(i) % 2000003)::DOUBLE - 1000001) * pow(10, i % 60 - 30) / (1 + i % 7)"},
      {"DOUBLE",
       "CASE i % 100 WHEN 1 THEN 'nan' WHEN 2 THEN 'inf' WHEN 3 THEN '-inf' WHEN 4 THEN '-0' ELSE "
       "((((hash(i) % "
       "9007199254740993)::DOUBLE - 4503599627370496) * pow(10, i % 300 - 150)) / (1 + i % 7))::VARCHAR END"},
      {"DECIMAL(4,1)", "((hash(i) % 19999)::INT - 9999) / 10"},
      {"DECIMAL(9,9)", "('0.' || (hash(i) % 1000000000)::VARCHAR)"},
      {"DECIMAL(18,3)",
       "left(((hash(i) % 1000000000000000000)::HUGEINT - 500000000000000000)::VARCHAR, 15) || '.25'"},
      {"DECIMAL(20,0)", "(hash(i)::HUGEINT * (i % 5)) - hash(i + 1)"},
      {"DECIMAL(38,10)",
       "CASE WHEN i % 2 = 0 THEN '-' ELSE '' END || hash(i)::VARCHAR || '.' || (hash(i + 1) % "
       "10000000000)::VARCHAR"},
      {"VARCHAR",
       "CASE i % 5 WHEN 0 THEN '\"\\' || chr((i % 32)::INT) || 'x' WHEN 1 THEN 'é' || chr((i * 97 % 50000 + "
       "1000)::INT) WHEN 2 THEN '' ELSE repeat('long ', (i % 40)::INT) || i END"},
      {"BLOB", "CASE i % 3 WHEN 0 THEN '\\xFF'::BLOB || unhex(hex(hash(i))) ELSE ('text ' || i)::BLOB END"},
      {"UUID", "md5(i::VARCHAR)"},
      {"colour", "(['red', 'it''s', 'grün'])[i % 3 + 1]"},
      {"JSON", "'{\"a\":' || i || '}'"},
      {"BIT", "(hash(i) % 1048576)::INT::BIT"},
      {"DATE",
       "CASE i % 50 WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '10000-01-01' WHEN 4 THEN "
       "'5881580-07-10' WHEN 5 THEN '0044-03-15 (BC)' ELSE (DATE '0001-01-01' + (hash(i) % 3652059)::INT)::"
       "VARCHAR END"},
      {"TIME",
       "make_time((hash(i) % 24)::BIGINT, (hash(i + 1) % 60)::BIGINT, (hash(i + 2) % 60) + (i % 7) / 7)"},
      {"TIMETZ",
       "make_time((hash(i) % 24)::BIGINT, (hash(i + 1) % 60)::BIGINT, 1.25)::VARCHAR || '+0' || (i % 9) || "
       "':30'"},
      {"TIMESTAMP",
       "CASE i % 50 WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '290000-01-01' ELSE "
       "make_timestamp((hash(i) % 315537897600000000)::BIGINT - 62135596800000000)::VARCHAR END"},
      {"TIMESTAMP_S", "make_timestamp((hash(i) % 315537897600)::BIGINT * 1000000 - 62135596800000000)"},
      {"TIMESTAMP_MS", "make_timestamp((hash(i) % 315537897600000)::BIGINT * 1000 - 62135596800000000)"},
      {"TIMESTAMP_NS",
       "CASE i % 50 WHEN 1 THEN 'infinity' ELSE make_timestamp_ns(((hash(i) % 18000000000000000000)::"
       "HUGEINT - 9000000000000000000)::BIGINT)::VARCHAR END"},
      {"TIMESTAMPTZ",
       "CASE i % 50 WHEN 1 THEN 'infinity' ELSE make_timestamp((hash(i) % 315537897600000000)::BIGINT - "
       "62135596800000000)::VARCHAR END"},
      {"INTERVAL",
       "to_months((i % 100)::INT) + to_days((i % 17)::INT) + to_milliseconds((hash(i) % 1000000)::BIGINT)"},
  };
  testing::temp_dir dir;
  exact_document document;
  for (auto& [type, value] : types) {
    CAPTURE(type);
    write_nested(dir / "t.parquet", type, value);
    auto casts = cast_of(dir / "t.parquet");
    auto reader = open_reader(dir / "t.parquet");
    REQUIRE_MESSAGE(reader, reader.error().text);
    std::size_t at = 0, refused = 0;
    for (;;) {
      auto batch = (*reader)->next(97);
      REQUIRE_MESSAGE(batch, batch.error().text);
      if ((*batch)->rows.empty())
        break;
      for (auto& row : (*batch)->rows) {
        auto& cast = casts.at(at++);
        auto bytes = bytes_of(row);
        CAPTURE(bytes);
        auto all = document.read(bytes);
        if (row.refused) {
          ++refused;
          CHECK(!all); // Whoever reads it out of the quarantine refuses it as well.
          CHECK(row.refused->field == "c");
          CHECK(row.refused->reason.find("column c holds") != std::string::npos);
          CHECK((type == "BLOB" || !cast.instant));
          continue;
        }
        REQUIRE_MESSAGE(all, all.error().text);
        REQUIRE(cast.instant);
        auto wanted = cast.text ? told(*cast.text, type) : "NULL";
        if (type == "BLOB" && cast.text)
          wanted = "text " + std::to_string(at - 1);
        auto same = [&](std::optional<exact_value> found) {
          auto text = text_of_value(found);
          CHECK((text == "NULL" ? text : told(text, type)) == wanted);
        };
        same(all->find("c"));
        same(all->find("s")->find("v"));
        same(all->find("l")->find(0));
        CHECK(all->find("l")->find(1)->is(exact_value::kind::null));
        same(all->find("l")->find(2));
        same(all->find("m")->find("k"));
        same(all->find("d")->find(0)->find("v")->find(0));
        if (cast.text)
          CHECK(told(std::string{(*all->find("k")->begin()).key()}, type) == wanted);
      }
    }
    CHECK(at == 400);
    const std::set<std::string> some{"BLOB", "DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"};
    CHECK((refused > 0) == some.contains(type));
  }
}

TEST_CASE("of Parquet only the columns that are wanted are read, and names keep every digit") {
  testing::temp_dir dir;
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  fs::create_directories(dir / "at=2024-01-01" / "user=999");
  auto path = dir / "at=2024-01-01" / "user=999" / "part[1]*.parquet";
  REQUIRE(base->run(
      "COPY (SELECT 12345678901234567890123::DECIMAL(25,0) AS \"user\", 1.50::DECIMAL(20,2) AS item, 7 AS "
      "file_row_number, 3.0::DOUBLE AS whole, {'id': CASE i WHEN 0 THEN 9007199254740992 WHEN 1 THEN 1e17 "
      "ELSE 0.5 END, "
      "'n': 1.5} AS who, [{'sku': 16777216::FLOAT}] AS lines, 'x' AS \"who.id\", '\\xFF'::BLOB AS bad, "
      "TIMESTAMP "
      "'2024-03-01 12:00:00' AS at FROM range(3) t(i)) TO " +
      table::sql_text((dir / "made.parquet").string()) + " (FORMAT parquet)"));
  fs::rename(dir / "made.parquet", path);
  source_options options;
  options.wanted = {"user", "item", "whole", "who.id", "lines.0.sku", "at", "file_row_number", "absent"};
  options.identities = {"user", "item", "whole", "who.id", "lines.0.sku"};

  auto all = read_all(path, options);
  auto rest = read_all(path, options, {2, 0});
  options.wanted = std::vector<std::string>{};
  auto none = read_all(path, options);

  REQUIRE_MESSAGE(!all.failure, all.failure->text);
  REQUIRE(all.rows.size() == 3);
  CHECK(all.rows[0].text ==
        R"({"user":12345678901234567890123,"item":"1.50","file_row_number":7,"whole":3,)"
        R"("who":{"id":9007199254740992,"n":1.5},"lines":[{"sku":16777216}],"who.id":"x",)"
        R"("at":"2024-03-01T12:00:00Z"})");
  CHECK(all.rows[1].reason ==
        "1e+17 of column who.id is no name of a user, an item or a record: the column is of type float64, "
        "which holds "
        "whole numbers exactly up to 9007199254740992 alone; write it as a text or a whole number");
  CHECK(all.rows[2].reason.starts_with("0.5 of column who.id is no name"));
  REQUIRE(rest.rows.size() == 1);
  CHECK(rest.rows[0] == all.rows[2]);
  REQUIRE(none.rows.size() == 3);
  CHECK(none.rows[0].text == "{}");
}

TEST_CASE("a Parquet file without rows, with empty row groups or of dictionaries is read like any other") {
  testing::temp_dir dir;
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  auto write_rows = [&](const std::string& from) {
    auto done = base->run("COPY (" + from + ") TO " + table::sql_text((dir / "t.parquet").string()) +
                          " (FORMAT parquet, ROW_GROUP_SIZE 2048)");
    REQUIRE_MESSAGE(done, done.error().text);
    return read_all(dir / "t.parquet");
  };

  auto none = write_rows("SELECT 'u' AS \"user\" WHERE false");
  auto many = write_rows("SELECT ['u1', 'u2', NULL][i % 3 + 1] AS \"user\", i FROM range(10000) t(i)");

  CHECK(!none.failure);
  CHECK(none.rows.empty());
  REQUIRE(many.rows.size() == 10'000);
  CHECK(many.rows[9'998].text == R"({"i":9998})");
  CHECK(many.rows[9'999].text == R"({"user":"u1","i":9999})");
}

TEST_CASE("the timestamps of 96 bits that older writers make are instants, also those of long ago") {
  // A file of pyarrow with 2024-03-10 02:30:00.123456, 1970-01-01, 1600-01-01 and 2262-04-11.
  constexpr std::string_view hex = "504152311500156c156c2c15081500150615061c000000020000000801005a29812f08000"
                                   "0dc8a250000000000000000008c3d250000"
                                   "00000000000000a82d230000000000000000008bde26001504192c35001806736368656d6"
                                   "11502001506250218026174001608191c19"
                                   "1c26001c1506192506001918026174150016081692011692012608491c150015001502003"
                                   "c2906192600080000001692011608260816"
                                   "9201002820706172717565742d6370702d6172726f772076657273696f6e2032362e302e3"
                                   "1191c1c0000008000000050415231";
  testing::temp_dir dir;
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string{hex.substr(i, 2)}, nullptr, 16));
  write(dir / "int96.parquet", bytes);

  auto all = read_all(dir / "int96.parquet");

  REQUIRE_MESSAGE(!all.failure, all.failure->text);
  REQUIRE(all.rows.size() == 4);
  CHECK(all.rows[0].text == R"({"at":"2024-03-10T02:30:00.123456Z"})");
  CHECK(all.rows[1].text == R"({"at":"1970-01-01T00:00:00Z"})");
  CHECK(all.rows[2].text == R"({"at":"1600-01-01T00:00:00Z"})");
  CHECK(all.rows[3].text == R"({"at":"2262-04-11T00:00:00Z"})");
}

TEST_CASE("text of other encodings comes out as UTF-8, its bytes as they are") {
  testing::temp_dir dir;
  write(dir / "a.csv", "name\nCaf\xe9\n\x80uro\n\x81\n");
  source_options options;
  options.encoding = text_encoding::latin1;

  auto latin = read_all(dir / "a.csv", options);
  options.encoding = text_encoding::windows1252;
  auto windows = read_all(dir / "a.csv", options);

  REQUIRE(latin.rows.size() == 3);
  CHECK(latin.rows[0].fields[0] == "Caf\xc3\xa9");
  CHECK(latin.rows[0].bytes == "Caf\xe9");
  CHECK(windows.rows[1].fields[0] == "\xe2\x82\xacuro");
  CHECK(windows.rows[2].reason == "byte 0x81 at 0 of the row is no character of windows-1252");
}

TEST_CASE("a header must be there and name each column once") {
  testing::temp_dir dir;
  write(dir / "empty.csv", "");
  write(dir / "twice.csv", "a,b,a\n");
  write(dir / "skip.csv", "# made by hand\na\n1\n");
  source_options options;
  options.csv.skip_rows = 1;

  CHECK(read_all(dir / "empty.csv").failure->text.find("ends before the first row") != std::string::npos);
  CHECK(read_all(dir / "twice.csv").failure->text.find("names column a twice") != std::string::npos);
  CHECK(read_all(dir / "skip.csv", options).rows.size() == 1);
  CHECK(read_all(dir / "gone.csv").failure->code == ec::not_found);
  CHECK(read_all(dir.path()).failure->code == ec::invalid_argument);
  CHECK(read_all(dir / "skip.csv", options, {5, 5000}).failure->code == ec::conflict);
}

TEST_CASE("the format is told by the name and then by the content") {
  testing::temp_dir dir;
  write(dir / "a.ndjson", "");
  write(dir / "b.log", "  {\"a\":1}\n");
  write(dir / "c.data", "1\t2\n");
  write(dir / "d.jsonl.gz", gzipped("{}"));
  write(dir / "e", gzipped("{}\n"));

  CHECK(detect_format(dir / "a.ndjson") == file_format::json_lines);
  CHECK(detect_format(dir / "b.log") == file_format::json_lines);
  CHECK(detect_format(dir / "c.data") == file_format::csv);
  CHECK(detect_format(dir / "d.jsonl.gz") == file_format::json_lines);
  CHECK(detect_format(dir / "e") == file_format::json_lines);
  CHECK(read_all(dir / "e").rows.size() == 1);
  CHECK(without_compression("x/u.data.gz") == "u.data");
}

TEST_CASE("what is no regular file is refused when it is named, and left out of folders and globs") {
  testing::temp_dir dir;
  write(dir / "a.csv", "a\n1\n");
  auto pipe = (dir / "b.csv").string();
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);

  CHECK(expand_paths(pipe).error().text ==
        "cannot open " + pipe + ": it is a named pipe, not a regular file");
  CHECK(expand_paths("/dev/zero").error().code == ec::invalid_argument);
  CHECK(*expand_paths(dir.path().string()) == std::vector<fs::path>{dir / "a.csv"});
  CHECK(*expand_paths((dir / "*.csv").string()) == std::vector<fs::path>{dir / "a.csv"});
  // It may become one after it was found.
  for (auto name : {"c.csv", "c.jsonl", "c.parquet", "c", "c.csv.gz"}) {
    REQUIRE(::mkfifo((dir / name).c_str(), 0600) == 0);
    CHECK(open_reader(dir / name).error().text ==
          "cannot open " + (dir / name).string() + ": it is a named pipe, not a regular file");
  }
}

TEST_CASE("looking for files ends when the time is over") {
  testing::temp_dir dir;
  fs::create_directories(dir / "x" / "y");
  write(dir / "x" / "y" / "a.csv", "a\n1\n");
  auto over = deadline::in({});

  CHECK(expand_paths(dir.path().string(), over).error().code == ec::too_late);
  CHECK(expand_paths((dir / "*/*/*").string(), over).error().code == ec::too_late);
  CHECK(expand_paths((dir / "*/*/*").string(), deadline::in(std::chrono::minutes{1}))->size() == 1);
}

TEST_CASE("a file that nobody wants any more is read no further, also where a row has no end") {
  testing::temp_dir dir;
  write(dir / "a.csv.gz", gzipped("a,b\n1,2\n" + std::string(40 << 20, 'x')));
  auto stop = std::make_shared<std::atomic<bool>>(false);
  source_options options;
  options.stop = stop;
  auto reader = open_reader(dir / "a.csv.gz", options);
  REQUIRE(reader);
  REQUIRE((*reader)->next(1));

  *stop = true;

  CHECK((*reader)->next(1).error().code == ec::canceled);
  CHECK(open_reader(dir / "a.csv.gz", options).error().code == ec::canceled);
}

TEST_CASE(
    "a Parquet file that nobody wants any more is read no further, nor passed over to where it goes on") {
  testing::temp_dir dir;
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base->run("COPY (SELECT i FROM range(5000) t(i)) TO " +
                    table::sql_text((dir / "a.parquet").string()) + " (FORMAT parquet)"));
  auto stop = std::make_shared<std::atomic<bool>>(false);
  source_options options;
  options.stop = stop;
  for (std::uint64_t from : {0, 1, 2047, 2048, 2049, 4999, 5000}) {
    CAPTURE(from);
    auto rest = read_all(dir / "a.parquet", options, {from, 0}, 1000);
    CHECK(rest.rows.size() == 5000 - from);
    CHECK((from == 5000 || rest.rows.at(0).text == fmt::format("{{\"i\":{}}}", from)));
  }
  auto reader = open_reader(dir / "a.parquet", options);
  REQUIRE(reader);
  REQUIRE((*reader)->next(1));

  *stop = true;

  CHECK((*reader)->next(1).error().code == ec::canceled);
  CHECK(open_reader(dir / "a.parquet", options, {3000, 0}).error().code == ec::canceled);
}

TEST_CASE("a file, a folder or a glob becomes a sorted list of files") {
  testing::temp_dir dir;
  fs::create_directories(dir / "sub");
  fs::create_directories(dir / ".git");
  for (auto name : {"b.csv", "a.csv", "sub/c.csv", ".hidden", ".git/config", "d.txt"})
    write(dir / name, "x");
  auto root = dir.path().string();

  CHECK(expand_paths(root + "/b.csv")->size() == 1);
  auto folder = expand_paths(root);
  REQUIRE(folder);
  CHECK(*folder == std::vector<fs::path>{dir / "a.csv", dir / "b.csv", dir / "d.txt", dir / "sub/c.csv"});
  CHECK(*expand_paths(root + "/*.csv") == std::vector<fs::path>{dir / "a.csv", dir / "b.csv"});
  CHECK(expand_paths(root + "/*.nothing").error().code == ec::not_found);
}
