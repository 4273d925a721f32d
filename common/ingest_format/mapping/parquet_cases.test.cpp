#include "common/ingest_format/mapping/mapping.hpp"
#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ingest_format;
namespace fs = std::filesystem;

namespace {

/// The mapping of a file of views; `more` are lines of its record.
std::string view_mapping(const std::string& user = "user", const std::string& item = "item",
                         const std::string& more = {}) {
  return "[[file]]\npattern = \"*.parquet\"\n[[file.record]]\nkind = \"event\"\ntype = { constant = \"view\" "
         "}\nuser = \"" +
         user + "\"\nitem = \"" + item + "\"\nevent_time = { column = \"at\", format = \"rfc3339\" }\n" +
         more;
}

constexpr std::string_view noon = "TIMESTAMP '2024-03-01 12:00:00' AS at";

/// A Parquet file and what a mapping makes of its rows.
struct parquet_case {
  troupe::testing::temp_dir dir;
  fs::path path = dir / "part.parquet";
  std::vector<record> records;
  std::vector<refused_row> refused;
  std::size_t again = 0; // Of the refused ones, those that a replay refuses.

  void write(const std::string& sql) {
    auto base = table::connection::open({.threads = 1});
    auto done = base->run("COPY (" + sql + ") TO " + table::sql_text((dir / "made.parquet").string()) +
                          " (FORMAT parquet)");
    REQUIRE_MESSAGE(done, done.error().text);
    fs::create_directories(path.parent_path());
    fs::rename(dir / "made.parquet", path);
  }

  void import(const std::string& toml) {
    records.clear();
    refused.clear();
    auto by = mapping::parse(toml, "test");
    REQUIRE_MESSAGE(by, by.error().text);
    auto reader = open_reader(path, (*by)->options(0));
    REQUIRE_MESSAGE(reader, reader.error().text);
    auto mapper = (*by)->bind(0, path, **reader);
    REQUIRE_MESSAGE(mapper, mapper.error().text);
    again = 0;
    for (;;) {
      auto batch = (*reader)->next(100);
      REQUIRE_MESSAGE(batch, batch.error().text);
      if ((*batch)->rows.empty())
        break;
      for (auto& row : (*batch)->rows)
        mapper->apply(row, records, refused);
    }
    for (auto& each : refused) { // As out of the quarantine.
      std::vector<record> made;
      std::vector<refused_row> why;
      again += mapper->replay(each.raw, each.number, made, why) == row_mapper::outcome::refused;
    }
  }

  std::string users() const {
    std::string all;
    for (auto& each : records)
      all += (all.empty() ? "" : " ") + each.user;
    return all;
  }

  std::string reason(std::size_t at) const { return at < refused.size() ? refused[at].why.reason : "none"; }
};

attribute_value attribute_of(const record& of, std::string_view name) {
  for (auto& each : of.attributes)
    if (each.name == name)
      return each.value;
  return std::string{"none"};
}

} // namespace

TEST_CASE("identities of Parquet columns keep every digit: DECIMAL, unsigned, long, UUID") {
  parquet_case one;

  one.write(fmt::format("SELECT ('1000000000000000000' || i)::DECIMAL(20,0) AS \"user\", 'i' AS item, "
                        "12345678901234567.89::DECIMAL(20,2) AS price, {} FROM range(1, 4) t(i)",
                        noon));
  one.import(view_mapping("user", "item",
                          "value = \"price\"\n[file.record.attributes]\nprice = { column = \"price\", type "
                          "= \"text\" }\nnear = \"price\"\n"));
  CHECK(one.users() == "10000000000000000001 10000000000000000002 10000000000000000003");
  REQUIRE(one.records.size() == 3);
  CHECK(one.records[0].value == 12345678901234567.89); // As near as a double can be.
  CHECK(attribute_of(one.records[0], "price") == attribute_value{"12345678901234567.89"});
  CHECK(attribute_of(one.records[0], "near") == attribute_value{12345678901234567.89});

  one.write(fmt::format(
      "SELECT * FROM (VALUES (18446744073709551615::UBIGINT, 99999999999999999999999999999999999999::"
      "DECIMAL(38,0)), (9007199254740993, -1)) v(\"user\", item), (SELECT {})",
      noon));
  one.import(view_mapping());
  CHECK(one.users() == "18446744073709551615 9007199254740993");
  CHECK(one.records[0].item == "99999999999999999999999999999999999999");
  CHECK(one.records[1].item == "-1");

  one.write(
      fmt::format("SELECT {{'id': '00000000-0000-0000-0000-00000000000a'::UUID, 'n': 1::BIGINT}} AS who, "
                  "'00000000-0000-0000-0000-00000000000b'::UUID AS top, [{{'sku': 12345678901234567.50::"
                  "DECIMAL(20,2)}}] AS lines, {}",
                  noon));
  one.import(
      view_mapping("who.id", "lines.0.sku", "[file.record.attributes]\ntop = \"top\"\nwho = \"who\"\n"));
  CHECK(one.users() == "00000000-0000-0000-0000-00000000000a");
  CHECK(one.records[0].item == "12345678901234567.50");
  CHECK(attribute_of(one.records[0], "top") == attribute_value{"00000000-0000-0000-0000-00000000000b"});
}

TEST_CASE("a float names somebody as long as it is a whole number that its type holds") {
  parquet_case one;

  one.write(fmt::format(
      "SELECT unnest([1, 9007199254740992, 1e17, 0.5, 'nan'])::DOUBLE AS \"user\", 16777216::FLOAT AS "
      "item, {}",
      noon));
  one.import(view_mapping());

  CHECK(one.users() == "1 9007199254740992");
  CHECK(one.records[0].item == "16777216");
  REQUIRE(one.refused.size() == 3);
  CHECK(one.refused[0].why.rule == "parse");
  CHECK(one.refused[0].why.field == "user");
  CHECK(one.reason(0).starts_with(
      "1e+17 of column user is no name of a user, an item or a record: the column is of "
      "type float64"));
  CHECK(one.reason(1).starts_with("0.5 of column user"));
  one.write(fmt::format("SELECT 'u' AS \"user\", 33554432::FLOAT AS item, {}", noon));
  one.import(view_mapping());
  CHECK(one.reason(0).find("type float32") != std::string::npos);
  one.write(fmt::format("SELECT [1] AS \"user\", {{'a': 1}} AS item, {}", noon));
  one.import(view_mapping());
  CHECK(one.reason(0) == "column user: it is an array, and a name is a text or a whole number");
}

TEST_CASE("a folder named like a column is no column, and a copy elsewhere gives the same records") {
  parquet_case one, other;
  auto rows =
      "SELECT 'u' || i AS \"user\", 'i' AS item, TIMESTAMP '2024-03-01 07:04:58' + to_hours(i) AS at, 7 AS "
      "file_row_number FROM range(3) t(i)";
  one.path = one.dir / "at=2024-01-01" / "user=999" / "part.parquet";

  one.write(rows);
  other.write(rows);
  one.import(view_mapping());
  other.import(view_mapping());

  CHECK(one.users() == "u0 u1 u2");
  CHECK(to_rfc3339(one.records[1].event_time) == "2024-03-01T08:04:58Z");
  CHECK(one.records == other.records);
  one.import(view_mapping("path:1", "file_row_number"));
  CHECK(one.users() == "user=999 user=999 user=999");
  CHECK(one.records[0].item == "7");
}

TEST_CASE("a row whose time is no instant is refused, the others are read") {
  parquet_case one;

  one.write(
      "SELECT 'u' || i AS \"user\", 'i' AS item, (['2024-03-01', '9999-12-31', '0001-01-01', 'infinity', "
      "'-infinity', '10000-01-01', '5877642-06-25 (BC)'])[i]::DATE AS at FROM range(1, 8) t(i)");
  one.import(view_mapping());

  CHECK(one.users() == "u1 u2 u3");
  CHECK(to_rfc3339(one.records[1].event_time) == "9999-12-31T00:00:00Z");
  REQUIRE(one.refused.size() == 4);
  CHECK(one.reason(0) == "column at holds no instant: infinity, outside of the years 1 to 9999");
  CHECK(one.reason(2) ==
        "column at holds no instant: 2932897 days since 1970, outside of the years 1 to 9999");
  CHECK(one.refused[0].why.field == "at");
  one.write("SELECT 'u' AS \"user\", 'i' AS item, '2024-03-01 14:00:00+02'::TIMESTAMPTZ AS at");
  one.import(view_mapping());
  CHECK(to_rfc3339(one.records.at(0).event_time) == "2024-03-01T12:00:00Z");
}

TEST_CASE("a row that the reader refused is refused by a replay, too") {
  parquet_case one;
  auto attributes = "[file.record.attributes]\nmore = \"more\"\n";
  auto refuses = [&](const std::string& columns, std::size_t rows) {
    CAPTURE(columns);
    one.write("SELECT " + columns);
    one.import(view_mapping("user", "item", attributes));
    CHECK(one.records.empty());
    CHECK(one.refused.size() == rows);
    CHECK_MESSAGE(one.again == rows, one.refused.at(0).raw);
  };

  refuses(
      fmt::format("unnest([1e17, 0.5, 9007199254740994, -9007199254740994, 'nan', 'inf', '-inf'])::DOUBLE AS "
                  "\"user\", 'i' AS item, 1 AS more, {}",
                  noon),
      7);
  CHECK(one.refused[2].raw.find("\"user\":9007199254740994e0,") != std::string::npos);
  refuses(
      fmt::format("unnest([16777218::FLOAT, 'nan'])::FLOAT AS \"user\", 'i' AS item, 1 AS more, {}", noon),
      2);
  refuses(fmt::format("'\\xFFa'::BLOB AS \"user\", 'i' AS item, 1 AS more, {}", noon), 1);
  CHECK(one.refused[0].raw.starts_with("{\"user\":\\xff61,"));
  refuses(
      fmt::format(
          "'u' AS \"user\", 'i' AS item, unnest(['\\xFF'::BLOB, '\\x22\\xFF\\x22'::BLOB]) AS more, {}", noon),
      2);
  for (std::string type : {"DATE", "TIMESTAMP", "TIMESTAMPTZ"})
    for (std::string shape : {"each", "[each]", "{'a': each}", "MAP {each: 1}", "MAP {'a': each}"})
      refuses(fmt::format("'u' AS \"user\", 'i' AS item, {} AS more, {} FROM (SELECT unnest(['infinity', "
                          "'-infinity', '20000-01-01'])::{} AS each)",
                          shape, noon, type),
              3);
}

TEST_CASE(
    "a row out of the quarantine is read as it was kept, whatever encoding the mapping gives its files") {
  parquet_case one;
  one.write(fmt::format("SELECT 'é' AS \"user\", 'i' AS item, {}", noon));
  auto by = mapping::parse("[[file]]\nencoding = \"iso-8859-1\"" + view_mapping().substr(8), "test");
  REQUIRE_MESSAGE(by, by.error().text);
  auto reader = open_reader(one.path, (*by)->options(0));
  auto mapper = (*by)->bind(0, one.path, **reader);

  mapper->replay(R"({"user":"é","item":"i","at":"2024-03-01T12:00:00Z"})", 1, one.records, one.refused);

  CHECK(one.users() == "é");
}

TEST_CASE("which row of a Parquet file a record is of does not depend on what its mapping reads of it") {
  parquet_case one;
  auto rows = [](int price) {
    return fmt::format("SELECT 'u' AS \"user\", 'i' AS item, {} AS price, {} FROM range(3)", price, noon);
  };
  auto ids = [&](const std::string& more) {
    one.import(view_mapping("user", "item", more));
    std::vector<std::string> all;
    for (auto& each : one.records)
      all.push_back(each.id);
    return all;
  };
  one.write(rows(7));

  auto narrow = ids({}), wide = ids("value = \"price\"\n");

  REQUIRE(narrow.size() == 3);
  CHECK(narrow == wide);
  CHECK(narrow[0] != narrow[1]); // Of the same content.
  one.write(rows(8));
  CHECK(ids({}) != narrow); // Another file, though what is read of it is the same.
}

TEST_CASE("lists of times, lists of lists, maps and structures come whole") {
  parquet_case one;

  one.write(fmt::format(
      "SELECT {{'id': 'u1', 'tags': ['a', 'b']}} AS who, [{{'sku': 's1', 'q': 1}}] AS lines, [['x', 'y'], "
      "['z']] AS deep, MAP {{'k': 'v'}} AS props, [TIME '09:00:00', TIME '10:00:00'] AS slots, TIME "
      "'09:30:00' AS t, [12345678901234567890::UBIGINT] AS ids, {}",
      noon));
  one.import(view_mapping(
      "who.id", "lines.0.sku",
      "[file.record.attributes]\ntags = \"who.tags\"\ndeep = \"deep\"\nprops = \"props\"\nslots = "
      "\"slots\"\nt = \"t\"\nids = \"ids\"\n"));

  REQUIRE_MESSAGE(one.records.size() == 1, one.reason(0));
  auto& made = one.records[0];
  CHECK(made.item == "s1");
  CHECK(attribute_of(made, "tags") == attribute_value{text_list{"a", "b"}});
  CHECK(attribute_of(made, "deep") == attribute_value{text_list{R"(["x","y"])", R"(["z"])"}});
  CHECK(attribute_of(made, "props") == attribute_value{R"({"k":"v"})"});
  CHECK(attribute_of(made, "slots") == attribute_value{text_list{"09:00:00", "10:00:00"}});
  CHECK(attribute_of(made, "t") == attribute_value{"09:30:00"});
  CHECK(attribute_of(made, "ids") == attribute_value{text_list{"12345678901234567890"}});
}
