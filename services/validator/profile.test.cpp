#include "services/validator/profile.hpp"

#include "services/validator/infer.hpp"
#include "services/validator/rule_book.hpp"
#include "services/validator/test_records.hpp"

#include "common/table/connection.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

using namespace troupe;
using namespace troupe::validator;
using testing::batch_of;
using testing::rating;

namespace {

profile profile_of(const std::vector<record>& records) {
  profile made;
  auto rows = batch_of(records);
  for (std::size_t i = 0; i < rows.size(); ++i)
    made.add(rows[i]);
  return made;
}

const column_profile& column(const profile& in, std::size_t group, std::string_view name) {
  auto& from = *in.groups().at(group);
  for (auto& each : from.core)
    if (each.name == name)
      return each;
  for (auto& each : from.others)
    if (each.name == name)
      return each;
  throw std::runtime_error{"no such column"};
}

std::vector<record> mixed(std::size_t many, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::vector<record> all;
  for (std::size_t i = 0; i < many; ++i) {
    auto row = random();
    std::vector<attribute> context{{"place", std::string{"p"} + std::to_string(row % 700)},
                                   {"seen", row % 2 == 0}};
    if (row % 3 == 0)
      context.push_back({"genres", text_list{"drama", row % 5 == 0 ? "comedy" : "crime"}});
    all.push_back(rating(row % 100'000, static_cast<double>(row % 5000) / 10, std::move(context)));
    if (row % 11 == 0)
      all.back().type = "view";
    if (row % 7 == 0)
      all.back().value.reset();
  }
  return all;
}

void check_close(const number_summary& a, const number_summary& b) {
  CHECK(a.count == b.count);
  CHECK(a.least == b.least);
  CHECK(a.greatest == b.greatest);
  CHECK(a.mean == doctest::Approx(b.mean).epsilon(1e-9));
  CHECK(a.deviation() == doctest::Approx(b.deviation()).epsilon(1e-9));
  CHECK(a.bins == b.bins);
}

} // namespace

TEST_CASE("a small profile is exact") {
  auto seen = profile_of({rating(1, 4, {{"place", std::string{"Köln"}}}), rating(2, 4), rating(3, 1.5)});

  auto& value = column(seen, 0, "value");
  auto& place = column(seen, 0, "place");
  CHECK(seen.rows() == 3);
  CHECK(value.present == 3);
  CHECK(value.integers == 2);
  CHECK(value.distinct.estimate() == 2);
  CHECK(value.values->least == 1.5);
  CHECK(value.values->greatest == 4);
  CHECK(value.values->mean == doctest::Approx(9.5 / 3));
  CHECK(value.values->quantiles.at(std::vector<double>{0.5})[0] == 4);
  CHECK(shown_top_value(value.top.list(1)[0].value) == "4");
  CHECK(value.top.list(1)[0].count == 2);
  CHECK(place.present == 1);
  CHECK(place.lengths->greatest == 4);
}

TEST_CASE("merged profiles equal the profile of the whole within the stated bounds") {
  auto records = mixed(20'000, 99);
  auto whole = profile_of(records);
  profile merged;
  for (std::size_t from = 0; from < records.size(); from += 3333) {
    auto to = std::min(records.size(), from + 3333);
    merged.merge(profile_of({records.begin() + static_cast<std::ptrdiff_t>(from),
                             records.begin() + static_cast<std::ptrdiff_t>(to)}));
  }

  CHECK(merged.rows() == whole.rows());
  REQUIRE(merged.groups().size() == 2);
  for (std::size_t g = 0; g < 2; ++g) {
    CHECK(merged.groups()[g]->rows == whole.groups()[g]->rows);
    for (auto* name : {"id", "user", "item", "value", "place", "seen", "genres", "event_time"}) {
      auto &a = column(merged, g, name), &b = column(whole, g, name);
      CAPTURE(name);
      CHECK(a.present == b.present);
      CHECK(a.distinct == b.distinct);
      CHECK((a.values != nullptr) == (b.values != nullptr));
      if (a.values)
        check_close(*a.values, *b.values);
      if (a.lengths)
        check_close(*a.lengths, *b.lengths);
      if (b.top.exact())
        CHECK(a.top.list(50) == b.top.list(50));
    }
    std::vector<double> qs{0.1, 0.5, 0.9};
    auto a = column(merged, g, "value").values->quantiles.at(qs),
         b = column(whole, g, "value").values->quantiles.at(qs);
    for (std::size_t i = 0; i < qs.size(); ++i)
      CHECK(std::abs(a[i] - b[i]) <=
            2 * 0.0165 * 500); // Values are even in 0..500; both sides may be off by the bound.
  }
}

TEST_CASE("merging with nothing changes nothing") {
  auto seen = profile_of(mixed(500, 3));
  profile nothing;
  nothing.merge(seen);
  auto same = profile_of(mixed(500, 3));
  same.merge(profile{});

  CHECK((to_json(nothing) == to_json(seen)));
  CHECK((same.save() == seen.save()));
}

TEST_CASE("a stored profile reads back to the same and goes on as if it had never been stored") {
  auto first = mixed(3000, 5), second = mixed(3000, 6);
  auto straight = profile_of(first);
  straight.add_refused("range", 3);
  auto loaded = profile::load(straight.save());
  REQUIRE(loaded.has_value());
  CHECK((loaded->save() == straight.save()));
  CHECK((to_json(*loaded) == to_json(straight)));

  auto rows = batch_of(second);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    straight.add(rows[i]);
    loaded->add(rows[i]);
  }

  CHECK((loaded->save() == straight.save()));
}

TEST_CASE("numbers at the end of the range overflow moments and nothing else") {
  auto seen = profile_of({rating(1, 1.7e308), rating(2, -1.7e308), rating(3, 1.7e308)});

  auto loaded = profile::load(seen.save());
  boost::json::error_code err;
  boost::json::parse(to_json(seen), err);

  CHECK(loaded.has_value());
  CHECK_FALSE(err);
}

TEST_CASE("broken, cut and later profiles are refused") {
  auto bytes = profile_of(mixed(300, 8)).save();
  auto code = [](std::string_view broken) {
    auto loaded = profile::load(broken);
    return loaded ? ec{} : loaded.error().code;
  };

  CHECK(code("") == ec::corrupt);
  CHECK(code("TRPP") == ec::corrupt);
  CHECK(code(std::string_view{bytes}.substr(0, bytes.size() / 2)) == ec::corrupt);
  auto flipped = bytes;
  flipped[bytes.size() / 2] ^= 1;
  CHECK(code(flipped) == ec::corrupt);
  auto later = bytes;
  later[4] = 9;
  CHECK(code(later) == ec::unsupported_version);
}

TEST_CASE("memory stays bounded however many columns and types arrive") {
  profile seen;
  for (int i = 0; i < 400; ++i) {
    auto rec = rating(1, 1, {{"column" + std::to_string(i), 1.0}});
    seen.add(batch_of({rec})[0]);
    rec.type = "type" + std::to_string(i);
    seen.add(batch_of({rec})[0]);
  }

  CHECK(seen.groups().size() == profile::most_groups);
  CHECK(seen.groups()[0]->others.size() == profile::most_columns);
  CHECK(seen.left_out() == (400 - profile::most_columns) + (400 - profile::most_groups + 1));
  CHECK(seen.rows() == 800);
}

TEST_CASE("the JSON of a profile is JSON, whatever the values") {
  auto rec = rating(1, 2.5, {{"quote", std::string{"a\"b\n\\"}}, {"long", std::string(62, 'x') + "äöü"}});
  auto seen = profile_of({rec});
  for (bool pretty : {false, true}) {
    boost::json::error_code err;
    auto read = boost::json::parse(to_json(seen, pretty), err);

    REQUIRE_FALSE(err);
    CHECK(read.at("rows").as_int64() == 1);
  }
  CHECK(to_table(seen).find("context.quote") != std::string::npos);
}

TEST_CASE("a schema inferred from a profile accepts what was seen and refuses what was not") {
  std::vector<record> records;
  for (std::uint64_t i = 0; i < 200; ++i)
    records.push_back(rating(i, static_cast<double>(1 + i % 5),
                             {{"device", std::string{i % 2 == 0 ? "phone" : "desk"}},
                              {"at", std::string{"2024-01-01T00:00:00Z"}}}));
  auto schemas = infer_schemas(profile_of(records));
  auto read_back = parse_schemas(to_toml(schemas), "inferred");
  REQUIRE(read_back.has_value());
  auto book = rule_book::compile(*read_back);
  REQUIRE(book.has_value());

  auto seen = book->validate(batch_of(records), {"s", 0});
  auto other = records[0];
  other.value = 5.5;
  other.attributes[1].value = std::string{"watch"};
  auto unseen = book->validate(batch_of({other}), {"s", 0});

  CHECK(seen->lines.empty());
  REQUIRE(unseen->lines.size() == 2);
  CHECK(unseen->lines[0].reason == "value 5.5 is not a whole number");
  CHECK(unseen->lines[1].reason == "context.device 'watch' is not one of 'desk', 'phone'");
}

TEST_CASE("a profile of slates has what they show, is stored with it, and gives a schema that takes them") {
  std::vector<record> records;
  for (int i = 0; i < 50; ++i) {
    record rec;
    rec.kind = record_kind::slate;
    rec.id = fmt::format("s{}", i);
    rec.type = "impression";
    rec.user = fmt::format("u{}", i % 7);
    rec.event_time = *parse_rfc3339("2024-01-01T00:00:00Z");
    rec.shown = {{"a", 1, 0.5}, {fmt::format("b{}", i), 2, 0.25}};
    rec.attributes = {{"device", std::string{"phone"}}};
    records.push_back(std::move(rec));
  }
  auto seen = profile_of(records);
  auto loaded = profile::load(seen.save());
  REQUIRE(loaded);
  seen.merge(*loaded);

  CHECK(column(seen, 0, "item").present == 200);
  CHECK(seen.groups()[0]->shown[0].values->greatest == 2);
  CHECK(seen.groups()[0]->shown[1].values->least == 0.25);
  CHECK(to_table(seen).find("slate: 100 rows") != std::string::npos);
  CHECK(to_table(seen).find("propensity") != std::string::npos);
  auto schemas = parse_schemas(to_toml(infer_schemas(seen)), "inferred");
  REQUIRE_MESSAGE(schemas, schemas.error().text);
  CHECK(schemas->front().kind == record_kind::slate);
  auto book = *rule_book::compile(*schemas);
  CHECK(book.validate(batch_of(records), {"s", 0})->lines.empty());
  records[0].shown[1].position = 9;
  auto refused = book.validate(batch_of(records), {"s", 0});
  REQUIRE(refused->lines.size() == 1);
  CHECK(refused->lines[0].reason == "position 9 is above the maximum 2");
}

TEST_CASE("profile numbers equal those of DuckDB over MovieLens 100K") {
  auto* folder = std::getenv("TROUPE_DATA");
  auto data = std::filesystem::path{folder ? folder : TROUPE_DATA_STANDARD} / "ml-100k/u.data";
  if (!std::filesystem::exists(data)) {
    MESSAGE("skipped: no data");
    return;
  }
  auto file = data.string();
  std::vector<record> records;
  std::ifstream in{file};
  std::string user, item;
  double value;
  std::int64_t seconds;
  for (std::uint64_t row = 0; in >> user >> item >> value >> seconds; ++row) {
    auto rec = rating(row, value);
    rec.user = user;
    rec.item = item;
    rec.event_time = from_micros(seconds * 1'000'000);
    records.push_back(std::move(rec));
  }
  REQUIRE(records.size() == 100'000);
  auto seen = profile_of(records);
  auto db = table::connection::open();
  REQUIRE(db.has_value());
  REQUIRE(db->run("CREATE TABLE r AS SELECT * FROM read_csv(" + table::sql_text(file) +
                  ", delim='\t', header=false, "
                  "columns={'user':'BIGINT','item':'BIGINT','value':'DOUBLE','seconds':'BIGINT'})")
              .has_value());
  auto number = [&](const std::string& what) {
    auto found = db->number("SELECT (" + what + ")::DOUBLE FROM r");
    REQUIRE(found.has_value());
    return found->value();
  };

  for (auto* name : {"user", "item", "value"}) {
    auto& column_seen = column(seen, 0, name);
    CHECK(column_seen.present == number(fmt::format("count(\"{}\")", name)));
    auto truth = number(fmt::format("count(DISTINCT \"{}\")", name));
    CHECK(std::abs(column_seen.distinct.estimate() - truth) <=
          (column_seen.distinct.exact() ? 0 : 0.05 * truth));
  }
  auto& ratings = *column(seen, 0, "value").values;
  CHECK(ratings.least == number("min(value)"));
  CHECK(ratings.greatest == number("max(value)"));
  CHECK(ratings.mean == doctest::Approx(number("avg(value)")).epsilon(1e-12));
  CHECK(ratings.deviation() == doctest::Approx(number("stddev_pop(value)")).epsilon(1e-12));
  for (auto& each : column(seen, 0, "value").top.list(5))
    CHECK(each.count == number("count(*) FILTER (value = " + shown_top_value(each.value) + ")"));
  for (std::size_t bin = 0; bin < ratings.bins.bins(); ++bin) {
    auto from = ratings.bins.start() + static_cast<double>(bin) * ratings.bins.width();
    CHECK(ratings.bins[bin] == number(fmt::format("count(*) FILTER (value >= {} AND value < {})", from,
                                                  from + ratings.bins.width())));
  }
  auto& times = *column(seen, 0, "event_time").values;
  CHECK(times.least == number("min(seconds)") * 1e6);
  CHECK(times.greatest == number("max(seconds)") * 1e6);
  std::vector<double> qs{0.05, 0.25, 0.5, 0.75, 0.95};
  auto answers = times.quantiles.at(qs);
  for (std::size_t i = 0; i < qs.size(); ++i) {
    auto rank = number(fmt::format("count(*) FILTER (seconds * 1000000.0 <= {})", answers[i])) / 100'000;
    CHECK(std::abs(rank - qs[i]) <= 0.0165 + 0.001); // A thousandth for ratings of the same second.
  }
  // The most frequent user: the sketch may be short by its shortfall, and no more.
  auto top = column(seen, 0, "user").top;
  for (auto& each : top.list(3)) {
    auto truth = number("count(*) FILTER (\"user\" = " + each.value.substr(1) + ")");
    CHECK(static_cast<double>(each.count) <= truth);
    CHECK(static_cast<double>(each.count + top.shortfall()) >= truth);
  }
}
