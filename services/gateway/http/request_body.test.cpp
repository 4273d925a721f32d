#include "services/gateway/http/request_body.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;

namespace {

row_rules rules_of(record_kind kind, std::string key = {}) {
  return {kind, std::move(key), 4, from_micros(1'700'000'000'000'000)};
}

constexpr auto click = R"({"type":"click","user":"u","item":"i","event_time":"2026-01-01T00:00:00Z"})";

} // namespace

TEST_CASE("an array, one object and JSON lines of the same rows are the same rows") {
  auto rules = rules_of(record_kind::event);

  auto array = parse_rows(std::string{"["} + click + "]", rules);
  auto object = parse_rows(click, rules);
  auto lines = parse_rows(std::string{click} + "\n\n" + click + "\n", rules);

  REQUIRE(array);
  REQUIRE(object);
  REQUIRE(lines);
  REQUIRE(lines->size() == 2);
  CHECK((*array)[0].what == (*object)[0].what);
  CHECK((*lines)[1].what == (*object)[0].what);
  CHECK((*array)[0].timed);
}

TEST_CASE("a number arrives as it was sent") {
  auto rows = parse_rows(R"({"type":"click","user":"u","item":"i","value":0.0023404666354764642})",
                         rules_of(record_kind::event));

  REQUIRE(rows);
  CHECK((*rows)[0].what.value == 0.0023404666354764642); // Boost.JSON alone: ...4640
}

TEST_CASE("a wrong row says why and does not take the others with it") {
  auto rows = parse_rows(R"([{"type":"click","user":"u","item":"i"},{"user":[7]},17,{"colour":"red"}])",
                         rules_of(record_kind::event));

  REQUIRE(rows);
  REQUIRE(rows->size() == 4);
  CHECK((*rows)[0].refused.empty());
  CHECK((*rows)[1].refused == "user: it is an array, and a name is a text or a whole number");
  CHECK((*rows)[2].refused == "a row is a number, not an object");
  CHECK((*rows)[3].refused == "there is no field 'colour' in a row of events");
}

TEST_CASE("a slate is taken among events where the row says that it is one") {
  auto one = [](const std::string& text) {
    return parse_rows(text, rules_of(record_kind::event)).value()[0];
  };
  std::string page = R"("kind":"slate","user":"u","event_time":"2026-01-01T00:00:00Z",)";
  std::string shown = R"("shown":[{"item":"b","position":2,"propensity":0.2},{"item":7,"position":1}])";

  auto good = one("{" + page + R"("request_id":"r1",)" + shown + R"(,"context":{"device":"phone"}})");
  CHECK(good.refused.empty());
  CHECK(good.what.kind == record_kind::slate);
  CHECK(good.what.id == "slate:r1");
  CHECK(good.what.type == "impression");
  CHECK(good.what.shown == std::vector<shown_item>{{"7", 1, 1}, {"b", 2, 0.2}});
  CHECK(good.what.attributes == std::vector<attribute>{{"device", std::string{"phone"}}});
  auto by_content = one("{" + page + shown + "}");
  CHECK(by_content.what.id.starts_with("sc:"));
  CHECK(by_content.what.id == one("{" + page + shown + "}").what.id);
  CHECK(by_content.what.id !=
        one("{" + page + R"("shown":[{"item":"b","position":2},{"item":7,"position":1}]})").what.id);
  CHECK(one("{" + page + R"("shown":"[{\"item\":\"a\"}]"})").what.shown ==
        std::vector<shown_item>{{"a", 0, 1}});

  for (auto& [fields, why] : std::vector<std::pair<std::string, std::string>>{
           {R"("shown":[])", "shown is missing"},
           {R"("x":1)", "there is no field 'x' in a row of slates"},
           {R"("value":1,)" + shown, "there is no field 'value' in a row of slates"},
           {R"("item":"a",)" + shown, "there is no field 'item' in a row of slates"},
           {R"("type":"click",)" + shown, "a slate has the type impression"},
           {R"("shown":{"item":"a"})", "shown is an object, not an array"},
           {R"("shown":"7")", "shown is a number in a text, not an array"},
           {R"("shown":["a"])", "shown.0 is a text, not an object"},
           {R"("shown":[{"item":"a"},{"sku":1}])", "shown.1.sku is no field of what is shown"},
           {R"("shown":[{"item":[1]}])", "shown.0.item is no name: it is an array"},
           {R"("shown":[{"position":1}])", "shown.item is missing"},
           {R"("shown":[{"item":"a","position":1.5}])", "shown.0.position is 1.5, not a place from 1"},
           {R"("shown":[{"item":"a","position":-1}])", "shown.0.position is -1, not a place from 1"},
           {R"("shown":[{"item":"a","propensity":"much"}])",
            "shown.0.propensity is a text, not a finite number"},
           {R"("shown":[{"item":"a","propensity":0}])",
            "shown.propensity 0 is not above 0 and up to 1 (item a)"},
           {R"("shown":[{"item":"a","position":1},{"item":"b","position":1}])", "position 1 twice"}}) {
    auto bad = one("{" + page + fields + "}");
    CHECK_MESSAGE(bad.refused.find(why) != std::string::npos, bad.refused, " for ", fields);
  }
  auto elsewhere = parse_rows("{" + page + shown + "}", rules_of(record_kind::item)).value()[0];
  CHECK(elsewhere.refused == "kind is slate, only item is taken here");
  CHECK(one(R"({"type":"t","user":"u","item":"i","shown":[]})").refused ==
        "there is no field 'shown' in a row of events");
}

TEST_CASE("what a refusal quotes is UTF-8, wherever it is cut") {
  std::string accents;
  for (int i = 0; i < 100; ++i)
    accents += "\xc3\xa9";
  for (const char* before : {"", "x"}) {
    auto rows = parse_rows("[{\"" + (before + accents) + "\":1},{\"value\":\"" + (before + accents) + "\"}]",
                           rules_of(record_kind::event));
    REQUIRE(rows);
    for (const auto& each : *rows) {
      CHECK(!each.refused.empty());
      CHECK_MESSAGE(valid_utf8(each.refused), each.refused);
    }
  }
}

TEST_CASE("a body that is no JSON, empty or too long is refused as a whole") {
  auto rules = rules_of(record_kind::event);
  for (const char* bad : {"", "  \n", "[1,", "hello", "[1] 2", "{\"type\":", "{\n{\n"}) {
    auto rows = parse_rows(bad, rules);
    REQUIRE_MESSAGE(!rows, bad);
    CHECK(rows.error().code == ec::invalid_argument);
  }
  auto rows = parse_rows("[1,2,3,4,5]", rules);
  REQUIRE(!rows);
  CHECK(rows.error().code == ec::overloaded);
  CHECK(!parse_rows(std::string(100'000, '['), rules));
}

TEST_CASE("a byte order mark before rows is skipped") {
  auto rules = rules_of(record_kind::event);
  for (auto body : {std::string{"["} + click + "]", std::string{click}, std::string{click} + "\n" + click}) {
    auto rows = parse_rows("\xef\xbb\xbf" + body, rules);
    REQUIRE(rows);
    CHECK((*rows)[0].refused.empty());
  }
}

TEST_CASE("a broken line of JSON lines is a row that says so") {
  auto rows = parse_rows(std::string{click} + "\n{\"type\":\n", rules_of(record_kind::event));

  REQUIRE(rows);
  REQUIRE(rows->size() == 2);
  CHECK((*rows)[0].refused.empty());
  CHECK(!(*rows)[1].refused.empty());
}

TEST_CASE("the same row sent again has the same id where something names it") {
  auto timed = [] { return parse_rows(click, rules_of(record_kind::event)).value()[0]; };
  auto keyed = [](const char* key) {
    return parse_rows(R"({"type":"click","user":"u","item":"i"})", rules_of(record_kind::event, key))
        .value()[0];
  };

  CHECK(timed().what.id == timed().what.id);
  CHECK(keyed("a").what.id == keyed("a").what.id);
  CHECK(keyed("a").what.id != keyed("b").what.id);
  CHECK(keyed("a").named);
  CHECK(keyed("").what.id != keyed("").what.id);
  CHECK(!keyed("").named);
}

TEST_CASE("the body of an entity may name it, but no other one") {
  auto rules = rules_of(record_kind::item);

  auto good = parse_entity(R"({"attributes":{"title":"Heat","year":1995,"genres":["Crime"]}})", "i1", rules);
  REQUIRE(good);
  CHECK(good->what.item == "i1");
  CHECK(good->what.attributes.size() == 3);
  CHECK(parse_entity(R"({"item":"i1"})", "i1", rules));
  CHECK(!parse_entity(R"({"item":"i2"})", "i1", rules));
  CHECK(parse_entity(R"({"item":1})", "1", rules));
  CHECK(parse_entity("\xef\xbb\xbf{\"item\":\"i1\"}", "i1", rules));
  for (auto hidden : {"true", "1", "\"true\"", "\"Yes\""}) {
    auto made = parse_entity(fmt::format(R"({{"attributes":{{"hidden":{}}}}})", hidden), "i1", rules);
    REQUIRE(made);
    CHECK(made->what.attributes == std::vector<attribute>{{"hidden", true}});
  }
  CHECK(parse_entity(R"({"attributes":{"hidden":"soon"}})", "i1", rules)
            .error()
            .text.starts_with("hidden is no"));
  CHECK(!parse_entity(R"({"attributes":{"a":1},"attributes":{"b":1}})", "i1", rules));
  CHECK(!parse_entity("{}", "a\nb", rules));
  CHECK(!parse_entity("[]", "i1", rules));
}

TEST_CASE("a request for recommendations is read with its filters, or refused with the reason") {
  auto good =
      parse_recommend_request(R"({"user":"u","n":3,"explain":true,"session":["a"],"context":{"device":"tv"},
    "filters":[{"attribute":"genres","op":"contains","value":"Crime","not":true},
               {"attribute":"year","op":"at_least","value":1990}]})");
  REQUIRE(good);
  CHECK(good->n == 3);
  CHECK(good->explain);
  CHECK(parse_recommend_request(R"({"user":99999999999999999999})")->user == "99999999999999999999");
  REQUIRE(good->filters.size() == 2);
  CHECK(good->filters[0].negated);
  CHECK(good->filters[1].number == 1990);

  for (const char* bad : {"[]",
                          R"({"n":0})",
                          R"({"n":2.5})",
                          R"({"n":1001})",
                          R"({"n":"3"})",
                          R"({"user":[7]})",
                          R"({"user":1.5})",
                          R"({"user":"a\nb"})",
                          R"({"candidates":["a\u0000"]})",
                          R"({"exclude":[{}]})",
                          R"({"session":["a","b\t"]})",
                          R"({"n":3,"n":4})",
                          R"({"session":"a"})",
                          R"({"limit":null})",
                          R"({"filters":[{"attribute":"a"}]})",
                          R"({"filters":[{"attribute":"a","op":"like","value":1}]})",
                          R"({"filters":[{"attribute":"a","op":"at_most","value":"x"}]})",
                          R"({"filters":[{"attribute":"a","value":"10","op":"at_least"}]})",
                          R"({"filters":[{"attribute":"a","value":"x","op":"one_of"}]})",
                          R"({"filters":[{"attribute":"a","value":3,"op":"contains"}]})",
                          R"({"filters":[{"attribute":"a","value":["x"],"op":"equals"}]})",
                          R"({"limit":3})"}) {
    auto read = parse_recommend_request(bad);
    REQUIRE_MESSAGE(!read, bad);
    CHECK(read.error().code == ec::invalid_argument);
  }
}

TEST_CASE("n of the address is 1 to 1000") {
  CHECK(parse_n("1000") == 1000u);
  for (const char* bad : {"", "0", "1001", "-1", "3x", "99999999999"})
    CHECK_MESSAGE(!parse_n(bad), bad);
}

TEST_CASE("a reason is one text or nothing") {
  CHECK(parse_reason("") == "");
  CHECK(parse_reason(R"({"reason":"slow"})") == "slow");
  CHECK(!parse_reason(R"({"reason":1})"));
  CHECK(!parse_reason(R"({"why":"slow"})"));
}

TEST_CASE("a filter in an address says attribute, op and value as one in a body does") {
  auto contains = parse_filter("genres:contains:Sci-Fi: Space").value();
  CHECK(contains.attribute == "genres");
  CHECK(contains.op == 1);
  CHECK(contains.text == "Sci-Fi: Space");
  CHECK(!contains.negated);
  auto list = parse_filter("not:genres:one_of:Horror,Thriller").value();
  CHECK(list.negated);
  CHECK(list.op == 4);
  CHECK(list.list == std::vector<std::string>{"Horror", "Thriller"});
  CHECK(parse_filter("year:at_least:1990.5").value().number == 1990.5);
  auto equals = parse_filter("year:equals:1990").value(); // A text or a number, as the attribute is.
  CHECK(equals.text == "1990");
  CHECK(equals.number == 1990);
  CHECK(parse_filter("live:equals:true").value().number == 1);

  for (const char* bad : {"", "genres", "genres:contains", ":equals:x", "genres:like:x", "year:at_most:old",
                          "year:at_least:nan", "not:genres"})
    CHECK_MESSAGE(!parse_filter(bad), bad);
}

TEST_CASE("a time is RFC 3339 or a number since 1970, as in a file; a user or item without one says so") {
  auto read = [](const std::string& time, record_kind kind = record_kind::event) {
    std::string what =
        kind == record_kind::event ? R"("type":"click","user":"u","item":"i")" : R"("item":"i")";
    auto rows = parse_rows("{" + what + time + "}", rules_of(kind));
    REQUIRE(rows);
    return (*rows)[0];
  };
  for (auto noon : {"1709294400", "1709294400000", "1709294400000000", "1709294400000000000", "1709294400.0",
                    "1.7092944e9", "\"1709294400\"", "\"2024-03-01T12:00:00Z\""})
    CHECK_MESSAGE(to_rfc3339(read(std::string{",\"event_time\":"} + noon).what.event_time) ==
                      "2024-03-01T12:00:00Z",
                  noon);
  CHECK(to_rfc3339(read(",\"event_time\":1709294400.5").what.event_time) == "2024-03-01T12:00:00.500000Z");
  for (auto bad : {"\"yesterday\"", "true", "[1]", "1e30", "-99999999999"})
    CHECK_MESSAGE(!read(std::string{",\"event_time\":"} + bad).refused.empty(), bad);

  CHECK_FALSE(read("").what.untimed);
  CHECK(read("", record_kind::item).what.untimed);
  CHECK(micros_of(read("", record_kind::item).what.event_time) == 1'700'000'000'000'000);
  CHECK_FALSE(read(",\"event_time\":1709294400", record_kind::item).what.untimed);
}
