#include "common/store/codec.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

using namespace troupe;
using store::decoder, store::encoder;

namespace {

std::string bytes(std::initializer_list<int> all) {
  std::string out;
  for (int each : all)
    out += static_cast<char>(each);
  return out;
}

} // namespace

// These bytes lie in the folders of fleets: they must not change.
TEST_CASE("numbers and texts have the bytes they have always had") {
  CHECK(encoder{}.whole(0).whole(127).whole(128).whole(300).take() == bytes({0, 0x7f, 0x80, 1, 0xac, 2}));
  CHECK(encoder{}.whole(~std::uint64_t{0}).take() ==
        bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}));
  CHECK(encoder{}.signed_whole(0).signed_whole(-1).signed_whole(1).signed_whole(-65).take() ==
        bytes({0, 1, 2, 0x81, 1}));
  CHECK(encoder{}.wide(-1).wide(store::int128{1} << 64).take() ==
        bytes({1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 4}));
  CHECK(encoder{}.fixed(0x0102030405060708).take() == bytes({8, 7, 6, 5, 4, 3, 2, 1}));
  CHECK(encoder{}.real(1.5).take() == bytes({0, 0, 0, 0, 0, 0, 0xf8, 0x3f}));
  CHECK(encoder{}.big(0x0102030405060708).take() == bytes({1, 2, 3, 4, 5, 6, 7, 8}));
  CHECK(encoder{}.octet(7).text("ab").big_text("c").raw("de").take() ==
        bytes({7, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'c', 'd', 'e'}));
}

TEST_CASE("what was written is read back") {
  constexpr auto most = std::numeric_limits<std::int64_t>::max(),
                 least = std::numeric_limits<std::int64_t>::min();
  store::int128 deepest = -(store::int128{1} << 126) * 2;
  encoder out;
  out.whole(~std::uint64_t{0}).signed_whole(most).signed_whole(least).wide(deepest).wide(-(deepest + 1));
  out.fixed(5).real(-0.25).octet(255).text("text").big_text("").big(9).raw("xy");

  decoder in{out.bytes()};
  CHECK(in.whole() == ~std::uint64_t{0});
  CHECK(in.signed_whole() == most);
  CHECK(in.signed_whole() == least);
  CHECK((in.wide() == deepest));
  CHECK((in.wide() == -(deepest + 1)));
  CHECK(in.fixed() == 5);
  CHECK(in.real() == -0.25);
  CHECK(in.octet() == 255);
  CHECK(in.text() == "text");
  CHECK(in.big_text() == "");
  CHECK(in.big() == 9);
  CHECK(in.left() == 2);
  CHECK(in.raw(2) == "xy");
  CHECK(in.done());
  CHECK(in.ok());
}

TEST_CASE("a read past the end gives nothing, and so does every read after it") {
  auto full = encoder{}.text("abc").fixed(1).take();
  for (std::size_t length = 0; length < full.size(); ++length) {
    decoder in{std::string_view{full}.substr(0, length)};
    in.text();
    CHECK(in.fixed() == 0);
    CHECK_FALSE(in.ok());
    CHECK(in.whole() == 0);
    CHECK(in.text().empty());
  }
  decoder endless{std::string_view{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}};
  CHECK(endless.whole() == 0);
  CHECK_FALSE(endless.ok());
}

TEST_CASE("a count of more than can follow is none") {
  auto three = encoder{}.whole(3).raw("123456").take();
  CHECK(decoder{three}.count_of(2) == 3);
  decoder broken{three};
  CHECK(broken.count_of(3) == 0);
  CHECK_FALSE(broken.ok());
}
