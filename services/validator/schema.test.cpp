#include "services/validator/schema.hpp"

#include "services/validator/schema_folder.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

using namespace troupe;
using namespace troupe::validator;

namespace {

std::string error_of(std::string_view toml) {
  auto made = parse_schemas(toml, "s.toml");
  return made ? "" : made.error().text;
}

std::string error_in_field(std::string_view lines) {
  return error_of(fmt::format("[[schema]]\nkind = \"event\"\n[[schema.field]]\n{}\n", lines));
}

} // namespace

TEST_CASE("an unknown key is an error with its line") {
  CHECK(error_in_field("name = \"value\"\nrequierd = true") ==
        "s.toml:5: unknown key 'requierd' in [[schema.field]] of event; known are name, type, required, min, "
        "max, min_length, max_length, "
        "one_of, pattern, unique, max_null_rate");
  CHECK(error_of("[[schema]]\nkind = \"event\"\ntyp = \"x\"\n")
            .starts_with("s.toml:3: unknown key 'typ' in [[schema]]"));
  CHECK(error_of("[schemas]\n").starts_with("s.toml:1: unknown key 'schemas'"));
}

TEST_CASE("what cannot be meant is an error that says why") {
  CHECK(error_of("") == "s.toml: holds no [[schema]]");
  CHECK(error_of("[[schema]\n").starts_with("s.toml:1: "));
  CHECK(error_of("[[schema]]\nkind = \"row\"\n") ==
        "s.toml:1: kind of [[schema]] must be \"event\", \"slate\", \"user\" or \"item\"");
  CHECK(error_of("[[schema]]\nkind = \"user\"\ntype = \"x\"\n") ==
        "s.toml:1: only events have a type, users have none");
  CHECK(error_of("[[schema]]\nkind = \"user\"\n[[schema]]\nkind = \"user\"\n") ==
        "s.toml: schemas user and user are for the same records");
  CHECK(error_in_field("type = \"text\"") == "s.toml:3: [[schema.field]] of event has no name");
  CHECK(error_in_field("name = \"valeu\"").find("'valeu', which is no field") != std::string::npos);
  CHECK(error_in_field("name = \"value\"\ntype = \"text\"") ==
        "s.toml:3: value is always number, it cannot be text");
  CHECK(error_in_field("name = \"value\"\nmin = 5\nmax = 1").find("lower bound") != std::string::npos);
  CHECK(error_in_field("name = \"value\"\nmin = \"5\"") ==
        "s.toml:5: min of field value must be a finite number");
  CHECK(error_in_field("name = \"user\"\nmin = 5").find("need type number") != std::string::npos);
  CHECK(error_in_field("name = \"user\"\npattern = \"(\"").find("is not a regular expression") !=
        std::string::npos);
  CHECK(error_in_field("name = \"user\"\none_of = []").find("at least one value") != std::string::npos);
  CHECK(error_in_field("name = \"user\"\none_of = [1]").find("one_of of field user needs texts") !=
        std::string::npos);
  CHECK(error_in_field("name = \"user\"\nmax_null_rate = 2").find("0..1") != std::string::npos);
  CHECK(error_in_field("name = \"context.x\"\ntype = \"list\"\nunique = true") ==
        "s.toml:3: a list cannot be unique");
  CHECK(error_in_field("name = \"user\"\n[[schema.field]]\nname = \"user\"").find("two fields user") !=
        std::string::npos);
  CHECK(error_in_field("name = \"event_time\"\nmin = \"soon\"")
            .starts_with("s.toml:5: min of field event_time: "));
}

TEST_CASE("comparisons that can never be made are errors") {
  auto compare = [](std::string_view lines) {
    return error_of(fmt::format("[[schema]]\nkind = \"event\"\n[[schema.compare]]\n{}\n", lines));
  };

  CHECK(compare("left = \"value\"\nop = \"<\"") == "s.toml:3: [[schema.compare]] of event needs left, op, "
                                                   "and one of right (a field) and constant (a value)");
  CHECK(compare("left = \"value\"\nop = \"=<\"\nconstant = 1").find("op '=<'") != std::string::npos);
  CHECK(compare("left = \"value\"\nop = \"<\"\nright = \"event_time\"")
            .find("number and time cannot be compared") != std::string::npos);
  CHECK(compare("left = \"value\"\nop = \"<\"\nright = \"user\"").find("cannot be compared") !=
        std::string::npos);
  CHECK(compare("left = \"context.x\"\nop = \"<\"\nconstant = true").find("flags can only") !=
        std::string::npos);
}

TEST_CASE("a schema written as TOML reads back to the same") {
  auto text = R"([[schema]]
name = "all \"rules\""
kind = "event"
type = "rating"
closed = true

  [[schema.field]]
  name = "value"
  type = "number"
  required = true
  min = 0.5
  max = 5
  max_null_rate = 0.1

  [[schema.field]]
  name = "event_time"
  type = "time"
  min = 1995-01-01T00:00:00Z

  [[schema.field]]
  name = "context.x"
  type = "text"
  min_length = 1
  max_length = 9
  one_of = ["a", "b\\\"c"]
  pattern = "[a-z]+\\d"
  unique = true

  [[schema.compare]]
  left = "context.y"
  op = "<="
  right = "context.z"

  [[schema.compare]]
  left = "event_time"
  op = ">"
  constant = 2001-01-01T00:00:00Z
)";
  auto once = parse_schemas(text, "a");
  REQUIRE(once.has_value());
  auto written = to_toml(*once);

  auto again = parse_schemas(written, "b");

  REQUIRE(again.has_value());
  CHECK(to_toml(*again) == written);
  CHECK(written == text);
}

TEST_CASE("a pipe among the schemas is refused by what it is") {
  testing::temp_dir dir;
  REQUIRE(::mkfifo((dir / "pipe.toml").c_str(), 0600) == 0);
  schema_folder folder{dir.path()};

  auto refused = folder.refresh();

  REQUIRE_FALSE(refused);
  CHECK(refused.error().text.find("pipe.toml: it is a named pipe, not a regular file") != std::string::npos);
}

TEST_CASE("a schema file that is not there is named") {
  testing::temp_dir dir;

  auto made = read_schemas(dir / "none.toml");

  REQUIRE_FALSE(made.has_value());
  CHECK(made.error().code == ec::not_found);
  CHECK(made.error().text.find("none.toml") != std::string::npos);
}

TEST_CASE("the schemas that come with the program are read") {
  auto shipped = std::filesystem::path{TROUPE_SCHEMAS_SHIPPED};
  for (auto* name : {"movielens.toml", "movietweetings.toml", "open_bandit.toml"}) {
    auto made = read_schemas(shipped / name);
    if (!made)
      FAIL(made.error().text);
    CHECK(made->size() >= 1);
  }
}

TEST_CASE("a schema of impressions is doubted where none is of slates") {
  auto doubts = [](const std::string& text) { return doubts_about(parse_schemas(text, "s.toml").value()); };
  const std::string impressions = "[[schema]]\nkind = \"event\"\ntype = \"impression\"\n";

  REQUIRE(doubts(impressions).size() == 1);
  CHECK(doubts(impressions)[0].starts_with("schema event/impression holds for impressions"));
  CHECK(doubts(impressions + "[[schema]]\nkind = \"slate\"\n").empty());
  CHECK(doubts("[[schema]]\nkind = \"event\"\ntype = \"click\"\n[[schema]]\nkind = \"event\"\n").empty());
}

TEST_CASE("how far ahead of the clock a record may be dated is a duration, and written back as one") {
  auto made = parse_schemas("[[schema]]\nkind = \"item\"\nmax_ahead = \"2w\"\n", "s.toml");
  REQUIRE(made);

  CHECK((*made)[0].max_ahead == std::chrono::hours{14 * 24});
  CHECK(parse_schemas(to_toml(*made), "again").value()[0].max_ahead == (*made)[0].max_ahead);
  CHECK(error_of("[[schema]]\nkind = \"item\"\nmax_ahead = 3600\n") ==
        "s.toml:3: max_ahead of schema item must be a duration such as \"1h\"");
  CHECK(error_of("[[schema]]\nkind = \"item\"\nmax_ahead = \"1y\"\n").find("1y") != std::string::npos);
}
