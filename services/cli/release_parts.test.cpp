#include "services/cli/release_parts.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::cli;

TEST_CASE("a model of a release is read with its weight and its role, or refused with what is allowed") {
  auto plain = parse_release_model("ease:3");
  REQUIRE(plain);
  CHECK(plain->model == "ease:3");
  CHECK(plain->weight == 1);
  CHECK(plain->role == "both");
  auto whole = parse_release_model("two_tower:2=0.5:retrieval");
  REQUIRE(whole);
  CHECK(whole->model == "two_tower:2");
  CHECK(whole->weight == 0.5);
  CHECK(whole->role == "retrieval");
  CHECK(parse_release_model("ease=1:score")->role == "score");

  for (auto* wrong : {"ease=", "ease=0", "ease=-1", "ease=x", "ease=1x", "ease=1:"})
    CHECK_MESSAGE(!parse_release_model(wrong), wrong);
  CHECK(parse_release_model("ease=1:scores").error().text.find("retrieval, score or both") !=
        std::string::npos);
}

TEST_CASE("rules that cannot be read, or go by an attribute that no ranker reads, make no release") {
  auto fleet = catalog::parse(R"(version = 1
[ranker]
contract = "TRPK"
endpoint = "ipc"
[ranker.settings]
item_features = ["item_stock.count"]
)",
                              "catalog.toml", "data");
  REQUIRE_MESSAGE(fleet, (fleet ? std::string{} : fleet.error().text));
  auto check = [&](const std::string& attribute) {
    return check_release_rules("[[rule]]\nkind = 'filter'\nattribute = '" + attribute + "'\ntext = 'x'",
                               "rules.toml", *fleet);
  };

  CHECK(check("genres"));
  CHECK(check("count"));
  auto refused = check("colour");
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::invalid_argument);
  CHECK(refused.error().text.find("'colour'") != std::string::npos);
  CHECK(refused.error().text.find("count, created") != std::string::npos);
  CHECK(!check_release_rules("[seen]\nfilter = 1", "rules.toml", *fleet));
}
