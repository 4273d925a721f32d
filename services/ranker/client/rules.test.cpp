#include "services/ranker/client/rules.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;

TEST_CASE("rules are read whole, and a wrong key or value is named with what is allowed") {
  auto good = parse_rules(R"(
[candidates]
sources = [{name = "nearest", n = 300}, {name = "popular", n = 20}]
rerank = 200
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
  CHECK(good->rerank == 200);
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
  CHECK(refused("[candidates]\nrerank = -1", "candidates.rerank is -1, allowed is 0 to 10000"));
  CHECK(refused("[candidates]\nsources = [{name = 'neerest'}]", "candidates.sources[0].name is neerest"));
  CHECK(refused("[seen]\nfilter = 1", "seen.filter"));
  CHECK(refused("seen = true", "seen must be a table"));
  CHECK(refused("a = ", "line 1"));
}

TEST_CASE("an attribute that nothing reads is refused, with the rule that names it and those that are read") {
  auto readable = readable_attributes({"item_stock.count"});
  CHECK(readable ==
        std::vector<std::string>{"count", "created", "decayed", "expires", "genres", "hidden", "title"});
  auto check = [&](const std::string& text) {
    auto rules = parse_rules(text, "rules.toml");
    REQUIRE(rules);
    auto checked = check_readable(*rules, readable);
    return checked ? std::string{} : checked.error().text;
  };

  CHECK(check("[[rule]]\nkind = 'filter'\nattribute = 'count'\nop = 'at_most'\nnumber = 0").empty());
  CHECK(check("[[rule]]\nkind = 'pin'\nitem = 'x'").empty());
  auto refused =
      check("[[rule]]\nkind = 'pin'\nitem = 'x'\n[[rule]]\nname = 'red'\nkind = 'cap'\nattribute = "
            "'colour'\ntext = 'red'");
  CHECK(refused.find("rule[1] (red)") != std::string::npos);
  CHECK(refused.find("'colour'") != std::string::npos);
  CHECK(refused.find("count, created, decayed") != std::string::npos);
  // What diversity goes by counts where there is diversity.
  CHECK(check("[diversity]\nattribute = 'colour'").empty());
  CHECK(check("[diversity]\nmmr = 0.5\nattribute = 'colour'").find("diversity.attribute") !=
        std::string::npos);
}
