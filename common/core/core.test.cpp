#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/core/text_start.hpp"
#include "common/core/thread_name.hpp"
#include "common/core/time.hpp"

#include <doctest/doctest.h>
#include <pthread.h>

#include <array>
#include <future>
#include <thread>
#include <vector>

using namespace troupe;
using namespace std::chrono_literals;

TEST_CASE("an error tells its code and its text") {
  error err{ec::disk_full, "cannot append 3 events"};

  CHECK(render(err) == "disk_full: cannot append 3 events");
  CHECK(render(with_context("importing u.data", err).value()) ==
        "disk_full: importing u.data: cannot append 3 events");
  CHECK(disposition_of(ec::disk_full) == error_disposition::retry_later);
  CHECK(disposition_of(ec::invalid_argument) == error_disposition::fix_input);
}

TEST_CASE("times are read and written as RFC 3339") {
  CHECK(to_rfc3339(*parse_rfc3339("2013-02-28T14:38:27Z")) == "2013-02-28T14:38:27Z");
  CHECK(to_rfc3339(*parse_rfc3339("2019-11-24 00:03:13.442536+00:00")) == "2019-11-24T00:03:13.442536Z");
  CHECK(to_rfc3339(*parse_rfc3339("2020-01-01T01:00:00+01:00")) == "2020-01-01T00:00:00Z");
  CHECK(to_rfc3339(*parse_rfc3339("1969-12-31")) == "1969-12-31T00:00:00Z");
  for (auto bad : {"", "2013", "2013-02-30", "2013-02-28T25:00:00Z", "2013-02-28T14:38:27Zx", "20a3-02-28",
                   "2013-02-28T1", "2013-02-28T14:38:27+9", "-013-02-28"})
    CHECK_MESSAGE(!parse_rfc3339(bad), bad);
}

TEST_CASE("a time that a source writes as it likes is a number since 1970 by its size, or RFC 3339") {
  auto read = [](std::string_view text) {
    auto at = parse_time(text);
    return at ? to_rfc3339(*at) : std::string{"none"};
  };
  for (auto noon : {"1709294400", "1709294400000", "1709294400000000", "1709294400000000000", "1709294400.0",
                    "1.7092944e9", "1.7092944E+18", "17092944000e-1", "2024-03-01T12:00:00Z",
                    "2024-03-01 13:00:00+01:00", "1709294399.9999996", "1709294400000000499"})
    CHECK_MESSAGE(read(noon) == "2024-03-01T12:00:00Z", noon);
  CHECK(read("1709294400.5") == "2024-03-01T12:00:00.500000Z");
  CHECK(read("1709294400123.456") == "2024-03-01T12:00:00.123456Z");
  CHECK(read("1709294400123456789") == "2024-03-01T12:00:00.123457Z");
  CHECK(read("0") == "1970-01-01T00:00:00Z");
  CHECK(to_rfc3339(*epoch_of(1709294400.5)) == "2024-03-01T12:00:00.500000Z");
  CHECK(to_rfc3339(*epoch_of(1709294400e9)) == "2024-03-01T12:00:00Z");
  CHECK_FALSE(epoch_of(1e300).has_value());
  CHECK(read("-0.000001") == "1969-12-31T23:59:59.999999Z");
  CHECK(read("1e-30") == "1970-01-01T00:00:00Z");
  CHECK(read("99999999999") == "5138-11-16T09:46:39Z");
  CHECK(read("100000000000") == "1973-03-03T09:46:40Z");
  CHECK(read("99999999999999") == "5138-11-16T09:46:39.999000Z");
  CHECK(read("100000000000000") == "1973-03-03T09:46:40Z");
  CHECK(read("99999999999999999") == "5138-11-16T09:46:39.999999Z");
  CHECK(read("100000000000000000") == "1973-03-03T09:46:40Z");
  CHECK(read("-99999999999") == "none");
  CHECK(read("253402300800000000000") == "none");
  for (auto bad : {"", "-", ".", "e5", "1e", "1e99999", "nan", "inf", "12x", " 12", "0x10", "+5", "1_000",
                   "1,5", "12:00", "99999999999999999999999999"})
    CHECK_MESSAGE(read(bad) == "none", bad);
}

TEST_CASE("durations are a whole number and a unit") {
  CHECK(*parse_duration("150ms") == 150ms);
  CHECK(*parse_duration("7d") == 168h);
  CHECK(*parse_duration("0s") == 0s);
  CHECK(to_duration_text(90min) == "90m");
  CHECK(to_duration_text(168h) == "7d");
  for (auto bad : {"", "7", "d", "-1s", "1.5h", "7 d", "99999999999999999w", "1y"})
    CHECK_MESSAGE(!parse_duration(bad), bad);
}

TEST_CASE("a deadline shrinks and never goes below zero") {
  auto soon = deadline::in(-1s);

  CHECK(soon.passed());
  CHECK(soon.left() == 0s);
  CHECK(deadline::in(1h).within(1s).left() <= 1s);
}

TEST_CASE("rendezvous hashing moves only the keys that the new replica takes over") {
  std::vector<int> owned(3);
  for (int i = 0; i < 9000; ++i) {
    auto key = std::to_string(i);
    auto before = rendezvous(key, 2);
    auto after = rendezvous(key, 3);
    CHECK((after == before || after == 2));
    ++owned[after];
  }
  for (auto count : owned)
    CHECK(std::abs(count - 3000) < 300);
}

TEST_CASE("hashes are those that their definitions give") {
  CHECK(sha256_hex(as_bytes("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hash64("") == 0x2d06800538d394c2);
  sha256 pieces;
  pieces.add(as_bytes("a"));
  pieces.add(as_bytes("bc"));
  CHECK(to_hex(pieces.finish()) == sha256_hex(as_bytes("abc")));
}

TEST_CASE("a part of a chunk keeps the whole alive") {
  chunk part;
  {
    auto whole = chunk::own(std::string{"hello world"});
    part = whole.part(6, 5);
  }

  CHECK(part.text() == "world");
}

TEST_CASE("a thread carries its name, of which as much as Linux keeps") {
  std::array<char, 16> name{};
  std::promise<void> named;
  std::thread running{[&] {
    named.get_future().get();
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  }};

  name_thread(running, "a-name-of-twenty-byt");
  named.set_value();
  running.join();

  CHECK(std::string_view{name.data()} == "a-name-of-twent");
}

TEST_CASE("the start of a text does not end within a character") {
  CHECK(text_start("abc", 3) == "abc");
  CHECK(text_start("abcd", 3) == "abc");
  CHECK(text_start("ab\xc3\xa9", 3) == "ab");
  CHECK(text_start("ab\xc3\xa9", 4) == "ab\xc3\xa9");
  CHECK(text_start("a\xf0\x9f\x99\x82z", 4) == "a");
  CHECK(text_start("\xf0\x9f\x99\x82", 3).empty());
}
