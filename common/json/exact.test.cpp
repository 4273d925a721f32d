#include "common/json/exact.hpp"

#include "common/json/parse.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <random>

using namespace troupe;

namespace {

std::string again(std::string_view text) {
  exact_document document;
  auto read = document.read(text);
  if (!read)
    return "refused";
  std::string out;
  append_json(out, *read);
  return out;
}

/// A random value of every kind.
std::string any_json(std::mt19937& random, int depth) {
  static const char* scalars[] = {"null", "true", "false", "0",   "-7",           "18446744073709551616",
                                  "1.50", "1e3",  "-0",    "1e9", "\"a\"",        "\"\\u00e9\\n\"",
                                  "\"\"", "0.1",  "2E-2",  "12",  "\"\xc3\xa9\"", "\"\\ud83d\\ude00\""};
  auto pick = random() % (depth < 3 ? 10 : 8);
  if (pick < 8)
    return scalars[random() % std::size(scalars)];
  std::string out = pick == 8 ? "[" : "{";
  for (unsigned i = 0, n = random() % 4; i < n; ++i) {
    if (i > 0)
      out += random() % 2 ? "," : " ,\n";
    if (pick == 9)
      out += fmt::format("\"k{}\":", i);
    out += any_json(random, depth + 1);
  }
  return out + (pick == 8 ? "]" : "}");
}

} // namespace

TEST_CASE("numbers stay as they are written, texts are unescaped") {
  exact_document document;
  auto read = document.read(
      R"({"id":99999999999999999999999,"price":1.50,"n":"\u0041\n","l":[1,[],{"x":null}],"f":true})");
  REQUIRE(read);
  CHECK(read->find("id")->text() == "99999999999999999999999");
  CHECK(read->find("id")->is_whole());
  CHECK(read->find("price")->text() == "1.50");
  CHECK(read->find("price")->number() == 1.5);
  CHECK(!read->find("price")->is_whole());
  CHECK(read->find("n")->text() == "A\n");
  CHECK(read->find("l")->find(2)->find("x")->is(exact_value::kind::null));
  CHECK(!read->find("l")->find(3));
  CHECK(!read->find("none"));
  CHECK(read->find("f")->text() == "true");
  CHECK(!document.read("{\"v\":1e999}")->find("v")->number());
}

TEST_CASE("a byte order mark is skipped, a name that stands twice is refused with it") {
  CHECK(again("\xef\xbb\xbf{\"a\":1}") == "{\"a\":1}");
  exact_document document;
  auto twice = document.read(R"({"a":1,"b":{"c":1,"c":2}})");
  REQUIRE(!twice);
  CHECK(twice.error().text.find("`c` stands twice in one object") != std::string::npos);
  std::string many = "{";
  for (int i = 0; i < 40; ++i)
    many += fmt::format("\"k{}\":[{}],", i, i);
  CHECK(again(many + "\"last\":1}") != "refused");
  CHECK(again(many + "\"k7\":1}") == "refused");
  CHECK(again(many + "\"k39\":1}") == "refused");
}

TEST_CASE("what is no JSON is refused as the other reader refuses it, what is JSON says the same") {
  std::mt19937 random{20};
  const std::string_view signs = "{}[]\",:0123456789.eE+-tfn\\u \n\x01\xff";
  std::size_t good = 0, bad = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto text = fmt::format("{{\"v\":{}}}", any_json(random, 0));
    for (unsigned changes = random() % 3; changes > 0 && !text.empty(); --changes)
      switch (random() % 3) {
      case 0:
        text[random() % text.size()] = signs[random() % signs.size()];
        break;
      case 1:
        text.erase(random() % text.size(), 1);
        break;
      default:
        text.insert(random() % text.size(), 1, signs[random() % signs.size()]);
      }
    auto theirs = parse_json(text);
    auto ours = again(text);
    if (ours.find("twice") == std::string::npos && (ours == "refused") != !theirs) {
      exact_document document;
      auto why = document.read(text);
      bool twice = !why && why.error().text.find("stands twice") != std::string::npos;
      bool beyond = !theirs && theirs.error().text.find("exponent overflow") != std::string::npos;
      CHECK_MESSAGE((twice || beyond), text); // A number that no double holds is one all the same.
    }
    if (ours == "refused" || !theirs) {
      ++bad;
      continue;
    }
    ++good;
    CHECK_MESSAGE(parse_json(ours) == *theirs, text);
  }
  CHECK(good > 5000);
  CHECK(bad > 5000);
}

TEST_CASE("what is nested too deep is refused") {
  CHECK(again(std::string(64, '[') + std::string(64, ']')) != "refused");
  CHECK(again(std::string(65, '[') + std::string(65, ']')) == "refused");
  CHECK(again(std::string(100'000, '[')) == "refused");
}

TEST_CASE("the cells of a row are an object of texts") {
  exact_document document;
  std::vector<std::pair<std::string_view, std::string_view>> cells{{"user", "007"}, {"item", ""}};
  auto row = document.of_texts(cells);
  CHECK(row.find("user")->text() == "007");
  CHECK(row.find("item")->is(exact_value::kind::null));
}

TEST_CASE("an object that is made value by value is what is read of its JSON") {
  using kind = exact_value::kind;
  exact_objects made;
  std::vector<std::size_t> places;
  for (int i = 0; i < 500; ++i) {
    auto object = places.emplace_back(made.open(kind::object, {}));
    made.add(kind::number, made.keep("n"), std::to_string(i) + ".50");
    made.add(kind::null, "nothing", {});
    auto list = made.open(kind::list, "l");
    made.add(kind::text, {}, std::string(static_cast<std::size_t>(i), '\x01') + "\"");
    made.add(kind::flag, {}, "true");
    made.close(list);
    made.add(kind::text, "last", "");
    made.close(object);
  }

  for (auto place : places) {
    std::string text, again;
    append_json(text, made[place]);
    exact_document document;
    auto read = document.read(text);
    REQUIRE(read);
    append_json(again, *read);
    CHECK(again == text);
    CHECK(text.size() <= made.most_bytes(place));
    CHECK(read->find("l")->find(0)->text() == made[place].find("l")->find(0)->text());
  }
}
