#include "services/ranker/release/bundle_fetcher.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::ranker;

TEST_CASE("of fetched bundles those that nobody needs go, and a damaged one goes with its files") {
  troupe::testing::temp_dir dir;
  auto data = dir / "data";
  auto write = [](const std::filesystem::path& to, const std::string& text) {
    std::filesystem::create_directories(to.parent_path());
    std::ofstream{to} << text;
  };
  auto fetched = [&](const std::string& weights) {
    auto sha = sha256_hex(as_bytes(weights));
    auto manifest = fmt::format(
        R"({{"format":1,"name":"r","models":[{{"name":"m","kind":"popularity","path":"m"}}],"files":{{"m/weights":{{"sha256":"{}","bytes":{}}}}}}})",
        sha, weights.size());
    auto id = sha256_hex(as_bytes(manifest));
    write(data / "blobs" / sha, weights);
    write(data / "releases" / id / "release.json", manifest);
    std::filesystem::create_directories(data / "releases" / id / "m");
    std::filesystem::create_hard_link(data / "blobs" / sha, data / "releases" / id / "m" / "weights");
    return std::pair{id, data / "blobs" / sha};
  };
  auto [old_id, old_blob] = fetched("old");
  auto [id, blob] = fetched("new");
  bundle_fetcher store{data, {}, nullptr, std::chrono::seconds{1}};

  store.keep_only({id});

  CHECK(!store.fetch(old_id));
  CHECK(!std::filesystem::exists(old_blob));
  CHECK(store.fetch(id));
  CHECK(std::filesystem::exists(blob));

  std::ofstream{blob, std::ios::app} << "and more";
  store.forget(id);

  CHECK(store.fetch(id).error().code == ec::not_found); // there is no registry to fetch it from again
  CHECK(!std::filesystem::exists(blob));
}
