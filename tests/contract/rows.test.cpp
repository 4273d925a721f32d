#include "services/feature_store/training/entity_rows.hpp"
#include "services/gateway/http/request_body.hpp"

#include "common/core/json_string.hpp"
#include "common/ingest_format/mapping/mapping.hpp"
#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>

using namespace troupe;
namespace format = troupe::ingest_format;
namespace fs = std::filesystem;

/// One row says one thing, through whichever door it comes: a file of CSV, JSON lines or Parquet, the body of
/// a request, a training set's entity_rows.
namespace {

constexpr std::size_t groups = 25, rows_per_group = 400;

/// One value as each format writes it.
struct cell {
  std::string json;               ///< Empty: there is none.
  std::optional<std::string> csv; ///< Nothing: a table of texts cannot say the same.
  std::string sql = "NULL";
};

const cell nothing{"", "", "NULL"};

using random_source = std::mt19937;

template <class List>
auto& one_of(random_source& random, const List& from) {
  return from[random() % std::size(from)];
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

cell text_cell(const std::string& text) {
  return {json_text(text), text, table::sql_text(text)};
}

const std::string odd_texts[] = {"u1",
                                 "u2",
                                 "007",
                                 "1.5",
                                 "1e17",
                                 "true",
                                 "",
                                 "a b",
                                 " a ",
                                 "null",
                                 "\xc3\xa9",
                                 "\xf0\x9f\x98\x80",
                                 "x\ty",
                                 "a\nb",
                                 "a,\"b\"",
                                 "x\x7f",
                                 "..",
                                 "a'b",
                                 std::string(1'030, 'x'),
                                 "18446744073709551616"};

cell a_text(random_source& random) {
  return text_cell(random() % 6 ? fmt::format("n{}", random() % 1'000) : one_of(random, odd_texts));
}

cell a_whole(const std::string& digits) {
  return {digits, digits, digits};
}

/// `named`: as an id, which the text of a fraction is and the number is not.
cell a_double(random_source& random, bool named) {
  static constexpr double all[] = {0.5, -0.25, 2, 7, 1e300, 1e17, 9007199254740992, 1e-7, 123456.75};
  auto value = one_of(random, all);
  bool whole = value == std::floor(value) && std::abs(value) <= 9007199254740992;
  auto text = whole ? fmt::format("{:.0f}", value) : fmt::format("{}", value);
  return {text, named && !whole ? std::nullopt : std::optional{text}, fmt::format("{}::DOUBLE", text)};
}

cell a_flag(random_source& random) {
  std::string text = random() % 2 ? "true" : "false";
  return {text, text, text};
}

/// What a column of a group is made of.
struct column {
  std::string name, type;
  std::function<cell(random_source&)> make;
  unsigned absent = 10; ///< Of a hundred.
};

struct typed {
  std::string type;
  std::function<cell(random_source&)> make;
};

typed any_identity(random_source& random) {
  const typed all[] = {
      {"VARCHAR", a_text},
      {"BIGINT",
       [](auto& from) {
         static const std::string some[] = {"0", "-5", "42", "9007199254740993", "-9223372036854775808"};
         return a_whole(one_of(from, some));
       }},
      {"UBIGINT",
       [](auto& from) {
         static const std::string some[] = {"18446744073709551615", "1"};
         return a_whole(one_of(from, some));
       }},
      {"DECIMAL(38, 0)",
       [](auto& from) {
         static const std::string some[] = {"17014118346046923173168730371588410572", "-99999999999999999999",
                                            "7"};
         return a_whole(one_of(from, some));
       }},
      {"DOUBLE", [](auto& from) { return a_double(from, true); }},
      {"BOOLEAN", a_flag},
      {"VARCHAR[]",
       [](auto&) {
         return cell{R"(["a","b"])", std::nullopt, "['a', 'b']"};
       }},
      {"STRUCT(a INTEGER)", [](auto&) {
         return cell{R"({"a":1})", std::nullopt, "{'a': 1}"};
       }}};
  return random() % 3 ? all[0] : one_of(random, all);
}

typed any_time(random_source& random) {
  const typed all[] = {
      {"VARCHAR",
       [](auto& from) {
         static const std::string some[] = {"2024-03-01T12:00:00Z", "2024-03-01 12:00:00.25+02:00",
                                            "2024-03-01",           "yesterday",
                                            "1709294400",           "",
                                            "0000-01-01",           "1709294400.5"};
         return text_cell(one_of(from, some));
       }},
      {"BIGINT",
       [](auto& from) {
         static const std::string some[] = {
             "1709294400", "1709294400000", "1709294400000000",   "1709294400123456789",
             "0",          "-86400",        "9223372036854775807"};
         return a_whole(one_of(from, some));
       }},
      {"DOUBLE",
       [](auto& from) {
         auto text = fmt::format("{}", 1709294400 + static_cast<double>(from() % 64) / 64);
         return cell{text, text, text + "::DOUBLE"};
       }},
      {"TIMESTAMP",
       [](auto& from) {
         auto at = from_micros(1'709'294'400'000'000 + static_cast<std::int64_t>(from() % 1'000'000));
         auto text = to_rfc3339(at);
         return cell{json_text(text), text, fmt::format("TIMESTAMP '{}'", text.substr(0, text.size() - 1))};
       }},
      {"BOOLEAN", a_flag}};
  return random() % 8 ? all[random() % 4] : all[4];
}

typed any_value(random_source& random) {
  const typed all[] = {{"DOUBLE", [](auto& from) { return a_double(from, false); }},
                       {"VARCHAR",
                        [](auto& from) {
                          static const std::string some[] = {"4.5", " 4 ", "+1", "five", "", "1e999", "0x10"};
                          return text_cell(one_of(from, some));
                        }},
                       {"BIGINT", [](auto& from) { return a_whole(std::to_string(from() % 10)); }},
                       {"BOOLEAN", a_flag}};
  return all[random() % 16 ? random() % 3 : 3];
}

/// Attributes as JSON in a text: of every kind, and what is none.
typed attribute_texts() {
  return {"VARCHAR", [](auto& from) {
            static const std::string some[] = {
                R"({"title":"x","year":1995,"genres":["a","b"]})",
                R"({"hidden":"yes"})",
                R"({"hidden":0,"deleted":"FALSE"})",
                R"({"hidden":"soon"})",
                R"({"expires":"2030-03-01"})",
                R"({"expires":"never","title":"x"})",
                R"({"deleted":2})",
                R"({"deleted":true})",
                R"({"hidden":null,"n":1.50})",
                R"({"mixed":["a",1.50,true,null,{"k":[ 1 ]}],"deep":{"x": 1,"y":{"z":null}}})",
                R"({"big":123456789012345678901234567890})",
                R"({"n":1e999})",
                R"({"a":1,"a":2})",
                R"({"":1})",
                R"({})",
                R"([1])",
                R"(nope)",
                R"("text")",
                R"({"unit":"\u001f","empty":""})",
                ""};
            return text_cell(one_of(from, some));
          }};
}

/// The same as a structure of columns.
typed attribute_columns(random_source& random) {
  auto hidden = random() % 3;
  std::string type =
      fmt::format("STRUCT(hidden {}, tags VARCHAR[], n DOUBLE, big DECIMAL(38, 0), deep STRUCT(x INTEGER, y "
                  "VARCHAR))",
                  hidden == 0   ? "BOOLEAN"
                  : hidden == 1 ? "VARCHAR"
                                : "DOUBLE");
  return {type, [hidden](auto& from) {
            std::vector<std::tuple<std::string, cell>> parts;
            static const std::string words[] = {"true", "No", "1", "soon"};
            auto flag = hidden == 0   ? a_flag(from)
                        : hidden == 1 ? text_cell(one_of(from, words))
                                      : a_whole(std::to_string(from() % 3));
            parts.emplace_back("hidden", from() % 3 ? flag : nothing);
            parts.emplace_back("tags",
                               from() % 2 ? cell{R"(["a",null,"b c"])", {}, "['a', NULL, 'b c']"} : nothing);
            parts.emplace_back("n", from() % 2 ? a_double(from, false) : nothing);
            parts.emplace_back("big", from() % 4 ? nothing : a_whole("99999999999999999999"));
            parts.emplace_back("deep", from() % 3 ? nothing : cell{R"({"x":1})", {}, "{'x': 1, 'y': NULL}"});
            cell out{"{", {}, "{"};
            for (auto& [name, part] : parts) {
              if (!part.json.empty())
                out.json += fmt::format("{}\"{}\":{}", out.json.size() > 1 ? "," : "", name, part.json);
              out.sql += fmt::format("{}'{}': {}", out.sql.size() > 1 ? ", " : "", name, part.sql);
            }
            out.json += '}';
            out.sql += '}';
            out.csv = out.json;
            return out;
          }};
}

/// What a slate shows, some of it wrong, as an array or as JSON in a text.
typed any_shown(random_source& random) {
  bool text = random() % 2;
  return {text ? "VARCHAR" : "STRUCT(item VARCHAR, \"position\" INTEGER, propensity DOUBLE)[]",
          [text](auto& from) -> cell {
            static const std::string chances[] = {"0.25", "1", "1", "0.5", "0.125", "0"};
            cell out{"[", {}, "["};
            auto count = from() % 4;
            for (unsigned i = 1; i <= count; ++i) {
              auto item =
                  from() % 30 ? fmt::format("n{}", from() % 100) : std::string{one_of(from, odd_texts)};
              auto place = from() % 20 ? i : 1;
              auto chance = from() % 3 ? chances[from() % 5] : one_of(from, chances);
              out.json += fmt::format("{}{{\"item\":{},\"position\":{},\"propensity\":{}}}",
                                      i == 1 ? "" : ",", json_text(item), place, chance);
              out.sql += fmt::format("{}{{'item': {}, 'position': {}, 'propensity': {}::DOUBLE}}",
                                     i == 1 ? "" : ", ", table::sql_text(item), place, chance);
            }
            out.json += ']';
            out.sql += ']';
            out.csv = out.json;
            if (text) {
              out.sql = table::sql_text(out.json);
              out.json = json_text(out.json);
            }
            return out;
          }};
}

std::vector<column> any_columns(random_source& random) {
  std::vector<column> out;
  auto add = [&](std::string name, typed of, unsigned absent) {
    out.push_back({std::move(name), std::move(of.type), std::move(of.make), absent});
  };
  add("kind",
      {"VARCHAR",
       [](auto& from) {
         static const std::string kinds[] = {"event", "event", "event", "slate", "user", "item"};
         static const std::string odd[] = {"thing", "", "Event"};
         return text_cell(from() % 30 ? one_of(from, kinds) : one_of(from, odd));
       }},
      1);
  add("id", any_identity(random), 30);
  add("type", {"VARCHAR", a_text}, 8);
  add("user", any_identity(random), 8);
  add("item", any_identity(random), 8);
  add("event_time", any_time(random), 10);
  add("value", any_value(random), 50);
  add("request_id", {"VARCHAR", a_text}, 70);
  add("attributes", random() % 2 ? attribute_texts() : attribute_columns(random), 50);
  add("context", attribute_texts(), 85);
  add("shown", any_shown(random), 5);
  return out;
}

struct row {
  std::vector<cell> cells;
  std::string json;
  bool in_csv = true;         ///< A table of texts can say the same.
  bool in_table = true;       ///< It has the columns of the group and no others.
  std::optional<record> read; ///< By JSON lines.
};

row any_row(random_source& random, const std::vector<column>& columns) {
  row out;
  out.json = "{";
  std::optional<std::string> kind;
  for (auto& each : columns) {
    bool entity = kind && (*kind == "user" || *kind == "item"), slate = kind && *kind == "slate";
    bool strange =
        kind &&
        ((*kind == "item" && each.name == "user") || ((*kind == "user" || slate) && each.name == "item") ||
         (entity && (each.name == "type" || each.name == "request_id" || each.name == "context")) ||
         ((entity || slate) && each.name == "value") || (slate && each.name == "type") ||
         (!slate && each.name == "shown"));
    // A field that a kind does not have is there now and then: more rows are refused by it than are not.
    bool absent = strange ? random() % 40 != 0 : random() % 100 < each.absent;
    auto& made = out.cells.emplace_back(absent ? nothing : each.make(random));
    if (each.name == "kind")
      kind = made.csv;
    out.in_csv = out.in_csv && made.csv.has_value();
    if (!made.json.empty())
      out.json += fmt::format("{}\"{}\":{}", out.json.size() > 1 ? "," : "", each.name, made.json);
    else if (random() % 4 == 0)
      out.json += fmt::format("{}\"{}\":null", out.json.size() > 1 ? "," : "", each.name);
  }
  if (random() % 50 == 0) {
    out.json += fmt::format("{}\"colour\":\"red\"", out.json.size() > 1 ? "," : "");
    out.in_table = false;
  }
  out.json += '}';
  return out;
}

/// What stands for a record where doors may differ: an id that the row does not give, and the time of its
/// arrival.
record comparable(record of, const row& from, const std::vector<column>& columns) {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i].name == "id" && from.cells[i].csv == "")
      of.id.clear();
  if (of.untimed)
    of.event_time = {};
  return of;
}

/// The records of a file's rows in their order; nothing where one is refused.
std::vector<std::optional<record>> read_file_rows(const format::mapping& by, const fs::path& file) {
  auto reader = format::open_reader(file, by.options(0));
  REQUIRE_MESSAGE(reader, reader.error().text);
  auto mapper = by.bind(0, file, **reader);
  REQUIRE_MESSAGE(mapper, mapper.error().text);
  std::vector<std::optional<record>> out;
  std::vector<record> records;
  std::vector<format::refused_row> refused;
  for (;;) {
    auto batch = (*reader)->next(1'000);
    REQUIRE_MESSAGE(batch, batch.error().text);
    if ((*batch)->rows.empty())
      return out;
    for (auto& each : (*batch)->rows) {
      records.clear();
      bool mapped = mapper->apply(each, records, refused) == format::row_mapper::outcome::mapped;
      if (mapped && check(records[0])) // As ingest asks before it takes one.
        out.emplace_back(std::move(records[0]));
      else
        out.emplace_back();
    }
  }
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string out;
  for (auto& each : fields) {
    out += out.empty() ? "\"" : ",\"";
    for (char c : each)
      out += c == '"' ? std::string{"\"\""} : std::string{c};
    out += '"';
  }
  return out + "\n";
}

struct group {
  std::vector<column> columns;
  std::vector<row> rows;
  fs::path folder;

  std::size_t place_of(std::string_view name) const {
    for (std::size_t i = 0; i < columns.size(); ++i)
      if (columns[i].name == name)
        return i;
    return columns.size();
  }

  /// Writes the rows for which `wanted` holds, each in all three formats, and says which ones.
  template <class Wanted>
  std::vector<const row*> write(const std::string& name, const Wanted& wanted) const {
    std::ofstream json{folder / (name + ".jsonl"), std::ios::binary},
        csv{folder / (name + ".csv"), std::ios::binary};
    auto base = table::connection::open({.threads = 1});
    REQUIRE(base);
    std::string types;
    std::vector<std::string> names;
    for (auto& each : columns) {
      types += fmt::format("{}{} {}", types.empty() ? "" : ", ", table::sql_name(each.name), each.type);
      names.push_back(each.name);
    }
    REQUIRE(base->run(fmt::format("CREATE TABLE rows({})", types)));
    csv << csv_line(names);
    std::string values;
    std::vector<const row*> out;
    for (auto& each : rows) {
      if (!wanted(each))
        continue;
      out.push_back(&each);
      json << each.json << '\n';
      std::vector<std::string> fields;
      std::string list;
      for (auto& part : each.cells) {
        fields.push_back(part.csv.value_or(""));
        list += (list.empty() ? "" : ", ") + part.sql;
      }
      csv << csv_line(fields);
      values += fmt::format("{}({})", values.empty() ? "" : ", ", list);
    }
    if (!out.empty()) {
      auto done = base->run("INSERT INTO rows VALUES " + values);
      REQUIRE_MESSAGE(done, done.error().text);
    }
    REQUIRE(base->run(fmt::format("COPY rows TO {} (FORMAT parquet)",
                                  table::sql_text((folder / (name + ".parquet")).string()))));
    return out;
  }
};

void compare(std::string_view door, const group& in, const row& of, const std::optional<record>& read) {
  CHECK_MESSAGE(read.has_value() == of.read.has_value(), door,
                (read ? " takes what JSON lines refuse: " : " refuses what JSON lines take: "), of.json);
  if (read && of.read)
    CHECK_MESSAGE(comparable(*read, of, in.columns) == comparable(*of.read, of, in.columns), door,
                  " reads otherwise: ", of.json);
}

/// By the body of a request, as an array and as lines in turn.
void compare_http(const group& in, std::size_t seed) {
  std::map<record_kind, std::vector<const row*>> by_kind;
  auto kind_at = in.place_of("kind"), time_at = in.place_of("event_time");
  for (auto& each : in.rows) {
    auto said = each.cells[kind_at].csv;
    // Where the door says the kind the row need not, and an event without a time is one of now.
    if (said->empty() || ((*said == "event" || *said == "slate") && each.cells[time_at].csv == ""))
      continue;
    by_kind[said == "user"   ? record_kind::user
            : said == "item" ? record_kind::item
                             : record_kind::event]
        .push_back(&each);
  }
  for (auto& [kind, rows] : by_kind) {
    bool lines = (seed + static_cast<std::size_t>(kind)) % 2;
    std::string body = lines ? "" : "[";
    for (auto* each : rows)
      body += (body.size() > 1 && !lines ? "," : "") + each->json + (lines ? "\n" : "");
    auto read = gateway::parse_rows(body + (lines ? "" : "]"), {kind, {}, rows_per_group, wall_now()});
    REQUIRE_MESSAGE(read, read.error().text);
    REQUIRE(read->size() == rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto& one = (*read)[i];
      compare("HTTP", in, *rows[i], one.refused.empty() ? std::optional{one.what} : std::nullopt);
    }
  }
}

feature_store::training_spec entity_rows_of(const fs::path& file) {
  feature_store::training_spec spec;
  spec.entity_rows = file.string();
  spec.entity_user = "user";
  spec.entity_item = "item";
  spec.entity_time = "event_time";
  return spec;
}

/// By the entity_rows of a training set: whose row it is, and of when.
std::size_t compare_training(const group& in) {
  auto wanted = in.write("events", [](const row& each) {
    return each.read && each.read->kind == record_kind::event && each.in_csv && each.in_table;
  });
  for (auto* format : {"jsonl", "csv", "parquet"}) {
    std::size_t at = 0;
    auto done = feature_store::read_entity_rows(
        entity_rows_of(in.folder / fmt::format("events.{}", format)),
        [&](const feature_store::entity_row& got) -> expected<void> {
          REQUIRE(at < wanted.size());
          auto& of = *wanted[at++];
          CHECK_MESSAGE(
              (got.user == of.read->user && got.item == of.read->item && got.at == of.read->event_time),
              format, " of a training set reads otherwise: ", of.json);
          return {};
        });
    REQUIRE_MESSAGE(done, done.error().text);
    CHECK(at == wanted.size());
  }
  return wanted.size();
}

} // namespace

TEST_CASE("the same row is the same record, or is refused, through every door") {
  testing::temp_dir dir;
  auto native = format::mapping::native();
  auto table = format::mapping::parse("[[file]]\npattern = \"*\"\n  [[file.record]]\n  layout = \"native\"\n",
                                      "table");
  REQUIRE(table);
  random_source random{7};
  std::size_t taken = 0, refused = 0, in_csv = 0, trained = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    CAPTURE(g);
    group one{any_columns(random), {}, dir / fmt::format("{}", g)};
    fs::create_directories(one.folder);
    for (std::size_t i = 0; i < rows_per_group; ++i)
      one.rows.push_back(any_row(random, one.columns));

    one.write("rows", [](const row&) { return true; });
    auto json = read_file_rows(*native, one.folder / "rows.jsonl");
    auto parquet = read_file_rows(*native, one.folder / "rows.parquet");
    auto csv = read_file_rows(**table, one.folder / "rows.csv");
    REQUIRE(json.size() == one.rows.size());
    REQUIRE(parquet.size() == one.rows.size());
    REQUIRE(csv.size() == one.rows.size());
    for (std::size_t i = 0; i < one.rows.size(); ++i) {
      auto& each = one.rows[i];
      each.read = std::move(json[i]);
      ++(each.read ? taken : refused);
      if (!each.in_table)
        continue;
      compare("Parquet", one, each, parquet[i]);
      if (each.in_csv) {
        compare("CSV", one, each, csv[i]);
        ++in_csv;
      }
    }
    compare_http(one, g);
    trained += compare_training(one);
  }
  MESSAGE(taken, " rows taken, ", refused, " refused; ", in_csv, " in CSV too, ", trained,
          " in training sets");
  CHECK(taken > 2'500);
  CHECK(refused > 2'000);
  CHECK(in_csv > 5'000);
  CHECK(trained > 1'000);
}

TEST_CASE("a row that names nobody exactly is refused by a training set as by a file") {
  testing::temp_dir dir;
  for (auto* user : {"1.5", "1e17", "10.0", "[1]", "{\"a\":1}"}) {
    std::ofstream{dir / "rows.jsonl"} << fmt::format(
        "{{\"kind\":\"event\",\"type\":\"view\",\"user\":{},\"item\":\"i\",\"event_time\":1709294400}}\n",
        user);

    CHECK_FALSE(read_file_rows(*format::mapping::native(), dir / "rows.jsonl")[0].has_value());
    auto done = feature_store::read_entity_rows(entity_rows_of(dir / "rows.jsonl"),
                                                [](const auto&) -> expected<void> { return {}; });
    REQUIRE_MESSAGE(!done, user);
    CHECK(done.error().text.find("column user") != std::string::npos);
  }
}
