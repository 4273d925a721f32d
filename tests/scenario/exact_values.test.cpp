#include "tests/support/input.hpp"

#include "common/table/parquet.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>

using namespace troupe::testing;

namespace {

constexpr auto view_toml = R"(
[[view]]
name = "act"
entity = "user"
source = ["purchase", "view"]
ttl = "3650d"
[[view.feature]]
name = "n"
operator = "count"
[[view.feature]]
name = "last_item"
operator = "last"
of = "item"
)";

constexpr auto purchases = R"(user,item,at
12345678901234567890,i1,2024-05-01T10:00:00Z
12345678901234567891,i2,2024-05-01T10:00:00Z
12345678901234567891,i3,2024-05-01T11:00:00Z
00123,i1,2024-05-01T10:00:00Z
123,i1,2024-05-01T10:00:00Z
123,i2,2024-05-01T10:30:00Z
c0ffee00-0000-0000-0000-000000000001,i1,2024-05-01T10:00:00Z
)";

std::string mapping(const std::string& type) {
  return "[[file]]\npattern = [\"*.csv\", \"*.parquet\"]\n[[file.record]]\nkind = \"event\"\ntype = { "
         "constant = \"" +
         type +
         "\" }\nuser = \"user\"\nitem = \"item\"\nevent_time = { column = \"at\", format = \"rfc3339\" }\n";
}

std::string specification(const std::filesystem::path& rows) {
  return "name = \"exact\"\nfeatures = [\"act.n\", \"act.last_item\"]\nboundary = "
         "\"at\"\n[labels]\nentity_rows = \"" +
         rows.string() + "\"\nuser = \"customer\"\ntime = \"at\"\ncolumns = [\"label\"]\n";
}

void write_parquet(const std::filesystem::path& path, const std::string& sql) {
  auto db = troupe::table::connection::open({.threads = 1});
  REQUIRE(db);
  std::filesystem::create_directories(path.parent_path());
  auto done =
      db->run("COPY (" + sql + ") TO " + troupe::table::sql_text(path.string()) + " (FORMAT parquet)");
  REQUIRE_MESSAGE(done, done.error().text);
}

} // namespace

TEST_CASE("identities stay exact through files, features and training sets, and rows of nobody are told") {
  fleet services{"scenario-exact"};
  std::filesystem::create_directories(services.data() / "views");
  write_file(services.data() / "views" / "v.toml", view_toml);
  write_file(services.temp() / "purchase.toml", mapping("purchase"));
  write_file(services.temp() / "view.toml", mapping("view"));
  write_file(services.temp() / "events.csv", purchases);
  services.up();

  auto csv = ingest(services, services.temp() / "events.csv", (services.temp() / "purchase.toml").string());
  CHECK(number(csv, "events_added") == 7);
  // A folder that is called like a column, and three users whom a double cannot tell apart.
  auto views = services.temp() / "user=999" / "views.parquet";
  write_parquet(views,
                "SELECT ('1000000000000000000' || i)::DECIMAL(20,0) AS \"user\", 'i' || i AS item, TIMESTAMP "
                "'2024-05-01 09:00:00' AS at FROM range(1, 4) t(i)");
  CHECK(number(ingest(services, views, (services.temp() / "view.toml").string()), "events_added") == 3);
  auto floats = services.temp() / "floats.parquet";
  write_parquet(floats,
                "SELECT unnest([7, 1e17])::DOUBLE AS \"user\", 'i' AS item, TIMESTAMP '2024-05-01' AS at");
  auto half = ingest(services, floats, (services.temp() / "view.toml").string());
  CHECK(number(half, "events_added") == 1);
  CHECK(number(half, "quarantined") == 1);
  auto why = services.troupe({"quarantine", "list"});
  CHECK_MESSAGE(why.out.find("float64") != std::string::npos, why.out);

  auto features = [&] {
    return boost::json::serialize(
        services.ask({"features", "get", "--at", "watermark", "--features", "act.last_item", "--entity",
                      "user", "10000000000000000002", "00123"}));
  };
  CHECK(wait_until([&] { return features().find("\"i2\"") != std::string::npos; }, 60s));

  auto build = [&](const std::filesystem::path& rows) {
    write_file(services.temp() / "spec.toml", specification(rows));
    return services.troupe({"training-set", "build", (services.temp() / "spec.toml").string()});
  };
  write_parquet(
      services.temp() / "rows.parquet",
      "SELECT unnest([12345678901234567890, 12345678901234567891, 5])::DECIMAL(20,0) AS customer, TIMESTAMP "
      "'2024-05-01 10:30:00' AS at, 'x' AS label");
  auto told = build(services.temp() / "rows.parquet");
  CHECK_MESSAGE(
      told.out ==
          "3 rows kept by the feature store as exact, 1 of them match no entity that the log knows by "
          "then\n",
      told.out, told.err);
  auto again = services.ask({"training-set", "build", (services.temp() / "spec.toml").string()});
  CHECK(number(again, "rows") == 3);
  CHECK(number(again, "unmatched_rows") == 1);

  write_file(services.temp() / "rows.csv",
             "customer,at,label\n1.2345678901234567e+19,2024-05-01T10:30:00Z,a\n");
  auto nobody = build(services.temp() / "rows.csv");
  CHECK(nobody.code == 1);
  CHECK_MESSAGE(nobody.err.find("1 of 1 rows match no user and no item") != std::string::npos, nobody.err);
  write_file(services.temp() / "zero.csv", "customer,at,label\n00123,2024-05-01T10:30:00Z,a\n"
                                           "123,2024-05-01 12:30:00+02:00,b\n");
  auto zero = build(services.temp() / "zero.csv");
  CHECK_MESSAGE(zero.out ==
                    "2 rows kept by the feature store as exact, each of an entity that the log knows\n",
                zero.out, zero.err);
  CHECK(services.down());
}
