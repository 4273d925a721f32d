#include "services/gateway/http/consistency_token.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::gateway;

TEST_CASE("a token is read back as the offsets and items it was made of") {
  consistency_token token{{{0, 1}, {15, 18'446'744'073'709'551'615u}}, {}, false};

  CHECK(write_token(token) == "0:1,15:18446744073709551615");
  CHECK(parse_token(write_token(token)) == token);
  CHECK(parse_token("") == consistency_token{});
  for (const char* each : {"i1", "a;b,c d", "\xc3\xa9"})
    token.name({{each, item_change::deleted}});
  CHECK(write_token(token) == "0:1,15:18446744073709551615;i1;a%3Bb%2Cc%20d;%C3%A9");
  CHECK(parse_token(write_token(token)) == token);
  token.items.clear();
  token.name({{"!", item_change::hidden}, {"+*", item_change::written}});
  token.more_items = true;
  CHECK(write_token(token) == "0:1,15:18446744073709551615;!%21;+%2B%2A;*");
  CHECK(parse_token(write_token(token)) == token);
}

TEST_CASE(
    "a token names no more items than a header has room for, those that are not shown first, and says so") {
  consistency_token token{{{0, 1}}, {}, false}, wide = token;
  for (std::size_t i = 0; i < most_named_items; ++i)
    token.name({{"w" + std::to_string(i), item_change::written}});
  CHECK(parse_token(write_token(token)) == token);
  token.name({{"gone", item_change::deleted}});
  for (int i = 0; i < 10; ++i)
    wide.name({{std::string(1'023, 'x') + std::to_string(i), item_change::deleted}});

  auto read = parse_token(write_token(token));

  REQUIRE(read);
  CHECK(read->items.size() == most_named_items);
  CHECK(read->items.front() == changed_item{"gone", item_change::deleted});
  CHECK(read->more_items);
  read = parse_token(write_token(wide));
  REQUIRE(read);
  CHECK(read->items.size() == 3);
  CHECK(read->more_items);
}

TEST_CASE("an item that one write changes twice is only known to have been written") {
  consistency_token token;
  token.name({{"i", item_change::deleted}, {"i", item_change::deleted}});
  CHECK(token.items == std::vector<changed_item>{{"i", item_change::deleted}});
  token.name({{"i", item_change::written}});
  CHECK(token.items == std::vector<changed_item>{{"i", item_change::written}});
}

TEST_CASE("a write of very many items is named in a time that grows as they do") {
  constexpr std::size_t many = 200'000;
  std::vector<changed_item> all;
  for (std::size_t i = 0; i < many; ++i)
    all.push_back({"i" + std::to_string(i), item_change::deleted});
  consistency_token token;
  auto begin = std::chrono::steady_clock::now();

  token.name(std::move(all));

  // Each by each they would be 20,000,000,000 comparisons.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{5});
  CHECK(token.items.size() == many);
  CHECK(parse_token(write_token(token))->more_items);
}

TEST_CASE("a record deletes its item, hides it, or is what it looks like") {
  record item;
  CHECK(change_by(item) == item_change::written);
  item.attributes = {{"deleted", false}, {"hidden", true}};
  CHECK(change_by(item) == item_change::hidden);
  item.attributes = {{"deleted", true}, {"hidden", true}};
  CHECK(change_by(item) == item_change::deleted);
}

TEST_CASE("what is no token is refused") {
  for (const char* bad :
       {"0", "0:", ":1", "0:1,", ",0:1", "0:1;2:3", "-1:2", "0:-2", "0:1 ", "4294967296:1", "0:1;", "0:1;%zz",
        "0:1;+", "0:1;!", "0:1;*;i", "0:1;++i", "0:1;i1;", "0:18446744073709551616", "hello"})
    CHECK_MESSAGE(!parse_token(bad), bad);
  std::string many = "0:1";
  for (int i = 0; i < 1'024; ++i)
    many += ",0:1";
  CHECK(!parse_token(many));
}
