#include "common/security/api_keys.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

using namespace troupe;
using namespace troupe::security;

TEST_CASE("a key that was made is found with its scopes, and is not in the file") {
  testing::temp_dir dir;
  auto file = dir / "api-keys.toml";

  auto key = create_api_key(file, "shop", *parse_scopes("read,write"), 5);

  REQUIRE(key);
  auto keys = read_api_keys(file);
  REQUIRE(keys);
  auto* found = find_api_key(*keys, *key);
  REQUIRE(found);
  CHECK(found->name == "shop");
  CHECK(found->rate == 5);
  CHECK(found->may(scope::write));
  CHECK_FALSE(found->may(scope::admin));
  std::stringstream text;
  text << std::ifstream{file}.rdbuf();
  CHECK(text.str().find(key->substr(13)) == std::string::npos);
}

TEST_CASE("a wrong, a cut and a revoked key are nobody's") {
  testing::temp_dir dir;
  auto file = dir / "api-keys.toml";
  auto key = *create_api_key(file, "a", *parse_scopes("admin"), 0);
  auto wrong = key;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  auto keys = *read_api_keys(file);
  CHECK(find_api_key(keys, key)->may(scope::read));
  CHECK_FALSE(find_api_key(keys, wrong));
  CHECK_FALSE(find_api_key(keys, key.substr(0, 40)));
  CHECK_FALSE(find_api_key(keys, ""));

  REQUIRE(revoke_api_key(file, "a"));

  CHECK_FALSE(find_api_key(*read_api_keys(file), key));
  CHECK(revoke_api_key(file, "a").error().code == ec::not_found);
}

TEST_CASE("a name in use, a bad name, a bad scope and a file others may write are refused") {
  testing::temp_dir dir;
  auto file = dir / "api-keys.toml";
  REQUIRE(create_api_key(file, "a", 1, 0));

  CHECK(create_api_key(file, "a", 1, 0).error().code == ec::already_exists);
  CHECK(create_api_key(file, "a\"\n", 1, 0).error().code == ec::invalid_argument);
  CHECK_FALSE(parse_scopes("read,root"));
  CHECK_FALSE(parse_scopes(""));
  std::filesystem::permissions(file, std::filesystem::perms{0666});
  CHECK(read_api_keys(file).error().code == ec::unauthorized);
}
