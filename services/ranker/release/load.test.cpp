#include "services/ranker/release/load.hpp"

#include "services/ranker/release/warm_up.hpp"
#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
namespace fs = std::filesystem;

TEST_CASE("a release whose file was changed, is missing or lies outside is refused before it serves") {
  troupe::testing::temp_dir dir;
  make_release(dir.path(), "");
  CHECK(load_release(dir.path(), test_options()));
  std::ofstream{dir / "models/ease/items.txt", std::ios::app} << "g\n";
  auto changed = load_release(dir.path(), test_options());
  REQUIRE(!changed);
  CHECK(changed.error().code == ec::corrupt);
  CHECK(changed.error().text.find("models/ease/items.txt") != std::string::npos);
  fs::remove(dir / "models/ease/items.txt");
  CHECK(!load_release(dir.path(), test_options()));

  auto manifest = [](const char* text) { return parse_manifest(text); };
  CHECK(!manifest("{}"));
  CHECK(!manifest("[1"));
  CHECK(manifest(R"({"format":2})").error().code == ec::unsupported_version);
  CHECK(!manifest(R"({"format":1,"files":{"../x":{"sha256":"00","bytes":1}},"models":[]})"));
  CHECK(!manifest(R"({"format":1,"files":{},"models":[{"name":"m","kind":"ease","path":"m"}]})"));
}

TEST_CASE("a release with weights for other items than its vocabulary, or of an unknown kind, is refused") {
  troupe::testing::temp_dir dir;
  bundle few{dir / "few"};
  few.model("popularity", "a\nb\n", weights{}.add<float>("item_score", "[3]", {1, 2, 3}));
  few.done();
  CHECK(!load_release(dir / "few", test_options()));
  bundle strange{dir / "strange"};
  strange.model("oracle", "a\n", weights{}.add<float>("item_score", "[1]", {1}));
  strange.done();
  auto got = load_release(dir / "strange", test_options());
  REQUIRE(!got);
  CHECK(got.error().code == ec::unsupported_version);
  bundle broken{dir / "broken"};
  broken.model("popularity", "a\nb\n", weights{}.add<float>("item_score", "[2]", {1, std::nanf("")}));
  broken.done();
  auto loaded = load_release(dir / "broken", test_options());
  REQUIRE(loaded);
  CHECK(!warm_up(**loaded));
}

TEST_CASE("a release that was warmed up keeps its binding to items that were there before") {
  troupe::testing::temp_dir dir;
  make_release(dir.path(), "");
  auto live = snapshot_of({card("a")});
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);
  REQUIRE(warm_up(**release));

  auto first = (*release)->bindings.get(**release, live, 10);

  CHECK((*release)->bindings.get(**release, live, 11) == first);
}
