#include "services/deployer/aliases.hpp"

#include "schemas/registry_generated.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

using namespace troupe;
using namespace troupe::deployer;

namespace {

/// Releases, versions and aliases as the registry keeps them.
struct registry {
  std::map<std::string, std::string> manifests;                          ///< By release.
  std::map<std::pair<std::string, std::string>, std::uint64_t> versions; ///< By model and hash.
  std::map<std::string, std::uint64_t> production;                       ///< By model.
  int changes = 0;

  template <class Table>
  static chunk written(const typename Table::NativeTableType& value) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(Table::Pack(out, &value), "TRPR");
    return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  }

  chunk answer(const alias_task::question& asked) {
    auto* bytes = asked.payload.data();
    if (asked.kind == wire::Kind::release_show) {
      wire::ReleaseT out;
      out.id = flatbuffers::GetRoot<wire::ReleaseQuery>(bytes)->id()->str();
      out.manifest = manifests.at(out.id);
      return written<wire::Release>(out);
    }
    wire::ModelVersionT out;
    if (asked.kind == wire::Kind::model_show) {
      auto* query = flatbuffers::GetRoot<wire::ModelQuery>(bytes);
      out.name = query->name()->str();
      out.version = versions.at({out.name, query->version()->str()});
    } else {
      auto* change = flatbuffers::GetRoot<wire::ModelChange>(bytes);
      out.name = change->name()->str();
      out.version = change->version();
      ++changes;
      if (change->set_aliases() && change->set_aliases()->size() > 0)
        production[out.name] = out.version;
      else if (production[out.name] == out.version)
        production.erase(out.name);
    }
    if (auto found = production.find(out.name); found != production.end() && found->second == out.version)
      out.aliases.emplace_back("production");
    return written<wire::ModelVersion>(out);
  }

  /// False when it was cut short after `most` questions.
  bool run(alias_task task, int most = 1'000) {
    for (; most > 0; --most) {
      auto next = task.next();
      if (!next)
        return true;
      auto took = task.on_answer(answer(*next));
      REQUIRE(took);
    }
    return false;
  }
};

registry two_releases() {
  registry out;
  out.manifests["old"] =
      R"({"models":[{"name":"popular","manifest_sha256":"p1"},{"name":"ease","manifest_sha256":"e1"}]})";
  out.manifests["new"] =
      R"({"models":[{"name":"ease","manifest_sha256":"e2"},{"name":"als","manifest_sha256":"a1"}]})";
  out.versions = {{{"popular", "p1"}, 1}, {{"ease", "e1"}, 1}, {{"ease", "e2"}, 2}, {{"als", "a1"}, 1}};
  return out;
}

} // namespace

TEST_CASE("the alias production moves to the models of a release, away from those it has no more, and back") {
  auto in = two_releases();
  REQUIRE(in.run({"old", ""}));
  CHECK(in.production == std::map<std::string, std::uint64_t>{{"ease", 1}, {"popular", 1}});

  REQUIRE(in.run({"new", "old"}));
  CHECK(in.production == std::map<std::string, std::uint64_t>{{"als", 1}, {"ease", 2}});
  auto before = in.changes;
  REQUIRE(in.run({"new", "old"}));
  CHECK(in.changes == before);

  REQUIRE(in.run({"old", "new"}));
  CHECK(in.production == std::map<std::string, std::uint64_t>{{"ease", 1}, {"popular", 1}});
  REQUIRE(in.run({"", "old"}));
  CHECK(in.production.empty());
}

TEST_CASE("cut short after any question and begun again the aliases end where they should") {
  for (int cut = 0; cut < 12; ++cut) {
    auto in = two_releases();
    REQUIRE(in.run({"old", ""}));

    (void)in.run({"new", "old"}, cut);
    REQUIRE(in.run({"new", "old"}));

    CHECK(in.production == std::map<std::string, std::uint64_t>{{"als", 1}, {"ease", 2}});
  }
}

TEST_CASE("an answer that is none, or names no models, is refused") {
  alias_task task{"new", ""};
  CHECK(task.on_answer(chunk::own("nothing that the registry says")).error().code == ec::corrupt);
  auto in = two_releases();
  in.manifests["new"] = "{}";
  CHECK(task.on_answer(in.answer(*task.next())).error().code == ec::corrupt);
  in.manifests["new"] = R"({"models":[{"name":"ease"}]})";
  CHECK(task.on_answer(in.answer(*task.next())).error().code == ec::corrupt);
}
