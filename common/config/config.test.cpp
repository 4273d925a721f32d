#include "common/config/keys.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

struct sample {
  std::uint32_t partitions = 8;
  std::chrono::milliseconds wait{1};
  std::uint64_t cache = 64 << 20;
  double ratio = 0.5;
  std::string policy = "drop";
  std::vector<std::string> names;
  bool strict = true;

  void bind(config_keys& keys) {
    keys.add("partitions", partitions, "Partitions of the log.", between(1, 1024));
    keys.add("wait", wait, "How long to wait.", between(0ms, 100ms));
    keys.add("cache.bytes", cache, "Block cache.", at_least(1 << 20), "bytes");
    keys.add("ratio", ratio, "A share.", between(0, 1));
    keys.add("policy", policy, "When full.", one_of({"drop", "block"}));
    keys.add("names", names, "Who.");
    keys.add("strict", strict, "Whether.");
  }
  expected<void> validate() const {
    if (strict && ratio > 0.9)
      return fail(ec::invalid_argument, "ratio = {} needs strict = false", ratio);
    return {};
  }
};

std::string error_of(std::string_view toml) {
  auto section = parse_config(toml, "a.toml");
  REQUIRE(section);
  auto loaded = load_config<sample>(*section);
  return loaded ? "" : loaded.error().text;
}

} // namespace

TEST_CASE("a configuration struct takes every kind of value from TOML") {
  auto section = parse_config(R"(
partitions = 16
wait = "20ms"
ratio = 1
policy = "block"
names = ["a", "b"]
strict = false
[cache]
bytes = "128MiB"
)",
                              "a.toml");
  REQUIRE(section);

  auto loaded = load_config<sample>(*section);

  REQUIRE(loaded);
  CHECK(loaded->partitions == 16);
  CHECK(loaded->wait == 20ms);
  CHECK(loaded->cache == 128u << 20);
  CHECK(loaded->ratio == 1.0);
  CHECK(loaded->policy == "block");
  CHECK(loaded->names == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(loaded->strict);
}

TEST_CASE("an unknown key names itself, its value and the nearest known key") {
  CHECK(error_of("partition = 3") == "a.toml: unknown key partition = 3; did you mean partitions?");
  CHECK(error_of("colour = \"red\"").find("known keys: partitions, wait") != std::string::npos);
}

TEST_CASE("a bad value names key, value and bound") {
  CHECK(error_of("partitions = 0") == "a.toml: key partitions = 0: must be 1 to 1024");
  CHECK(error_of("partitions = -1").find("key partitions = -1: must be ") != std::string::npos);
  CHECK(error_of("partitions = \"many\"") == "a.toml: key partitions = \"many\": must be a whole number");
  CHECK(error_of("wait = \"5m\"") == "a.toml: key wait = \"5m\": must be 0s to 100ms");
  CHECK(error_of("wait = 5") == "a.toml: key wait = 5: must be a duration such as 150ms, 30s or 7d");
  CHECK(error_of("wait = \"5us\"").find("a whole number of milliseconds") != std::string::npos);
  CHECK(error_of("policy = \"spill\"") == "a.toml: key policy = \"spill\": must be one of drop, block");
  CHECK(error_of("[cache]\nbytes = \"64MoB\"").find("a text such as 64MiB") != std::string::npos);
  CHECK(error_of("ratio = nan").find("must be 0 to 1") != std::string::npos);
}

TEST_CASE("a rule between keys is checked by validate") {
  CHECK(error_of("ratio = 0.95") == "ratio = 0.95 needs strict = false");
}

TEST_CASE("nothing is written when one key is wrong") {
  sample config;
  config_keys keys;
  config.bind(keys);

  CHECK_FALSE(keys.load({"x", {{"partitions", std::int64_t{9}}, {"ratio", 7.0}}}));

  CHECK(config.partitions == 8);
}

TEST_CASE("assignments of the command line go over the file") {
  config_section section{"a.toml", {{"partitions", std::int64_t{4}}}};

  CHECK(section.set("partitions=5"));
  CHECK(section.set("wait=7ms"));
  CHECK(section.set("names=[\"x\"]"));
  CHECK(section.set("policy=block"));
  CHECK_FALSE(section.set("nothing"));

  auto loaded = load_config<sample>(section);
  REQUIRE(loaded);
  CHECK(loaded->partitions == 5);
  CHECK(loaded->wait == 7ms);
  CHECK(loaded->names == std::vector<std::string>{"x"});
  CHECK(loaded->policy == "block");
}

TEST_CASE("broken TOML is refused with file, line and column") {
  auto section = parse_config("a = 1\nb = = 2\n", "b.toml");

  REQUIRE_FALSE(section);
  CHECK(section.error().text.find("cannot read b.toml: line 2, column 5") == 0);
}

TEST_CASE("what is shown can be read back") {
  sample config;
  config_keys keys;
  config.bind(keys);

  auto again = parse_config(keys.show(), "shown");

  REQUIRE(again);
  CHECK(keys.load(*again));
  CHECK(keys.help().find("wait = \"1ms\"  (0s to 100ms)") != std::string::npos);
}

TEST_CASE("a configuration file that is not there is named") {
  testing::temp_dir folder;

  auto read = read_config(folder / "none.toml");

  REQUIRE_FALSE(read);
  CHECK(read.error().code == ec::not_found);
  CHECK(read.error().text.find("none.toml") != std::string::npos);
}
