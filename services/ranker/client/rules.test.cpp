#include "services/ranker/client/rules.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;

TEST_CASE("rules are read whole, and a wrong key or value is named with what is allowed") {
  auto good = parse_rules(R"(
[candidates]
sources = [{name = "nearest", n = 300}, {name = "popular", n = 20}]
[seen]
filter = false
[[rule]]
kind = "filter"
attribute = "genres"
op = "contains"
text = "Horror"
[[rule]]
kind = "pin"
item = "x"
position = 3
[diversity]
mmr = 0.3
[exploration]
kind = "epsilon"
share = 0.1
)",
                          "rules.toml");
  REQUIRE(good);
  CHECK(good->sources.size() == 2);
  CHECK(!good->filter_seen);
  CHECK(good->rules[0].when.op == predicate_op::contains);
  CHECK(good->rules[1].position == 2);
  CHECK(good->mmr == 0.3);
  CHECK(good->exploration == 0.1);

  auto refused = [](const char* text, const char* why) {
    auto got = parse_rules(text, "rules.toml");
    return !got && got.error().code == ec::invalid_argument &&
           got.error().text.find(why) != std::string::npos;
  };
  CHECK(refused("[diversity]\nmrr = 1", "diversity.mrr is unknown"));
  CHECK(refused("[exploration]\nshare = 2", "exploration.share is 2, allowed is 0 to 1"));
  CHECK(refused("[[rule]]\nkind = 'boots'", "rule[0].kind is boots"));
  CHECK(refused("[[rule]]\nkind = 'cap'\nmost = 1", "rule[0].attribute is missing"));
  CHECK(refused("[candidates]\nsources = [{name = 'neerest'}]", "candidates.sources[0].name is neerest"));
  CHECK(refused("[seen]\nfilter = 1", "seen.filter"));
  CHECK(refused("seen = true", "seen must be a table"));
  CHECK(refused("a = ", "line 1"));
}
