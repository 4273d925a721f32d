#include "common/event/record.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace troupe;

namespace {

record sample() {
  record rec;
  rec.id = "e1";
  rec.type = "rating";
  rec.user = "u1";
  rec.item = "i1";
  rec.event_time = *parse_rfc3339("2013-02-28T14:38:27Z");
  rec.value = 4;
  rec.attributes = {{"genres", text_list{"Drama", "War"}},
                    {"position", 3.0},
                    {"promoted", true},
                    {"query", std::string{"ü"}}};
  return rec;
}

} // namespace

TEST_CASE("a record survives the way through its bytes") {
  std::vector<record> records{sample(), sample()};
  records[1].kind = record_kind::item;
  records[1].value.reset();
  records[1].user.clear();
  records[1].untimed = true;

  auto bytes = encode_batch(records, 7, 42);
  auto opened = batch::open(bytes);

  REQUIRE(opened);
  CHECK(opened->partition() == 7);
  CHECK(opened->base_offset() == 42);
  REQUIRE(opened->size() == 2);
  CHECK(to_record((*opened)[0]) == records[0]);
  CHECK(to_record((*opened)[1]) == records[1]);
}

TEST_CASE("a batch that is cut short is refused or, when only padding is gone, still whole") {
  std::vector<record> records{sample()};
  auto bytes = encode_batch(records);

  for (std::size_t length = 0; length < bytes.size(); ++length) {
    auto opened = batch::open(chunk::copy(bytes.view().first(length)));
    if (length + 8 <= bytes.size())
      REQUIRE(!opened);
    if (opened)
      CHECK(to_record((*opened)[0]) == records[0]);
    else
      CHECK(opened.error().code == ec::corrupt);
  }
}

TEST_CASE("a record by itself must make sense") {
  CHECK(check(sample()));
  auto broken = [](auto&& change) {
    auto rec = sample();
    change(rec);
    auto result = check(rec);
    return result ? std::string{} : result.error().text;
  };
  CHECK(broken([](record& r) { r.id.clear(); }) == "id is missing");
  CHECK(broken([](record& r) { r.user.clear(); }) == "user is missing");
  CHECK(broken([](record& r) { r.item = "\xff"; }) == "item is not valid UTF-8");
  CHECK(broken([](record& r) { r.item = "\xed\xa0\x80"; }) == "item is not valid UTF-8");
  CHECK(broken([](record& r) { r.item = "a\nb"; }) ==
        "item holds a control character (a line end, a tab...)");
  for (std::string record::*field :
       {&record::id, &record::type, &record::user, &record::item, &record::request_id})
    for (auto each : {std::string{"a\rb"}, std::string{'a', '\0'}, std::string{"\x7f"}})
      CHECK(broken([&](record& r) { r.*field = each; }).find("control character") != std::string::npos);
  CHECK(broken([](record& r) { r.user = "a b\xc3\xa9"; }).empty());
  CHECK(broken([](record& r) { r.attributes[3].value = std::string{"two\nlines"}; }).empty());
  CHECK(broken([](record& r) { r.id = std::string(257, 'x'); }) ==
        "id has 257 bytes, at most 256 are allowed");
  CHECK(broken([](record& r) { r.value = std::numeric_limits<double>::infinity(); }) ==
        "value is not a finite number");
  CHECK(broken([](record& r) { r.attributes[3].value = std::string{"\xc0\x80"}; }) ==
        "query is not valid UTF-8");
}

TEST_CASE("of an attribute that is named twice the later one stays") {
  record rec;
  rec.attributes = {{"b", 1.0}, {"a", 2.0}, {"b", 3.0}};

  normalise(rec);

  CHECK(rec.attributes == std::vector<attribute>{{"a", 2.0}, {"b", 3.0}});
}

TEST_CASE(
    "hidden and deleted of users and items are flags however they are written, or the record is refused") {
  auto kept = [](record_kind kind, const char* name,
                 attribute_value value) -> std::optional<attribute_value> {
    record rec;
    rec.kind = kind;
    rec.id = "1", rec.user = "u", rec.item = "i", rec.type = "view";
    rec.attributes = {{name, std::move(value)}};
    normalise(rec);
    if (!check(rec))
      return std::nullopt;
    return rec.attributes[0].value;
  };
  for (const char* name : {"hidden", "deleted"})
    for (auto kind : {record_kind::user, record_kind::item}) {
      for (auto& yes : {attribute_value{true}, {1.0}, {"true"}, {"TRUE"}, {"Yes"}, {"1"}})
        CHECK(kept(kind, name, yes) == attribute_value{true});
      for (auto& no : {attribute_value{false}, {0.0}, {"False"}, {"no"}, {"0"}})
        CHECK(kept(kind, name, no) == attribute_value{false});
      for (auto& bad : {attribute_value{2.0}, {0.5}, {"soon"}, {""}, {" true"}, {text_list{"true"}}})
        CHECK(!kept(kind, name, bad));
    }
  CHECK(kept(record_kind::event, "hidden", "soon") ==
        attribute_value{"soon"}); // Of an event it says what it likes.
  CHECK(kept(record_kind::item, "Hidden", "soon") == attribute_value{"soon"});
}

TEST_CASE("the partition of a key never changes") {
  CHECK(partition_of("1", 8) == 0);
  CHECK(partition_of("troupe", 8) == 5);
}

namespace {

record item_with(const char* name, attribute_value value) {
  record rec;
  rec.kind = record_kind::item;
  rec.id = "1";
  rec.item = "i";
  rec.attributes = {{name, std::move(value)}};
  normalise(rec);
  return rec;
}

} // namespace

TEST_CASE("when an item expires is a time: text becomes seconds, a number stays, anything else is refused") {
  auto item = [](attribute_value expires) { return item_with("expires", std::move(expires)); };

  CHECK(item("2024-03-01T12:00:00Z").attributes[0].value == attribute_value{1709294400.0});
  CHECK(item("1709294400500").attributes[0].value == attribute_value{1709294400.5});
  CHECK(item(1709294400e6).attributes[0].value == attribute_value{1709294400e6});
  for (attribute_value good :
       {attribute_value{"2024-03-01"}, attribute_value{1709294400.0}, attribute_value{0.0}})
    CHECK(check(item(good)));
  for (attribute_value bad : {attribute_value{"never"}, attribute_value{true}, attribute_value{1e300},
                              attribute_value{text_list{"2024-03-01"}}})
    CHECK_FALSE(check(item(bad)));
}

TEST_CASE("a time of an item that was a text is read by its size as what it says, in every year") {
  auto back = [](const char* name, const char* text) -> std::string {
    auto rec = item_with(name, text);
    auto* number = std::get_if<double>(&rec.attributes[0].value);
    auto at = number ? epoch_of(*number) : std::nullopt;
    return check(rec) && at ? to_rfc3339(*at) : "none";
  };

  for (const char* name : {"expires", "created"}) {
    for (const char* text :
         {"0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2024-03-01T12:00:00.250000Z",
          "5138-11-16T09:46:39Z", "5138-11-16T09:46:40Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59Z"})
      CHECK(back(name, text) == text);
    CHECK(back(name, "9999-12-31") == "9999-12-31T00:00:00Z");
    CHECK(back(name, "9999-12-31T23:59:59.9999999") ==
          "9999-12-31T23:59:59.999000Z"); // A "never" of databases.
  }
  CHECK(item_with("created", "the seventies").attributes[0].value == attribute_value{"the seventies"});
  CHECK(check(item_with("created", "the seventies")));
}
