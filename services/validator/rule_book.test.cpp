#include "services/validator/rule_book.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace troupe;
using namespace troupe::validator;

namespace {

record rating(double value, std::vector<attribute> context = {}) {
  record rec;
  rec.id = "r1";
  rec.type = "rating";
  rec.user = "7";
  rec.item = "42";
  rec.event_time = *parse_rfc3339("2020-05-01T10:00:00Z");
  rec.value = value;
  rec.attributes = std::move(context);
  normalise(rec);
  return rec;
}

batch batch_of(const std::vector<record>& records) {
  auto opened = batch::open(encode_batch(records));
  REQUIRE(opened.has_value());
  return *opened;
}

rule_book book(std::string_view toml) {
  auto schemas = parse_schemas(toml, "test.toml");
  if (!schemas)
    FAIL(schemas.error().text);
  auto made = rule_book::compile(*schemas);
  REQUIRE(made.has_value());
  return std::move(*made);
}

std::string fields(std::string_view lines, std::string_view more = "") {
  return fmt::format("[[schema]]\nkind = \"event\"\ntype = \"rating\"\n{}\n[[schema.field]]\n{}\n", more,
                     lines);
}

std::vector<row_violation> lines_of(std::string_view toml, const std::vector<record>& records) {
  return book(toml).validate(batch_of(records), {"s", 0})->lines;
}

/// `rule: reason` of the only line; empty when the record is good.
std::string line_of(std::string_view toml, const record& rec) {
  auto lines = lines_of(toml, {rec});
  CHECK(lines.size() <= 1);
  return lines.empty() ? "" : lines[0].rule + ": " + lines[0].reason;
}

} // namespace

TEST_CASE("a number outside of its range is refused with value and bound") {
  auto rules = fields("name = \"value\"\nmin = 0.5\nmax = 5");

  CHECK(line_of(rules, rating(0.5)) == "");
  CHECK(line_of(rules, rating(5)) == "");
  CHECK(line_of(rules, rating(7)) == "range: value 7 is above the maximum 5");
  CHECK(line_of(rules, rating(0.25)) == "range: value 0.25 is below the minimum 0.5");
}

TEST_CASE("a time outside of its range is refused") {
  auto rules = fields("name = \"event_time\"\nmin = 2020-05-02T00:00:00Z");

  CHECK(line_of(rules, rating(1)) ==
        "range: event_time 2020-05-01T10:00:00Z is before the minimum 2020-05-02T00:00:00Z");
}

TEST_CASE("a missing required field is refused and an optional one is not") {
  auto without = rating(1);
  without.value.reset();

  CHECK(line_of(fields("name = \"value\"\nrequired = true"), without) == "required: value is missing");
  CHECK(line_of(fields("name = \"value\"\nmin = 3"), without) == "");
  CHECK(line_of(fields("name = \"context.place\"\nrequired = true"), rating(1)) ==
        "required: context.place is missing");
}

TEST_CASE("types are held for every kind of value") {
  auto with = [](attribute_value value) { return rating(1, {{"x", std::move(value)}}); };
  auto typed = [](std::string_view type) {
    return fields(fmt::format("name = \"context.x\"\ntype = \"{}\"", type));
  };

  CHECK(line_of(typed("text"), with(std::string{"a"})) == "");
  CHECK(line_of(typed("text"), with(3.0)) == "type: context.x 3 is a number, a text is expected");
  CHECK(line_of(typed("number"), with(std::string{"a"})) ==
        "type: context.x 'a' is a text, a number is expected");
  CHECK(line_of(typed("integer"), with(3.0)) == "");
  CHECK(line_of(typed("integer"), with(3.5)) == "type: context.x 3.5 is not a whole number");
  CHECK(line_of(typed("flag"), with(true)) == "");
  CHECK(line_of(typed("flag"), with(1.0)) == "type: context.x 1 is a number, a flag is expected");
  CHECK(line_of(typed("list"), with(text_list{"a", "b"})) == "");
  CHECK(line_of(typed("list"), with(true)) == "type: context.x true is a flag, a list is expected");
  CHECK(line_of(typed("time"), with(std::string{"2024-02-29T12:00:00Z"})) == "");
  CHECK(line_of(typed("time"), with(std::string{"2023-02-29T12:00:00Z"})) ==
        "type: context.x '2023-02-29T12:00:00Z' is not a time in RFC 3339");
  CHECK(line_of(typed("time"), with(4.0)) == "type: context.x 4 is a number, a time is expected");
}

TEST_CASE("when an item expires and when it was created are times to a schema, though the log has numbers") {
  auto item = [](attribute_value expires, attribute_value created) {
    record rec;
    rec.kind = record_kind::item;
    rec.id = rec.item = "42";
    rec.attributes = {{"created", std::move(created)}, {"expires", std::move(expires)}};
    normalise(rec);
    return rec;
  };
  std::string rules = "[[schema]]\nkind = \"item\"\n"
                      "[[schema.field]]\nname = \"attributes.created\"\ntype = \"time\"\n"
                      "[[schema.field]]\nname = \"attributes.expires\"\ntype = \"time\"\n"
                      "min = 2024-01-01T00:00:00Z\n";

  CHECK(line_of(rules, item("9999-12-31", "1994-05-21")) == "");
  CHECK(line_of(rules, item(1709294400.0, 769478400.0)) == "");
  CHECK(line_of(rules, item("2023-03-01", "1994-05-21")) ==
        "range: attributes.expires 2023-03-01T00:00:00Z is before the minimum 2024-01-01T00:00:00Z");
  CHECK(line_of(rules, item("2024-03-01", "the seventies")) ==
        "type: attributes.created 'the seventies' is not a time in RFC 3339");
}

TEST_CASE("rules about item, position and propensity hold for each item that a slate shows") {
  auto page = [](std::vector<shown_item> shown, std::vector<attribute> context = {}) {
    record rec;
    rec.kind = record_kind::slate;
    rec.id = "s";
    rec.type = "impression";
    rec.user = "7";
    rec.event_time = *parse_rfc3339("2020-05-01T10:00:00Z");
    rec.shown = std::move(shown);
    rec.attributes = std::move(context);
    return rec;
  };
  std::string rules = "[[schema]]\nkind = \"slate\"\nclosed = true\n"
                      "[[schema.field]]\nname = \"item\"\npattern = \"[a-z]+\"\n"
                      "[[schema.field]]\nname = \"position\"\nrequired = true\nmax = 3\n"
                      "[[schema.field]]\nname = \"context.device\"\nrequired = true\n"
                      "[[schema.compare]]\nleft = \"propensity\"\nop = \"<=\"\nright = \"context.most\"\n"
                      "[[schema.field]]\nname = \"context.most\"\ntype = \"number\"\n";
  std::vector<attribute> phone{{"device", std::string{"phone"}}};

  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b", 2, 1}}, phone)) == "");
  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b2", 2, 1}}, phone)) ==
        "pattern: item 'b2' does not match [a-z]+");
  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b", 4, 1}}, phone)) ==
        "range: position 4 is above the maximum 3");
  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b", 0, 1}}, phone)) == "required: position is missing");
  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b", 2, 1}})) == "required: context.device is missing");
  CHECK(line_of(rules, page({{"a", 1, 0.5}, {"b", 2, 1}}, {{"device", std::string{"p"}}, {"most", 0.75}})) ==
        "compare: propensity 1 is not <= context.most 0.75");
  CHECK(line_of(rules, page({{"a", 1, 1}}, {{"device", std::string{"p"}}, {"x", 1.0}})) ==
        "unknown: attribute x is not in the closed schema slate");
  CHECK(line_of(rules, rating(1)) == ""); // Of another kind.

  CHECK(line_of("[[schema]]\nkind = \"user\"\n", page({})) == "record: shown has 0 items, not 1 to 1000");
  CHECK(line_of(rules, page({{"a", 1, 1}, {"b", 1, 1}}, phone)) == "record: shown has position 1 twice");
  CHECK(line_of(rules, page({{"a", 1, 0}}, phone)) ==
        "record: shown.propensity 0 is not above 0 and up to 1");
  auto other = page({{"a", 1, 1}}, phone);
  other.type = "click";
  CHECK(line_of(rules, other).starts_with("record: a slate has the type impression"));
  for (auto* wrong : {"name = \"item\"\nunique = true", "name = \"position\"\nmax_null_rate = 0.1"})
    CHECK(!parse_schemas(fmt::format("[[schema]]\nkind = \"slate\"\n[[schema.field]]\n{}\n", wrong), "t"));
  CHECK(!parse_schemas("[[schema]]\nkind = \"event\"\n[[schema.field]]\nname = \"position\"\n", "t"));
}

TEST_CASE("lengths count characters of texts and words of lists") {
  auto text = fields("name = \"context.x\"\ntype = \"text\"\nmin_length = 2\nmax_length = 3");
  auto list = fields("name = \"context.x\"\ntype = \"list\"\nmax_length = 1");

  CHECK(line_of(text, rating(1, {{"x", std::string{"äöü"}}})) == "");
  CHECK(line_of(text, rating(1, {{"x", std::string{"äöüß"}}})) ==
        "length: context.x has 4 characters, at most 3 are allowed");
  CHECK(line_of(text, rating(1, {{"x", std::string{"a"}}})) ==
        "length: context.x has 1 characters, at least 2 are needed");
  CHECK(line_of(list, rating(1, {{"x", text_list{"a", "b"}}})) ==
        "length: context.x has 2 words, at most 1 are allowed");
}

TEST_CASE("sets and patterns are held for texts and for every word of a list") {
  auto set = fields("name = \"context.x\"\ntype = \"text\"\none_of = [\"a\", \"b\"]");
  auto numbers = fields("name = \"value\"\none_of = [1, 2.5]");
  auto words = fields("name = \"context.x\"\ntype = \"list\"\npattern = \"[a-z]+\"");

  CHECK(line_of(set, rating(1, {{"x", std::string{"b"}}})) == "");
  CHECK(line_of(set, rating(1, {{"x", std::string{"c"}}})) == "set: context.x 'c' is not one of 'a', 'b'");
  CHECK(line_of(numbers, rating(2.5)) == "");
  CHECK(line_of(numbers, rating(2)) == "set: value 2 is not one of 1, 2.5");
  CHECK(line_of(words, rating(1, {{"x", text_list{"ab", "cd"}}})) == "");
  CHECK(line_of(words, rating(1, {{"x", text_list{"ab", "c1"}}})) ==
        "pattern: context.x 'c1' does not match [a-z]+");
  CHECK(line_of(fields("name = \"user\"\npattern = \"[0-9]\""), rating(1)) == "");
}

TEST_CASE("comparisons across columns hold where both sides are there") {
  auto rules = [](std::string_view op, std::string_view right) {
    return fmt::format(
        "[[schema]]\nkind = \"event\"\n[[schema.compare]]\nleft = \"context.a\"\nop = \"{}\"\n{}\n", op,
        right);
  };
  auto pair = [](attribute_value a, attribute_value b) {
    return rating(1, {{"a", std::move(a)}, {"b", std::move(b)}});
  };
  std::string b = "right = \"context.b\"";

  CHECK(line_of(rules("<=", b), pair(1.0, 1.0)) == "");
  CHECK(line_of(rules("<", b), pair(1.0, 1.0)) == "compare: context.a 1 is not < context.b 1");
  CHECK(line_of(rules(">", b), pair(std::string{"b"}, std::string{"a"})) == "");
  CHECK(line_of(rules("==", b), pair(true, false)) == "compare: context.a true is not == context.b false");
  CHECK(line_of(rules("!=", b), pair(1.0, 2.0)) == "");
  CHECK(line_of(rules("<", b), pair(1.0, std::string{"x"})) ==
        "compare: context.a is a number and context.b is a text: they cannot be compared");
  CHECK(line_of(rules("<", b), rating(1, {{"a", 5.0}})) == "");
  CHECK(line_of(rules(">=", "constant = 3"), pair(2.0, 1.0)) == "compare: context.a 2 is not >= 3");
  CHECK(line_of(rules("==", "constant = \"x\""), pair(std::string{"y"}, 1.0)) ==
        "compare: context.a 'y' is not == 'x'");
}

TEST_CASE("times are compared as times") {
  auto rules = "[[schema]]\nkind = \"event\"\n[[schema.field]]\nname = \"context.seen\"\ntype = \"time\"\n"
               "[[schema.compare]]\nleft = \"context.seen\"\nop = \"<=\"\nright = \"event_time\"\n";

  CHECK(line_of(rules, rating(1, {{"seen", std::string{"2020-05-01T11:00:00+02:00"}}})) == "");
  CHECK(line_of(rules, rating(1, {{"seen", std::string{"2020-05-01T10:00:01Z"}}})) ==
        "compare: context.seen 2020-05-01T10:00:01Z is not <= event_time 2020-05-01T10:00:00Z");
}

TEST_CASE("a closed schema refuses attributes it does not name") {
  auto open = fields("name = \"context.a\"", "");
  auto closed = fields("name = \"context.a\"", "closed = true");
  auto rec = rating(1, {{"a", 1.0}, {"b", 2.0}});

  CHECK(line_of(open, rec) == "");
  CHECK(line_of(closed, rec) == "unknown: attribute b is not in the closed schema event/rating");
}

TEST_CASE("the schema of a type goes before the schema of a kind, and other kinds are free") {
  auto rules =
      book("[[schema]]\nkind = \"event\"\n[[schema.field]]\nname = \"value\"\nmax = 1\n"
           "[[schema]]\nkind = \"event\"\ntype = \"rating\"\n[[schema.field]]\nname = \"value\"\nmax = 5\n");
  auto view = rating(3);
  view.type = "view";
  record user;
  user.kind = record_kind::user;
  user.id = "u";
  user.user = "7";

  auto judged = rules.validate(batch_of({rating(3), view, user, rating(6)}), {"s", 0});

  REQUIRE(judged->lines.size() == 2);
  CHECK(judged->lines[0] == row_violation{1, "range", "value", "value 3 is above the maximum 1"});
  CHECK(judged->lines[1] == row_violation{3, "range", "value", "value 6 is above the maximum 5"});
  CHECK(judged->refused == std::vector<bool>{false, true, false, true});
  CHECK(judged->refused_records == 2);
}

TEST_CASE("several rules of one record give several lines and one refusal") {
  auto rules = book(fields("name = \"value\"\nmax = 5\n[[schema.field]]\nname = \"user\"\npattern = \"x+\""));

  auto judged = rules.validate(batch_of({rating(9)}), {"s", 0});

  CHECK(judged->lines.size() == 2);
  CHECK(judged->refused_records == 1);
}

TEST_CASE("without a schema a record is held against what the log can take") {
  rule_book none;
  auto reason = [&](record rec) {
    auto judged = none.validate(batch_of({std::move(rec)}), {"s", 0});
    return judged->lines.empty() ? std::string{} : judged->lines[0].rule + ": " + judged->lines[0].reason;
  };
  auto changed = [](auto change) {
    auto rec = rating(1);
    change(rec);
    return rec;
  };

  CHECK(reason(rating(1)) == "");
  CHECK(reason(changed([](record& r) { r.id = ""; })) == "record: id is missing");
  CHECK(reason(changed([](record& r) { r.id = std::string(257, 'a'); })) ==
        "record: id has 257 bytes, at most 256 are allowed");
  CHECK(reason(changed([](record& r) { r.user = ""; })) == "record: user is missing");
  CHECK(reason(changed([](record& r) { r.item = "\xff\xfe"; })) == "record: item is not valid UTF-8");
  CHECK(reason(changed([](record& r) { r.user = "a\nb"; })) ==
        "record: user holds a control character (a line end, a tab...)");
  CHECK(reason(changed([](record& r) { r.value = std::numeric_limits<double>::quiet_NaN(); })) ==
        "record: value is not a finite number");
  CHECK(reason(changed([](record& r) {
          r.event_time = from_micros(253402300800000000);
        })).starts_with("record: event_time"));
  CHECK(reason(changed([](record& r) {
          r.attributes = {{"b", 1.0}, {"a", 1.0}};
        })) == "record: attribute a stands after b: attributes are sorted by name, each once");
  CHECK(reason(changed([](record& r) {
          r.attributes = {{"a", text_list{"ok", "\xc0\xaf"}}};
        })) == "record: a word of a is not valid UTF-8");
}

TEST_CASE("a unique value has one holder, and judging again gives the same violation") {
  auto rules = book(fields("name = \"context.order\"\nunique = true"));
  auto order = [](std::string id, std::string number) {
    auto rec = rating(1, {{"order", std::move(number)}});
    rec.id = std::move(id);
    return rec;
  };
  auto rows = batch_of({order("a", "1"), order("b", "2"), order("c", "1"), rating(1)});
  unique_memory index;

  auto first = rules.validate(rows, {"s", 100}, &index);
  auto again = rules.validate(rows, {"s", 100}, &index);
  auto elsewhere = rules.validate(batch_of({order("d", "2"), order("a", "1")}), {"t", 0}, &index);

  REQUIRE(first->lines.size() == 1);
  CHECK(first->lines[0] == row_violation{2, "unique", "context.order",
                                         "context.order '1' already stands in row 100 of source s"});
  CHECK(again->lines == first->lines);
  REQUIRE(elsewhere->lines.size() == 1); // Record a is the same record, from a copy of its source.
  CHECK(elsewhere->lines[0].reason == "context.order '2' already stands in row 101 of another source");
}

TEST_CASE("a record refused by another rule takes no unique value") {
  auto rules =
      book(fields("name = \"context.order\"\nunique = true\n[[schema.field]]\nname = \"value\"\nmax = 5"));
  auto bad = rating(9, {{"order", 1.0}});
  auto good = rating(1, {{"order", 1.0}});
  bad.id = "bad";
  good.id = "good";
  unique_memory index;

  auto judged = rules.validate(batch_of({bad, good}), {"s", 0}, &index);

  REQUIRE(judged->lines.size() == 1);
  CHECK(judged->lines[0].rule == "range");
}

TEST_CASE("a null rate above its bound is reported and refuses nothing") {
  auto rules = book(fields("name = \"context.x\"\nmax_null_rate = 0.25"));
  auto with = rating(1, {{"x", 1.0}});

  auto two = rules.validate(batch_of({with, rating(1)}), {"s", 0});
  auto four = rules.validate(batch_of({with, with, with, rating(1)}), {"s", 0});

  REQUIRE(two->nulls.size() == 1);
  CHECK(two->nulls[0].rate == 0.5);
  CHECK(two->lines.empty());
  CHECK(four->nulls.empty());
}

TEST_CASE("a pattern made to backtrack takes linear time") {
  auto rules = book(fields("name = \"context.x\"\ntype = \"text\"\npattern = \"(a+)+b\""));

  auto judged = rules.validate(batch_of({rating(1, {{"x", std::string(100'000, 'a')}})}), {"s", 0});

  REQUIRE(judged->lines.size() == 1);
  CHECK(judged->lines[0].reason.size() < 200);
}

TEST_CASE("an empty batch is judged to nothing") {
  CHECK(rule_book{}.validate(batch_of({}), {"s", 0})->refused.empty());
}

TEST_CASE(
    "a row dated too far ahead of the clock is refused: by schema and mapping, the stricter, else 1 h") {
  auto ahead_by = [](std::string_view schema, std::optional<std::chrono::microseconds> of_mapping,
                     std::chrono::microseconds by) {
    auto row = rating(3);
    auto judged = (schema.empty() ? rule_book{} : book(fields("name = \"value\"", schema)))
                      .validate(batch_of({row}), {"s", 0, row.event_time - by, of_mapping});
    REQUIRE(judged);
    return judged->lines.empty() ? std::string{} : judged->lines[0].rule + ": " + judged->lines[0].reason;
  };
  using std::chrono::hours;
  constexpr std::chrono::microseconds one{1};

  CHECK(ahead_by("", {}, hours{1}).empty());
  CHECK(
      ahead_by("", {}, hours{1} + one) ==
      "max_ahead: event_time 2020-05-01T10:00:00Z is more than 1h ahead of 2020-05-01T08:59:59.999999Z, when "
      "the row came; max_ahead of its mapping or schema says how far it may be");
  CHECK(ahead_by("", hours{3}, hours{3}).empty());
  CHECK(!ahead_by("", hours{3}, hours{3} + one).empty());
  CHECK(ahead_by("max_ahead = \"5h\"", {}, hours{5}).empty());
  CHECK(!ahead_by("max_ahead = \"5h\"", {}, hours{5} + one).empty());
  CHECK(!ahead_by("max_ahead = \"5h\"", hours{3}, hours{3} + one).empty());
  CHECK(!ahead_by("max_ahead = \"2h\"", hours{3}, hours{2} + one).empty());
  CHECK(!ahead_by("max_ahead = \"0s\"", {}, one).empty());
  CHECK(ahead_by("", {}, -hours{100'000}).empty());
  // Who does not say when the rows came does not ask.
  CHECK(rule_book{}.validate(batch_of({rating(3)}), {"s", 0})->lines.empty());
}
