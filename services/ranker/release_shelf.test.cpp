#include "services/ranker/release_shelf.hpp"

#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
namespace fs = std::filesystem;

TEST_CASE("a release whose features the feature store does not have is refused and says why") {
  troupe::testing::temp_dir dir;
  auto id = make_dcn_release(dir / "r");
  std::promise<std::string> told;
  release_shelf shelf{
      [&](const std::string&) -> expected<fs::path> { return dir / "r"; },
      {},
      std::chrono::hours{1},
      [&](const std::string&, const error* failed) { told.set_value(failed ? failed->text : ""); },
      [](const release& with) -> expected<void> {
        return fail(ec::not_found, "there is no {}", with.item_features.at(0));
      }};

  shelf.prepare({id});

  CHECK(told.get_future().get() == "there is no item_activity.clicks");
  CHECK(!shelf.find(id));
  CHECK(shelf.entries().at(0).state == "failed");
}
