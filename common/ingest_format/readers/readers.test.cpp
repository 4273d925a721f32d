#include "common/ingest_format/readers/row_text.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>
#include <iterator>
#include <random>

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

reading read_all(const fs::path& path, const source_options& how = {}, source_position from = {},
                 std::size_t step = 1) {
  reading out;
  auto reader = open_reader(path, how, from);
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
      out.rows.push_back({std::string{row.bytes},
                          row.number,
                          row.offset,
                          {row.fields.begin(), row.fields.end()},
                          std::string{row.text},
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
  source_options how;
  how.csv = {"::", std::nullopt, false, {"x", "y", "z"}, 0};

  auto all = read_all(dir / "a.dat", how);

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
  CHECK(all.rows[1].bytes == std::string(4096, 'x'));
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
        R"({"a":1,"c":"x\"\u000a","d":[1,null],"s":{"e":2.5,"f":true},"m":{"k":"v"},)"
        R"("t":"2020-01-01T00:00:00.500000Z","day":"2020-01-02T00:00:00Z","x":0.1,"y":"nan",)"
        R"("money":1.25,"tod":"01:02:03"})");
}

TEST_CASE("text of other encodings comes out as UTF-8, its bytes as they are") {
  testing::temp_dir dir;
  write(dir / "a.csv", "name\nCaf\xe9\n\x80uro\n\x81\n");
  source_options how;
  how.encoding = text_encoding::latin1;

  auto latin = read_all(dir / "a.csv", how);
  how.encoding = text_encoding::windows1252;
  auto windows = read_all(dir / "a.csv", how);

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
  source_options how;
  how.csv.skip_rows = 1;

  CHECK(read_all(dir / "empty.csv").failure->text.find("ends before the first row") != std::string::npos);
  CHECK(read_all(dir / "twice.csv").failure->text.find("names column a twice") != std::string::npos);
  CHECK(read_all(dir / "skip.csv", how).rows.size() == 1);
  CHECK(read_all(dir / "gone.csv").failure->code == ec::not_found);
  CHECK(read_all(dir.path()).failure->code == ec::invalid_argument);
  CHECK(read_all(dir / "skip.csv", how, {5, 5000}).failure->code == ec::conflict);
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
