#include "services/ingest/upload_store.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::ingest;
namespace fs = std::filesystem;

namespace {

const std::string upload = "0123456789abcdef";
constexpr std::int64_t then = 1'600'000'000'123'456;

struct store {
  testing::temp_dir dir;
  std::shared_ptr<upload_store> uploads;

  explicit store(std::uint64_t most_bytes = 1'000, std::chrono::seconds keep = std::chrono::hours{1}) {
    reopen(most_bytes, keep);
  }
  void reopen(std::uint64_t most_bytes = 1'000, std::chrono::seconds keep = std::chrono::hours{1}) {
    uploads = upload_store::open({dir / "uploads", most_bytes, keep}).value();
  }

  expected<upload_store::progress> put(std::string_view file, std::string_view whole, std::size_t offset,
                                       std::size_t bytes, std::string_view to = upload) {
    return uploads->put({to, file, whole.size(), then, offset, as_bytes(whole.substr(offset)).first(bytes)});
  }
  std::string read(std::string_view what) {
    std::ifstream in{*uploads->place(what), std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
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
  CHECK_FALSE(fs::exists(*made.uploads->place(upload + "/a/b.csv")));
  auto last = made.put("a/b.csv", whole, 4, 16); // begins before what is there
  CHECK(last->complete);

  CHECK(made.read(upload + "/a/b.csv") == whole);
  CHECK(made.put("a/b.csv", whole, 0, 8)->complete);
  CHECK(made.put("a/b.csv", whole + "x", 0, 0).error().code == ec::conflict);
  CHECK(made.uploads->bytes() == whole.size());
  auto time = fs::last_write_time(*made.uploads->place(upload + "/a/b.csv")).time_since_epoch();
  auto since = std::chrono::file_clock::to_sys(fs::file_time_type{time}).time_since_epoch();
  CHECK(std::chrono::duration_cast<std::chrono::microseconds>(since).count() == then);
  CHECK(made.put("empty.csv", "", 0, 0)->complete);
}

TEST_CASE("an upload has no way out of its folder and hides nothing") {
  store made;
  auto refused = [](const auto& put) { return !put && put.error().code == ec::invalid_argument; };
  for (auto* file : {"", "/etc/passwd", "../x", "a/../../x", "a/..", ".", ".hidden", "a/.b", "a/"})
    CHECK_MESSAGE(refused(made.put(file, "x", 0, 1)), file);
  CHECK(refused(made.put(std::string_view{"a\0b", 3}, "x", 0, 1)));
  for (auto* name : {"", "..", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "../456789abcdef"})
    CHECK_MESSAGE(refused(made.put("x", "x", 0, 1, name)), name);
  CHECK(refused(made.uploads->put({upload, "x", 5, then, 3, as_bytes("xyz")})));
  CHECK(made.uploads->bytes() == 0);
}

TEST_CASE("uploads are bounded, and go when nobody needs them") {
  store made{10, std::chrono::seconds{0}};
  auto second = std::string(16, '2'), third = std::string(16, '3');
  CHECK(made.put("x", "12345678901", 0, 1).error().code == ec::invalid_argument);
  REQUIRE(made.put("x", "1234567", 0, 7));
  auto place = *made.uploads->place(upload + "/x");
  made.uploads->hold(place);
  made.uploads->hold(place);

  auto full = made.put("y", "1234", 0, 4, second);
  CHECK(full.error().code == ec::overloaded);
  CHECK(full.error().text.find("7 of 10 bytes") != std::string::npos);
  made.uploads->release(place, true); // one import has ended, the other one goes on
  made.uploads->sweep();
  CHECK(fs::exists(place));
  made.uploads->release(place, true);
  CHECK_FALSE(fs::exists(place));
  CHECK(made.uploads->bytes() == 0);

  REQUIRE(made.put("y", "1234", 0, 4, second));
  REQUIRE(made.put("z", "1234", 0, 2, third)); // never finished
  auto kept = *made.uploads->place(second);
  made.uploads->hold(kept);
  made.uploads->release(kept, false); // rows were refused
  CHECK(fs::exists(kept));
  made.uploads->sweep(); // it may stay for no time at all here
  CHECK_FALSE(fs::exists(kept));
  CHECK_FALSE(fs::exists(*made.uploads->place(third)));
  CHECK(made.uploads->bytes() == 0);
  made.uploads->release("/somewhere/else.csv", true); // not ours: nothing
}

TEST_CASE("what is kept for a while survives a start and a sweep") {
  store made;
  REQUIRE(made.put("x", "1234", 0, 4));
  made.reopen();
  made.uploads->sweep();
  CHECK(made.read(upload + "/x") == "1234");
  CHECK(made.uploads->bytes() == 4);
}
