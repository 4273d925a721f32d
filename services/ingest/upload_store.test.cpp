#include "services/ingest/upload_store.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::ingest;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

const std::string upload = "0123456789abcdef", second(16, '2'), third(16, '3');
constexpr std::int64_t then = 1'600'000'000'123'456;

struct store {
  testing::temp_dir dir;
  std::shared_ptr<upload_store> uploads;

  explicit store(std::uint64_t most_bytes = 1'000, std::chrono::seconds keep = 1h,
                 std::chrono::seconds idle = 1min) {
    reopen(most_bytes, keep, idle);
  }
  void reopen(std::uint64_t most_bytes = 1'000, std::chrono::seconds keep = 1h,
              std::chrono::seconds idle = 1min) {
    uploads = upload_store::open({dir / "uploads", most_bytes, keep, idle}).value();
  }

  expected<upload_store::progress> put(std::string_view file, std::string_view whole, std::size_t offset,
                                       std::size_t bytes, std::string_view to = upload) {
    return uploads->put(
        {to, file, whole.size(), whole.size(), then, offset, as_bytes(whole.substr(offset)).first(bytes)});
  }
  fs::path place(std::string_view what) const { return *uploads->place(what); }
  std::string read(std::string_view what) const {
    std::ifstream in{place(what), std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  void sweep(std::set<std::string> waiting = {}) {
    CHECK(uploads->sweep([&]() -> expected<std::set<std::string>> { return waiting; }));
  }
};

} // namespace

TEST_CASE("parts of an upload arrive in order, once each, and are a file when all are there") {
  store made;
  const std::string whole = "id,user\n1,ann\n2,bob\n";

  CHECK(made.put("a/b.csv", whole, 0, 0)->next_offset == 0);
  CHECK(made.put("a/b.csv", whole, 0, 8)->next_offset == 8);
  CHECK(made.put("a/b.csv", whole, 14, 6)->next_offset == 8); // a gap
  CHECK(made.put("a/b.csv", whole, 0, 8)->next_offset == 8);  // again
  made.reopen();                                              // as after a kill
  CHECK(made.put("a/b.csv", whole, 0, 0)->next_offset == 8);
  CHECK_FALSE(fs::exists(made.place(upload + "/a/b.csv")));
  CHECK(made.put("a/b.csv", whole, 4, 16)->complete); // begins before what is there

  CHECK(made.read(upload + "/a/b.csv") == whole);
  CHECK(made.put("a/b.csv", whole, 0, 8)->complete);
  CHECK(made.put("a/b.csv", whole + "x", 0, 0).error().code == ec::conflict);
  CHECK(made.put("a/.hidden/c.csv", "", 0, 0)->complete);
  auto time = fs::last_write_time(made.place(upload + "/a/b.csv")).time_since_epoch();
  auto since = std::chrono::file_clock::to_sys(fs::file_time_type{time}).time_since_epoch();
  CHECK(std::chrono::duration_cast<std::chrono::microseconds>(since).count() == then);
}

TEST_CASE("a file whose end nobody knows yet grows part by part, within the bound, until it has one") {
  store made{30};
  auto put = [&](std::string_view sent, std::size_t offset, std::string_view bytes, bool more) {
    return made.uploads->put(
        {upload, "stdin.jsonl", sent.size(), sent.size(), then, offset, as_bytes(bytes), more});
  };

  CHECK(put("", 0, "", true)->next_offset == 0);
  CHECK(put("one", 0, "one", true)->next_offset == 3);
  CHECK(put("onetwo", 3, "two", true)->next_offset == 6);
  CHECK(put("one", 0, "one", true)->next_offset == 6); // An answer was lost, and what was asked came twice.
  CHECK_FALSE(put("onetwo", 6, "", true)->complete);
  CHECK(made.uploads->bytes() == 6);
  CHECK(put(std::string(31, 'x'), 6, "y", true).error().code == ec::invalid_argument);
  CHECK(put("onetwo", 6, "", false)->complete);

  CHECK(made.read(upload + "/stdin.jsonl") == "onetwo");
}

TEST_CASE("an upload has no way out of its folder") {
  store made;
  auto refused = [](const auto& put) { return !put && put.error().code == ec::invalid_argument; };
  for (auto* file : {"", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "a/./b", "a/"})
    CHECK_MESSAGE(refused(made.put(file, "x", 0, 1)), file);
  CHECK(refused(made.put(std::string_view{"a\0b", 3}, "x", 0, 1)));
  CHECK(refused(made.put(std::string(3'000, 'a'), "x", 0, 1)));
  for (auto* name : {"", "..", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "../456789abcdef"})
    CHECK_MESSAGE(refused(made.put("x", "x", 0, 1, name)), name);
  CHECK(refused(made.uploads->put({upload, "x", 5, 5, then, 3, as_bytes("xyz")})));
  CHECK(refused(made.uploads->put({upload, "x", 5, 4, then, 0, as_bytes("xyz")})));
  CHECK(made.uploads->bytes() == 0);
}

TEST_CASE("uploads are bounded by what they are going to have, and what nobody needs makes room") {
  store made{10, 1h, 0s};
  CHECK(made.put("x", "12345678901", 0, 1).error().code == ec::invalid_argument);
  REQUIRE(made.put("x", "1234567", 0, 1)); // of 7 bytes 1 is here
  auto place = made.place(upload + "/x");
  made.uploads->hold(place);

  auto full = made.put("y", "1234", 0, 4, second);
  CHECK(full.error().code == ec::overloaded);
  CHECK(full.error().text.find("7 of 10 bytes") != std::string::npos);
  CHECK(made.put("x", "1234567", 1, 6)->complete);
  made.uploads->release(place, false); // failed: it stays, until there is need
  CHECK(fs::exists(place));
  CHECK(made.put("y", "123", 0, 2, second)); // does not become whole
  CHECK(made.put("z", "1", 0, 1, third));    // instead of y, which is younger than x
  CHECK(fs::exists(place));
  CHECK_FALSE(fs::exists(made.place(second).parent_path()));
  CHECK(made.put("y", "12345678", 0, 2, second)); // instead of x
  CHECK_FALSE(fs::exists(place));

  store young{10};
  REQUIRE(young.put("x", "1234567", 0, 7));
  CHECK(young.put("y", "1234", 0, 4, second).error().code == ec::overloaded); // x is on its way to an import
}

TEST_CASE("uploads are bounded, and go when nobody needs them") {
  store made;
  REQUIRE(made.put("x", "1234", 0, 4));
  auto place = made.place(upload + "/x");
  made.uploads->hold(place);
  made.uploads->hold(place);
  made.sweep();
  made.uploads->release(place, true); // one import has ended, the other one goes on
  made.sweep();
  CHECK(fs::exists(place));
  made.uploads->release(place, true);
  made.sweep({upload}); // rows were refused
  CHECK(fs::exists(place));
  made.sweep();
  CHECK_FALSE(fs::exists(place));
  CHECK(made.uploads->bytes() == 0);

  REQUIRE(made.put("x", "1234", 0, 4));
  made.uploads->hold(place);
  made.uploads->release(place, true);
  REQUIRE(made.put("x", "1234", 0, 0)->complete); // somebody wants it again
  made.sweep();
  CHECK(fs::exists(place));
  made.uploads->release("/somewhere/else.csv", true); // not ours: nothing

  made.reopen(1'000, 1h);
  made.sweep();
  CHECK(made.read(upload + "/x") == "1234");
  CHECK(made.uploads->bytes() == 4);
  made.reopen(1'000, 0s);
  made.sweep();
  CHECK_FALSE(fs::exists(place));
}
