#include "common/ingest_format/mapping/mapping.hpp"

#include "common/ingest_format/mapping/shipped.hpp"
#include "common/ingest_format/mapping/slate_rows.hpp"
#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

using namespace troupe;
using namespace troupe::ingest_format;
namespace fs = std::filesystem;

namespace {

struct imported {
  std::vector<record> records;
  std::vector<refused_row> refused;
  std::uint64_t skipped = 0;
  std::vector<std::string> ignored; // Files that match nothing.
  std::optional<error> failure;

  std::size_t count(record_kind kind, std::string_view type = {}) const {
    return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), [&](auto& each) {
      return each.kind == kind && (type.empty() || each.type == type);
    }));
  }
  std::size_t ids() const {
    std::set<std::string> all;
    for (auto& each : records)
      all.insert(each.id);
    return all.size();
  }
};

imported import(const mapping& by, const fs::path& path) {
  imported out;
  auto files = expand_paths(path.string());
  REQUIRE(files);
  for (auto& file : *files) {
    auto rule = by.match(file, files->size() == 1);
    if (!rule) {
      out.ignored.push_back(file.filename());
      continue;
    }
    auto reader = open_reader(file, by.options(*rule));
    auto mapper =
        reader ? by.bind(*rule, file, **reader) : expected<row_mapper>{unexpected<error>{reader.error()}};
    if (!mapper) {
      out.failure = mapper.error();
      return out;
    }
    slate_rows slates{*mapper};
    std::vector<mapped_row> complete;
    auto take = [&] {
      for (auto& row : std::exchange(complete, {})) {
        std::ranges::move(row.records, std::back_inserter(out.records));
        std::ranges::move(row.refusals, std::back_inserter(out.refused));
        out.skipped += row.outcome == row_mapper::outcome::skipped;
      }
    };
    while (true) {
      auto batch = (*reader)->next(2000);
      REQUIRE_MESSAGE(batch, batch.error().text);
      if ((*batch)->rows.empty())
        break;
      if (mapper->joins_rows()) {
        for (auto& row : (*batch)->rows)
          slates.add(row, complete);
        take();
        continue;
      }
      for (auto& row : (*batch)->rows)
        out.skipped += mapper->apply(row, out.records, out.refused) == row_mapper::outcome::skipped;
    }
    slates.finish(complete);
    take();
  }
  return out;
}

std::shared_ptr<const mapping> shipped(std::string_view name) {
  auto text = find_shipped_mapping(name);
  REQUIRE(text);
  auto made = mapping::parse(*text, name);
  REQUIRE_MESSAGE(made, made.error().text);
  return *made;
}

std::shared_ptr<const mapping> parsed(std::string_view toml) {
  auto made = mapping::parse(toml, "test");
  REQUIRE_MESSAGE(made, made.error().text);
  return *made;
}

std::string wrong(std::string_view toml) {
  auto made = mapping::parse(toml, "test");
  return made ? "nothing is wrong" : made.error().text;
}

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream{path, std::ios::binary} << text;
}

std::optional<fs::path> data(std::string_view part) {
  auto* named = std::getenv("TROUPE_DATA");
  auto path = fs::path{named ? named : TROUPE_DEFAULT_DATA} / part;
  if (fs::exists(path))
    return path;
  MESSAGE("skipped: no data");
  return std::nullopt;
}

const attribute_value& attribute_of(const record& rec, std::string_view name) {
  for (auto& each : rec.attributes)
    if (each.name == name)
      return each.value;
  FAIL("no attribute " << name);
  return rec.attributes.front().value;
}

constexpr std::string_view ratings = R"(
[[file]]
pattern = "*.csv"
null = ["NA"]
  [[file.record]]
  kind = "event"
  id = ["user", "item"]
  type = { constant = "rating" }
  user = "user"
  item = "item"
  event_time = { column = "time", format = "unix_s" }
  value = { column = "rating", scale = 2.0, offset = 1.0 }
)";

} // namespace

TEST_CASE("every shipped mapping is right") {
  for (auto& each : shipped_mappings())
    CHECK_MESSAGE(mapping::parse(each.text, each.name), each.name);
  CHECK(find_shipped_mapping("movielens-100k"));
  CHECK(find_shipped_mapping("movietweetings"));
  CHECK(find_shipped_mapping("open-bandit"));
  CHECK(!find_shipped_mapping("nothing"));
  CHECK(mapping::native()->match("x/events.jsonl.gz"));
}

TEST_CASE("columns become the fields of records") {
  testing::temp_dir dir;
  write(dir / "a.csv", "user,item,rating,time\nu:1,i1,2.5,10\nu2,i2,NA,20\n");

  auto all = import(*parsed(ratings), dir / "a.csv");

  REQUIRE(all.records.size() == 2);
  auto& first = all.records[0];
  CHECK(first.id == "event:u\\:1:i1");
  CHECK(first.type == "rating");
  CHECK(first.user == "u:1");
  CHECK(first.item == "i1");
  CHECK(first.event_time == from_micros(10'000'000));
  CHECK(first.value == 6.0);
  CHECK(!all.records[1].value);
  CHECK(check(first));
}

TEST_CASE("a row that cannot be mapped is refused with rule, field, reason and its bytes") {
  testing::temp_dir dir;
  write(dir / "a.csv", "user,item,rating,time\nu1,i1,five,10\n,i2,1,20\nu3,i3,1,yesterday\nu4,i4,1\nu5,\xff,"
                       "1,1\nu6,i6,1e999,5\n"
                       "u7,i7,1,99999999999999\nu8,i8,3,30\n");

  auto all = import(*parsed(ratings), dir / "a.csv");

  REQUIRE(all.records.size() == 1);
  CHECK(all.records[0].user == "u8");
  REQUIRE(all.refused.size() == 7);
  CHECK(all.refused[0].why == refusal{"parse", "value", "`five` of column rating is not a finite number"});
  CHECK(all.refused[0].raw == "u1,i1,five,10");
  CHECK(all.refused[0].number == 1);
  CHECK(all.refused[1].why == refusal{"required", "user", "user is missing: column user is empty"});
  CHECK(all.refused[1].offset == 36);
  CHECK(all.refused[2].why.field == "event_time");
  CHECK(all.refused[3].why.reason == "the row has 3 columns, 4 are expected");
  CHECK(all.refused[4].why == refusal{"parse", "item", "column 2 is not valid UTF-8"});
  CHECK(all.refused[5].why.field == "value");
  CHECK(all.refused[6].why.field == "event_time");
}

TEST_CASE("a file that lacks columns is refused whole, with those it lacks and those it has") {
  testing::temp_dir dir;
  write(dir / "a.csv", "user,rating\nu1,1\n");

  auto all = import(*parsed(ratings), dir / "a.csv");

  REQUIRE(all.failure);
  CHECK(all.failure->code == ec::invalid_argument);
  CHECK(all.failure->text ==
        fmt::format("mapping test does not fit {}: it lacks item, time; its columns are user, rating",
                    (dir / "a.csv").string()));
}

TEST_CASE("a mapping that is wrong names the key and the line") {
  CHECK(wrong("[[file]]\npattern = \"*\"\ncolour = 1\n")
            .starts_with("mapping test, line 3: unknown key colour in [[file]]"));
  CHECK(wrong("[[file]]\npattern = 1\n").starts_with("mapping test, line 2: pattern must be"));
  CHECK(wrong("[[file]\n").starts_with("mapping test, line 1:"));
  CHECK(wrong("").find("needs one [[file]]") != std::string::npos);
  CHECK(wrong("[[file]]\npattern = \"*\"\n").find("needs one [[file.record]]") != std::string::npos);
  auto with = [](std::string_view line) {
    return wrong(
        fmt::format("[[file]]\npattern = \"*\"\n[[file.record]]\nkind = \"item\"\nitem = \"x\"\n{}\n", line));
  };
  CHECK(with("") == "nothing is wrong");
  CHECK(with("users = \"x\"").find("line 6: unknown key users") != std::string::npos);
  CHECK(with("value = { colum = \"x\" }").find("line 6: unknown key colum in value") != std::string::npos);
  CHECK(with("value = { column = \"x\", constant = 1 }").find("exactly one of column") != std::string::npos);
  CHECK(with("value = { template = \"{x\" }").find("line 6: template `{x`") != std::string::npos);
  CHECK(with("event_time = { column = \"x\", format = \"%Q\" }").find("line 6: time format `%Q`") !=
        std::string::npos);
  CHECK(with("attributes.a = { column = \"x\", type = \"colour\" }").find("line 6: type must be") !=
        std::string::npos);
  CHECK(with("when = { column = \"x\" }").find("line 6: when needs exactly one") != std::string::npos);
  CHECK(with("type = { column = \"x\", type = \"number\" }").find("type cannot have that type") !=
        std::string::npos);
  CHECK(wrong("[[file]]\npattern = \"*\"\n[[file.record]]\nkind = \"event\"\nuser = \"x\"\n")
            .find("of kind event needs type") != std::string::npos);
  CHECK(
      wrong("[[file]]\npattern = \"*\"\n[[file.record]]\nkind = \"thing\"\n").find("line 4: kind must be") !=
      std::string::npos);
}

TEST_CASE("one row may give several records or none") {
  testing::temp_dir dir;
  write(dir / "a.csv", "u,i,click,note\n1,2,0,\n3,4,1,x\n5,6,9,\n");
  auto by = parsed(R"(
[[file]]
pattern = "*"
  [[file.record]]
  kind = "event"
  when = { column = "click", in = ["0", "1"] }
  type = { constant = "impression" }
  user = { template = "user-{u}" }
  item = { column = "i", map = { 2 = "two" } }
  event_time = { constant = 5, format = "unix_s" }
  [[file.record]]
  kind = "event"
  when = [{ column = "click", equals = "1" }, { column = "note", not_empty = true }]
  type = { constant = "click" }
  user = { template = "user-{u}", hash = true }
  item = "i"
  event_time = { constant = "2020-01-01", format = "rfc3339" }
)");

  auto all = import(*by, dir / "a.csv");

  REQUIRE(all.records.size() == 3);
  CHECK(all.skipped == 1);
  CHECK(all.records[0].item == "two");
  CHECK(all.records[1].user == "user-3");
  CHECK(all.records[2].type == "click");
  CHECK(all.records[2].user.size() == 32);
  CHECK(all.records[1].id.substr(0, 32) == all.records[2].id.substr(0, 32));
  CHECK(all.ids() == 3);
  fs::create_directories(dir / "copy");
  fs::copy(dir / "a.csv", dir / "copy/a.csv");
  CHECK(import(*by, dir / "copy/a.csv").records == all.records);
}

TEST_CASE("attributes are texts, numbers, flags, lists and times") {
  testing::temp_dir dir;
  write(dir / "a.csv", "id,name,n,f,tags,day,red,blue\n1, Ann "
                       ",1.5,yes,a|b||c,01-Jan-1995,0,1\n2,,,,,,1,1\n3,x,y,1,a,01-Jan-1995,0,1\n"
                       "4,x,1,maybe,a,01-Jan-1995,0,1\n5,x,1,1,a,1-Foo-1995,0,1\n6,x,1,1,a,,2,1\n");
  auto all = import(*parsed(R"(
[[file]]
pattern = "*"
trim = true
  [[file.record]]
  kind = "user"
  id = { column = "id" }
  user = "id"
    [file.record.attributes]
    name = "name"
    n = { column = "n", type = "number" }
    f = { column = "f", type = "flag" }
    tags = { column = "tags", type = "list", separator = "|", map = { a = "A" } }
    day = { column = "day", type = "time", format = "%d-%b-%Y" }
    colours = { flags = ["red", "blue"], map = { blue = "deep blue" } }
    from = { template = "{path:0}" }
)"),
                    dir / "a.csv");

  REQUIRE(all.records.size() == 2);
  auto& first = all.records[0];
  CHECK(first.id == "1");
  CHECK(attribute_of(first, "name") == attribute_value{"Ann"});
  CHECK(attribute_of(first, "n") == attribute_value{1.5});
  CHECK(attribute_of(first, "f") == attribute_value{true});
  CHECK(attribute_of(first, "tags") == attribute_value{text_list{"A", "b", "c"}});
  CHECK(attribute_of(first, "day") == attribute_value{788918400.0});
  CHECK(attribute_of(first, "colours") == attribute_value{text_list{"deep blue"}});
  CHECK(attribute_of(first, "from") == attribute_value{"a.csv"});
  CHECK(all.records[1].attributes.size() == 2);
  REQUIRE(all.refused.size() == 4);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(all.refused[i].why.field == std::vector<std::string>{"n", "f", "day", "colours"}[i]);
}

TEST_CASE("JSON paths reach into objects and lists, and values keep their types") {
  testing::temp_dir dir;
  write(
      dir / "a.jsonl",
      R"({"who":{"id":7},"things":[{"sku":"a"},{"sku":"b"}],"at":1500000000000,"price":2,"x.y":"dotted","meta":{"new":true,"n":1,"l":["p",1],"o":{"k":1},"z":null}})"
      "\n{\"who\":{}}\nnot json\n[1]\n{\"who\":\"\xff\"}\n");
  auto all = import(*parsed(R"(
[[file]]
pattern = "*.jsonl"
  [[file.record]]
  kind = "event"
  id = ["who.id", "at"]
  type = { constant = "buy" }
  user = "who.id"
  item = "things.1.sku"
  event_time = { column = "at", format = "unix_ms" }
  value = "price"
  attributes_from = "meta"
    [file.record.attributes]
    dotted = "x.y"
    price = "price"
    whole = { column = "who", type = "text" }
)"),
                    dir / "a.jsonl");

  REQUIRE(all.records.size() == 1);
  auto& first = all.records[0];
  CHECK(first.id == "event:7:1500000000000");
  CHECK(first.user == "7");
  CHECK(first.item == "b");
  CHECK(first.value == 2.0);
  CHECK(first.event_time == from_micros(1500000000000000));
  CHECK(attribute_of(first, "dotted") == attribute_value{"dotted"});
  CHECK(attribute_of(first, "price") == attribute_value{2.0});
  CHECK(attribute_of(first, "whole") == attribute_value{R"({"id":7})"});
  CHECK(attribute_of(first, "new") == attribute_value{true});
  CHECK(attribute_of(first, "l") == attribute_value{text_list{"p", "1"}});
  CHECK(attribute_of(first, "o") == attribute_value{R"({"k":1})"});
  REQUIRE(all.refused.size() == 4);
  CHECK(all.refused[0].why.rule == "required");
  CHECK(all.refused[1].why.reason.starts_with("no JSON"));
  CHECK(all.refused[2].why.reason == "a row is an array, not an object");
  CHECK(all.refused[3].why.rule == "parse");
}

TEST_CASE("the native layout needs no mapping, as JSON lines and as Parquet") {
  testing::temp_dir dir;
  write(
      dir / "a.jsonl",
      R"({"kind":"event","id":"e1","type":"click","user":"u1","item":"i1","event_time":"2020-01-01T00:00:00.5Z","value":1.5,"request_id":"r","context":{"position":3}}
{"kind":"event","type":"click","user":"u1","item":"i1","event_time":1577836800000000}
{"kind":"user","id":"u1","user":"u1","attributes":{"age":30,"tags":["a","b"]}}
{"kind":"item","id":"i1","item":"i1","attributes":"{\"title\":\"x\"}"}
{"kind":"thing","id":"i1","item":"i1"}
)");
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base);
  REQUIRE(
      base->run("COPY (SELECT 'event' AS kind, 'e1' AS id, 'click' AS type, 'u1' AS \"user\", 'i1' AS item, "
                "TIMESTAMP '2020-01-01 00:00:00.5' AS event_time, 1.5 AS value, 'r' AS request_id, "
                "'{\"position\":3}' AS attributes) TO " +
                table::sql_text((dir / "p.parquet").string()) + " (FORMAT parquet)"));

  auto lines = import(*mapping::native(), dir / "a.jsonl");
  auto rows = import(*mapping::native(), dir / "p.parquet");

  REQUIRE(lines.records.size() == 4);
  CHECK(lines.records[0].id == "e1");
  CHECK(micros_of(lines.records[0].event_time) == 1577836800500000);
  CHECK(attribute_of(lines.records[0], "position") == attribute_value{3.0});
  CHECK(lines.records[1].id.size() == 34);
  CHECK(attribute_of(lines.records[2], "tags") == attribute_value{text_list{"a", "b"}});
  CHECK(attribute_of(lines.records[3], "title") == attribute_value{"x"});
  REQUIRE(lines.refused.size() == 1);
  CHECK(lines.refused[0].why.field == "kind");
  REQUIRE(rows.records.size() == 1);
  CHECK(rows.records[0] == lines.records[0]);
}

TEST_CASE("what has no exact text is no user, item, type or id; what has one keeps every digit") {
  testing::temp_dir dir;
  auto by = parsed(R"(
[[file]]
pattern = "*.jsonl"
  [[file.record]]
  kind = "event"
  id = { column = "id" }
  type = { column = "type", map = { true = "click", false = "view" } }
  user = "user"
  item = { template = "{shop}/{item}" }
  event_time = { constant = 5, format = "unix_s" }
    [file.record.attributes]
    whole = { column = "user", type = "text" }
)");
  auto one = [&](std::string_view field, std::string_view value) {
    std::string row = "{";
    for (auto each : {"id", "type", "user", "shop", "item"})
      row += fmt::format("{}\"{}\":{}", row.size() > 1 ? "," : "", each, each == field ? value : "\"x\"");
    write(dir / "a.jsonl", row + "}\n");
    return import(*by, dir / "a.jsonl");
  };
  CHECK(one("user", "123456789012345678901234567890").records.at(0).user == "123456789012345678901234567890");
  CHECK(one("item", "007").refused.size() == 1); // Which is no JSON.
  CHECK(one("item", "7").records.at(0).item == "x/7");
  CHECK(one("type", "true").records.at(0).type == "click");
  for (auto field : {"id", "type", "user", "shop", "item"})
    for (auto value : {"1.5", "1e17", "10.0", "[1]", "{\"a\":1}"}) {
      auto all = one(field, value);
      REQUIRE_MESSAGE(all.refused.size() == 1, field, value);
      CHECK(all.refused[0].why.rule == "parse");
      CHECK(all.refused[0].why.reason.starts_with(fmt::format("column {}: ", field)));
    }
}

TEST_CASE(
    "rows of Troupe's own layout may come in a table of texts; a column that it does not have is refused") {
  testing::temp_dir dir;
  auto by =
      parsed("[[file]]\npattern = \"*.csv\"\nnull = [\"NA\"]\n  [[file.record]]\n  layout = \"native\"\n");
  write(dir / "a.csv", "kind,id,user,item,type,event_time,value,attributes\n"
                       "event,1,u,i,view,1709294400,4.5,\n"
                       "item,1,NA,i,,,,\"{\"\"title\"\":\"\"x\"\",\"\"hidden\"\":\"\"no\"\"}\"\n"
                       "item,2,u,i,,,,\n");
  write(dir / "b.csv", "kind,user,colour\nuser,u,red\n");
  auto all = import(*by, dir / "a.csv");

  REQUIRE(all.records.size() == 2);
  CHECK(all.records[0].value == 4.5);
  CHECK(to_rfc3339(all.records[0].event_time) == "2024-03-01T12:00:00Z");
  CHECK(all.records[1].untimed);
  CHECK(attribute_of(all.records[1], "hidden") == attribute_value{false});
  REQUIRE(all.refused.size() == 1);
  CHECK(all.refused[0].why == refusal{"parse", "user", "there is no field 'user' in a row of items"});
  auto strange = import(*by, dir / "b.csv");
  REQUIRE(strange.failure);
  CHECK(strange.failure->text.find("have no colour") != std::string::npos);
  CHECK(wrong("[[file]]\npattern = \"*\"\n[[file.record]]\nlayout = \"native\"\nkind = \"item\"\n")
            .find("line 5: unknown key kind in [[file.record]] with a layout") != std::string::npos);
  CHECK(wrong("[[file]]\npattern = \"*\"\n[[file.record]]\nlayout = \"foreign\"\n")
            .find("line 4: layout must be") != std::string::npos);
}

TEST_CASE("a row of the lake, or of the quarantine, is the row that it was") {
  testing::temp_dir dir;
  write(
      dir / "a.jsonl",
      R"({"partition":3,"offset":17,"kind":"item","id":"1","item":"i","event_time":"2024-03-01T12:00:00Z","ingest_time":"2024-03-01T12:00:01Z","attributes":"{\"n\":1.0}","untimed":true}
{"partition":3,"offset":18,"kind":"item","id":"2","item":"i","event_time":"2024-03-01T12:00:00Z","untimed":false}
)"
      "\xef\xbb\xbf" // Two files with a byte order mark each, in one.
      R"({"kind":"user","id":"3","user":"u"}
{"kind":"item","id":"4","item":"i","context":{"a":1}}
)");
  auto all = import(*mapping::native(), dir / "a.jsonl");

  REQUIRE(all.records.size() == 3);
  CHECK(all.records[0].untimed);
  CHECK(attribute_of(all.records[0], "n") == attribute_value{1.0});
  CHECK_FALSE(all.records[1].untimed);
  CHECK(all.records[2].user == "u");
  REQUIRE(all.refused.size() == 1);
  CHECK(all.refused[0].why.reason == "there is no field 'context' in a row of items");
}

TEST_CASE("a quarantined row can be mapped again once it is mended") {
  testing::temp_dir dir;
  write(dir / "a.csv", "user,item,rating,time\nu1,i1,five,10\n");
  auto by = parsed(ratings);
  auto all = import(*by, dir / "a.csv");
  auto mapper = by->bind(0, dir / "a.csv", file_format::csv, {"user", "item", "rating", "time"});
  REQUIRE(mapper);
  std::vector<record> records;
  std::vector<refused_row> refused;

  CHECK(mapper->replay(all.refused[0].raw, 1, records, refused) == row_mapper::outcome::refused);
  CHECK(mapper->replay("u1,i1,5,10", 1, records, refused) == row_mapper::outcome::mapped);
  CHECK(records.size() == 1);
}

TEST_CASE("the beginning of a row that was too long is not taken for the whole of it") {
  testing::temp_dir dir;
  auto by =
      parsed("[[file]]\npattern = \"*.csv\"\nmax_row_bytes = 5000\n[[file.record]]\nkind = \"item\"\nitem "
             "= \"item\"\n[file.record.attributes]\ntitle = \"title\"\n");
  for (std::size_t length : {6'000, 3'000'000}) {
    write(dir / "a.csv", "item,title\ni1," + std::string(length, 'x') + "\ni2,short\n");
    auto all = import(*by, dir / "a.csv");
    REQUIRE(all.refused.size() == 1);
    CHECK(all.records.size() == 1);
    auto mapper = by->bind(0, dir / "a.csv", file_format::csv, {"item", "title"});
    std::vector<record> records;
    std::vector<refused_row> refused;

    CHECK(mapper->replay(all.refused[0].raw, 1, records, refused) == row_mapper::outcome::refused);
    CHECK(records.empty());
  }
}

TEST_CASE("times are read in each format and never outside the years 1 to 9999") {
  auto read = [](std::string_view format, std::string_view text) {
    auto made = time_format::parse(format);
    REQUIRE(made);
    auto at = made->read(text);
    return at ? to_rfc3339(*at) : "none";
  };
  CHECK(read("unix_s", "881250949") == "1997-12-04T15:55:49Z");
  CHECK(read("unix_s", "1.5") == "1970-01-01T00:00:01.500000Z");
  CHECK(read("unix_s", "-1") == "1969-12-31T23:59:59Z");
  CHECK(read("unix_ms", "1500") == "1970-01-01T00:00:01.500000Z");
  CHECK(read("unix_us", "9223372036854775807") == "none");
  CHECK(read("unix_s", "12x") == "none");
  CHECK(read("unix_s", "nan") == "none");
  CHECK(read("%d-%b-%Y", "24-dec-1995") == "1995-12-24T00:00:00Z");
  CHECK(read("%d-%b-%Y", "31-Feb-1995") == "none");
  CHECK(read("%d-%b-%Y", "01-Jan-1995 ") == "none");
  CHECK(read("%Y-%m-%d %H:%M:%S.%f%z", "2019-11-24 00:03:13.442+0100") == "2019-11-23T23:03:13.442000Z");
  CHECK(read("auto", "1577836800000000") == "2020-01-01T00:00:00Z");
  CHECK(read("auto", "2020-01-01") == "2020-01-01T00:00:00Z");
  CHECK(read("unix_s", "-62135596801") == "none");
  CHECK(read("unix_ms", "1e3") == "1970-01-01T00:00:01Z");
  CHECK(!time_format::parse("%d-%b"));
  CHECK(!time_format::parse("%"));
}

TEST_CASE("a time of format auto is what its size says: seconds, milliseconds, microseconds, with a "
          "fraction, or text") {
  testing::temp_dir dir;
  std::ofstream{dir / "a.csv"} << "customer,sku,bought_at\nc1,s1,1709294400\nc2,s2,1709294400000\nc3,s3,"
                                  "1709294400000000\nc4,s4,2024-03-01T12:00:00Z\nc5,s5,1709294400.5\nc6,s6,"
                                  "1709294400000000000\nc7,s7,yesterday\n";
  std::ofstream{dir / "b.jsonl"} << R"({"customer":"c1","sku":"s1","bought_at":1709294400})"
                                    "\n"
                                    R"({"customer":"c2","sku":"s2","bought_at":1709294400.5})"
                                    "\n"
                                    R"({"customer":"c3","sku":"s3","bought_at":"1709294400000"})"
                                    "\n";
  auto by = mapping::parse("[[file]]\npattern = [\"*.csv\", \"*.jsonl\"]\n[[file.record]]\nkind = \"event\"\n"
                           "type = { constant = \"purchase\" }\nuser = \"customer\"\nitem = \"sku\"\n"
                           "event_time = { column = \"bought_at\", format = \"auto\" }\n",
                           "auto");
  REQUIRE_MESSAGE(by, by.error().text);

  auto all = import(**by, dir.path());

  std::vector<std::string> times;
  for (auto& each : all.records)
    times.push_back(each.user + " " + to_rfc3339(each.event_time));
  CHECK(times == std::vector<std::string>{
                     "c1 2024-03-01T12:00:00Z", "c2 2024-03-01T12:00:00Z", "c3 2024-03-01T12:00:00Z",
                     "c4 2024-03-01T12:00:00Z", "c5 2024-03-01T12:00:00.500000Z", "c6 2024-03-01T12:00:00Z",
                     "c1 2024-03-01T12:00:00Z", "c2 2024-03-01T12:00:00.500000Z", "c3 2024-03-01T12:00:00Z"});
  REQUIRE(all.refused.size() == 1);
  CHECK(all.refused[0].why.rule == "parse");
}

TEST_CASE("a user or item may have no time, and its record says so; an event without one is refused") {
  testing::temp_dir dir;
  std::ofstream{dir / "items.csv"} << "item,title,at\ni1,One,\ni2,Two,2024-03-01\n";
  auto by =
      mapping::parse("[[file]]\npattern = \"*.csv\"\n[[file.record]]\nkind = \"item\"\nitem = \"item\"\n"
                     "event_time = \"at\"\n[file.record.attributes]\ntitle = \"title\"\n"
                     "[[file.record]]\nkind = \"user\"\nuser = \"title\"\n",
                     "items");
  REQUIRE_MESSAGE(by, by.error().text);

  auto all = import(**by, dir.path());

  REQUIRE(all.records.size() == 4);
  CHECK(all.records[0].untimed);
  CHECK(all.records[1].untimed);
  CHECK_FALSE(all.records[2].untimed);
  CHECK(to_rfc3339(all.records[2].event_time) == "2024-03-01T00:00:00Z");
}

TEST_CASE("how far ahead of the clock rows may be dated is a [[file]]'s to say") {
  const std::string rest = "[[file.record]]\nkind = \"user\"\nuser = \"u\"\n";
  auto by = mapping::parse("[[file]]\npattern = \"*.csv\"\nmax_ahead = \"2d\"\n" + rest +
                               "[[file]]\npattern = \"*.tsv\"\n" + rest,
                           "m");
  REQUIRE_MESSAGE(by, by.error().text);
  auto wrong = mapping::parse("[[file]]\npattern = \"*.csv\"\nmax_ahead = \"soon\"\n" + rest, "m");

  CHECK((*by)->max_ahead(0) == std::chrono::hours{48});
  CHECK_FALSE((*by)->max_ahead(1).has_value());
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().text.find("line 3") != std::string::npos);
  CHECK(wrong.error().text.find("soon") != std::string::npos);
}

TEST_CASE("MovieLens 100K has 100,000 ratings, 1,682 items and 943 users") {
  auto path = data("ml-100k");
  if (!path)
    return;
  auto all = import(*shipped("movielens-100k"), *path);

  CHECK(all.count(record_kind::event, "rating") == 100'000);
  CHECK(all.count(record_kind::item) == 1'682);
  CHECK(all.count(record_kind::user) == 943);
  CHECK(all.ids() == 102'625);
  CHECK(all.refused.empty());
  CHECK(std::find(all.ignored.begin(), all.ignored.end(), "u1.base") != all.ignored.end());
  for (auto& each : all.records)
    REQUIRE(check(each));
  auto item = std::find_if(all.records.begin(), all.records.end(),
                           [](auto& each) { return each.kind == record_kind::item; });
  CHECK(attribute_of(*item, "title") == attribute_value{"Toy Story (1995)"});
  CHECK(attribute_of(*item, "genres") == attribute_value{text_list{"Animation", "Children's", "Comedy"}});
}

TEST_CASE("MovieTweetings has 100,000 ratings and 10,506 items") {
  auto path = data("movietweetings-100k");
  if (!path)
    return;
  auto all = import(*shipped("movietweetings"), *path);

  CHECK(all.count(record_kind::event, "rating") == 100'000);
  CHECK(all.count(record_kind::item) == 10'506);
  CHECK(all.ids() == 110'506);
  CHECK(all.refused.empty());
}

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
  propensity = { column = "chance", optional = true }
  event_time = "at"
    [file.record.attributes]
    device = "device"
  [[file.record]]
  kind = "event"
  when = { column = "clicked", equals = "1" }
  type = { constant = "click" }
  user = "user"
  item = "item"
  request_id = "session"
  event_time = "at"
)";

constexpr auto page_rows = "session,user,item,place,at,device,clicked\n"
                           "s1,u1,b,2,1700000000,phone,0\n"
                           "s1,u1,a,1,1700000001,desk,1\n"
                           "s2,u1,c,1,1700000002,desk,0\n"
                           "s2,u2,d,1,1700000003,desk,0\n" // Of another user: a page of its own.
                           ",u2,e,,1700000004,desk,0\n"    // Nothing to join it by.
                           ",u2,f,,1700000005,desk,0\n"
                           "s3,u2,g,1,1700000006,desk,0\n"
                           "s3,u2,h,no place,1700000007,desk,0\n" // Refused, and s3 goes on.
                           "s3,u2,i,3,1700000008,desk,0\n"
                           "s1,u1,k,1,1700000009,desk,0\n"; // Not behind the others of s1.

} // namespace

TEST_CASE("rows of one request that follow one another are one slate, what else they give stands by itself") {
  testing::temp_dir dir;
  std::ofstream{dir / "pages.csv"} << page_rows;

  auto all = import(*parsed(pages), dir / "pages.csv");

  REQUIRE(all.refused.size() == 1);
  CHECK(all.refused[0].number == 8);
  CHECK(all.refused[0].why.field == "position");
  REQUIRE(all.records.size() == 8);
  auto& first = all.records[0];
  CHECK(first.kind == record_kind::slate);
  CHECK(first.request_id == "s1");
  CHECK(first.type == "impression");
  CHECK(micros_of(first.event_time) == 1'700'000'000'000'000);
  CHECK(first.attributes == std::vector<attribute>{{"device", std::string{"phone"}}});
  CHECK(first.shown == std::vector<shown_item>{{"a", 1, 1}, {"b", 2, 1}});
  CHECK(all.records[1].type == "click");
  CHECK(all.records[1].item == "a");
  CHECK(all.records[2].shown == std::vector<shown_item>{{"c", 1, 1}});
  CHECK(all.records[3].user == "u2");
  CHECK(all.records[4].shown == std::vector<shown_item>{{"e", 0, 1}});
  CHECK(all.records[5].shown == std::vector<shown_item>{{"f", 0, 1}});
  CHECK(all.records[6].shown == std::vector<shown_item>{{"g", 1, 1}, {"i", 3, 1}});
  CHECK(all.records[7].shown == std::vector<shown_item>{{"k", 1, 1}});
  CHECK(all.ids() == 8);
  for (auto& each : all.records)
    CHECK(check(each));
}

TEST_CASE("a row that a rule behind that of its slate refuses gives the slate nothing, and begins none") {
  testing::temp_dir dir;
  std::ofstream{dir / "pages.csv"} << "session,user,item,place,at,device,clicked,price\n"
                                      "s1,u1,a,1,1700000000,desk,1,abc\n" // Nothing under way.
                                      "s1,u1,b,2,1700000001,desk,0,\n"
                                      "s1,u1,c,3,1700000002,desk,1,abc\n" // In the middle of a slate.
                                      "s1,u1,d,4,1700000003,desk,1,2.5\n"
                                      "s2,u1,e,1,1700000004,desk,1,abc\n"; // The last of the file.

  auto all = import(*parsed(std::string{pages} + "  value = \"price\"\n"), dir / "pages.csv");

  CHECK(all.refused.size() == 3);
  REQUIRE(all.records.size() == 2);
  CHECK(all.records[0].shown == std::vector<shown_item>{{"b", 2, 1}, {"d", 4, 1}});
  CHECK(all.records[1].type == "click");
  CHECK(all.records[1].value == 2.5);
}

TEST_CASE("a file that is read again from any of its rows gives the same slates from there on") {
  testing::temp_dir dir;
  std::ofstream{dir / "pages.csv"} << page_rows;
  auto by = parsed(pages);
  auto whole = import(*by, dir / "pages.csv");
  for (std::size_t at_once : {1u, 2u, 3u}) {
    std::vector<record> got;
    source_position from;
    for (int life = 0; life < 20; ++life) { // Each life reads one piece and dies.
      auto reader = *open_reader(dir / "pages.csv", by->options(0), from);
      auto mapper = *by->bind(0, dir / "pages.csv", *reader);
      slate_rows slates{mapper};
      std::vector<mapped_row> complete;
      bool end = false;
      while (complete.empty() && !end) {
        auto batch = *reader->next(at_once);
        end = batch->rows.empty();
        for (auto& row : batch->rows)
          slates.add(row, complete);
        from = slates.waits_from().value_or(batch->after);
      }
      if (end)
        slates.finish(complete);
      for (auto& row : complete)
        std::ranges::move(row.records, std::back_inserter(got));
      if (end)
        break;
    }
    CHECK(got == whole.records);
  }
}

TEST_CASE("a place that a slate has begins the next one, and a row whose chance is none is refused alone") {
  testing::temp_dir dir;
  std::ofstream{dir / "pages.csv"} << "session,user,item,place,at,device,clicked,chance\n"
                                      "s1,u1,b,2,1700000000,desk,0,0.5\n"
                                      "s1,u1,a,1,1700000001,desk,0,0.5\n"
                                      "s1,u1,x,3,1700000002,desk,0,0\n"
                                      "s1,u1,y,3,1700000003,desk,0,1.5\n"
                                      "s1,u1,c,1,1700000004,desk,0,0.5\n" // The second page of the session.
                                      "s1,u1,d,,1700000005,desk,0,0.5\n"
                                      "s1,u1,e,,1700000006,desk,0,0.5\n"
                                      "s1,u1,f,2,1700000007,desk,0,0.5\n";

  auto all = import(*parsed(pages), dir / "pages.csv");

  REQUIRE(all.refused.size() == 2);
  CHECK(all.refused[0].why.field == "propensity");
  CHECK(all.refused[0].why.reason == "propensity 0 is not above 0 and up to 1");
  REQUIRE(all.records.size() == 2);
  CHECK(all.records[0].shown == std::vector<shown_item>{{"a", 1, 0.5}, {"b", 2, 0.5}});
  CHECK(all.records[1].shown ==
        std::vector<shown_item>{{"c", 1, 0.5}, {"d", 0, 0.5}, {"e", 0, 0.5}, {"f", 2, 0.5}});
  CHECK(all.ids() == 2);
  for (auto& each : all.records)
    CHECK(check(each));
}

TEST_CASE("a slate of a file is a thousand rows at most, those between included") {
  testing::temp_dir dir;
  {
    std::ofstream out{dir / "pages.csv"};
    out << "session,user,item,place,at,device,clicked\n";
    for (int i = 1; i <= 1'500; ++i)
      out << "s,u,i" << i << "," << (i == 500 ? "x" : "0") << ",1700000000,d,0\n";
  }

  auto all = import(*parsed(pages), dir / "pages.csv");

  REQUIRE(all.records.size() == 2);
  CHECK(all.records[0].shown.size() == 999);
  CHECK(all.records[1].shown.size() == 500);
}

TEST_CASE("a record of a file whose rows are joined comes out of the quarantine by itself") {
  auto by = parsed(pages);
  auto mapper = *by->bind(0, "pages.csv", file_format::csv,
                          {"session", "user", "item", "place", "at", "device", "clicked"});
  std::vector<record> records;
  std::vector<refused_row> refused;
  auto replay = [&](std::string_view bytes, bool record = true) {
    records.clear();
    refused.clear();
    return record ? mapper.replay_record(bytes, 7, records, refused)
                  : mapper.replay(bytes, 7, records, refused);
  };

  CHECK(
      replay(R"({"kind":"slate","id":"x","type":"impression","user":"u","event_time":"2024-01-01T00:00:00Z",)"
             R"("shown":[{"item":"a","position":1,"propensity":0.5},{"item":"b","position":2}]})") ==
      row_mapper::outcome::mapped);
  REQUIRE(records.size() == 1);
  CHECK(records[0].id == "x");
  CHECK(records[0].shown == std::vector<shown_item>{{"a", 1, 0.5}, {"b", 2, 1}});
  CHECK(replay(R"({"kind":"slate","id":"x","user":"u","shown":[]})") == row_mapper::outcome::refused);
  CHECK(replay(R"({"kind":"slate","id":"x","user":"u","shown":[{"item":"a"}]})") ==
        row_mapper::outcome::refused);
  CHECK(refused[0].why.field == "event_time");
  CHECK(replay(R"({"kind":"user","id":"x","user":"u"})") == row_mapper::outcome::mapped);
  CHECK(replay("s1,u1,b,2,1700000000,phone,0", false) == row_mapper::outcome::mapped);
  CHECK(records[0].shown == std::vector<shown_item>{{"b", 2, 1}});
}

TEST_CASE("where a column says the kind, an event keeps the place and the chance that slates show") {
  testing::temp_dir dir;
  std::ofstream{dir / "a.csv"} << "kind,type,user,item,place,chance,at\n"
                                  "slate,,u,a,2,0.5,1700000000\n"
                                  "event,click,u,a,2,0.5,1700000001\n"
                                  "event,click,u,b,,,1700000002\n";
  auto by = parsed("[[file]]\npattern = \"*.csv\"\n[[file.record]]\nkind = { column = \"kind\" }\n"
                   "type = \"type\"\nuser = \"user\"\nitem = \"item\"\nevent_time = \"at\"\n"
                   "position = \"place\"\npropensity = \"chance\"\n");

  auto all = import(*by, dir / "a.csv");

  CHECK(all.refused.empty());
  REQUIRE(all.records.size() == 3);
  CHECK(all.records[0].shown == std::vector<shown_item>{{"a", 2, 0.5}});
  CHECK(all.records[0].attributes.empty());
  CHECK(all.records[1].attributes == std::vector<attribute>{{"position", 2.0}, {"propensity", 0.5}});
  CHECK(all.records[2].attributes.empty());
}

TEST_CASE("what a mapping says of slates and cannot be is refused, with its line") {
  auto wrong = [](const std::string& record) {
    auto made = mapping::parse("[[file]]\npattern = \"*\"\n[[file.record]]\n" + record, "m");
    return made ? std::string{} : made.error().text;
  };
  std::string event = "kind = \"event\"\ntype = \"t\"\nuser = \"u\"\nitem = \"i\"\nevent_time = \"e\"\n";
  std::string slate = "kind = \"slate\"\nuser = \"u\"\nitem = \"i\"\nevent_time = \"e\"\n";

  CHECK(wrong(slate).empty());
  CHECK(wrong("kind = \"slate\"\nuser = \"u\"\nevent_time = \"e\"\n").find("slate needs item") !=
        std::string::npos);
  CHECK(wrong(slate + "type = \"t\"\n").find("type is nothing that a slate has") != std::string::npos);
  CHECK(wrong(event + "position = \"p\"\n").find("position belongs to slates") != std::string::npos);
  CHECK(wrong(event + "slate_by = \"p\"\n").find("slate_by needs kind = \"slate\"") != std::string::npos);
  CHECK(wrong(slate + "slate_by = \"p\"\n[[file.record]]\n" + slate + "slate_by = \"q\"\n")
            .find("slate_by twice") != std::string::npos);
}

TEST_CASE("Open Bandit has 40,000 impressions") {
  auto path = data("obd-small");
  if (!path)
    return;
  auto all = import(*shipped("open-bandit"), *path);

  CHECK(all.count(record_kind::slate, "impression") == 40'000);
  CHECK(all.count(record_kind::event, "click") > 100);
  CHECK(all.refused.empty());
  CHECK(all.ids() == all.records.size());
  auto& last = all.records.back();
  CHECK(attribute_of(last, "campaign") == attribute_value{"women"});
  CHECK(attribute_of(last, "policy") == attribute_value{"random"});
}
