#include "services/deployer/aliases.hpp"

#include "common/json/parse.hpp"
#include "common/net/payload.hpp"

#include "schemas/registry_generated.h"

#include <boost/json/parse.hpp>

#include <algorithm>

namespace troupe::deployer {

namespace json = boost::json;

namespace {

template <class Table>
chunk question_bytes(const typename Table::NativeTableType& value) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Table::Pack(out, &value), "TRPR");
  return net::bytes_of(out);
}

template <class Table>
expected<typename Table::NativeTableType> read_answer(const chunk& payload, const char* name) {
  TROUPE_TRY(table, net::read_as<Table>(payload, "TRPR", name));
  typename Table::NativeTableType value;
  table->UnPackTo(&value);
  return value;
}

} // namespace

alias_task::alias_task(std::string to, std::string from) {
  if (!to.empty())
    releases_.emplace_back(std::move(to), true);
  if (!from.empty())
    releases_.emplace_back(std::move(from), false);
}

std::optional<alias_task::question> alias_task::next() const {
  if (!releases_.empty()) {
    wire::ReleaseQueryT ask;
    ask.id = releases_.front().first;
    return question{wire::Kind::release_show, question_bytes<wire::ReleaseQuery>(ask)};
  }
  if (models_.empty())
    return std::nullopt;
  auto& first = models_.front();
  if (first.version == 0) {
    wire::ModelQueryT ask;
    ask.name = first.name;
    ask.version = first.hash;
    return question{wire::Kind::model_show, question_bytes<wire::ModelQuery>(ask)};
  }
  wire::ModelChangeT ask;
  ask.name = first.name;
  ask.version = first.version;
  (first.set ? ask.set_aliases : ask.remove_aliases).emplace_back(production_alias);
  return question{wire::Kind::model_change, question_bytes<wire::ModelChange>(ask)};
}

expected<void> alias_task::on_answer(const chunk& payload) {
  if (!releases_.empty())
    return on_release(payload);
  if (models_.empty())
    return fail(ec::internal, "an answer came that nobody asked for");
  return on_version(payload);
}

expected<void> alias_task::on_release(const chunk& payload) {
  TROUPE_TRY(release, read_answer<wire::Release>(payload, "Release"));
  auto manifest = parse_json(release.manifest);
  auto* fields = manifest ? manifest->if_object() : nullptr;
  auto* list = fields == nullptr ? nullptr : fields->if_contains("models");
  if (list == nullptr || !list->is_array())
    return fail(ec::corrupt, "the manifest of release {} names no models", release.id.substr(0, 12));
  auto set = releases_.front().second;
  for (auto& each : list->get_array()) {
    auto text = [&](const char* key) -> std::string {
      auto* object = each.if_object();
      auto* value = object != nullptr ? object->if_contains(key) : nullptr;
      return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
    };
    model made{text("name"), text("manifest_sha256"), 0, set};
    if (made.name.empty() || made.hash.empty())
      return fail(ec::corrupt, "a model in the manifest of release {} has no name or hash",
                  release.id.substr(0, 12));
    bool kept = !set && std::ranges::any_of(
                            models_, [&](auto& other) { return other.set && other.name == made.name; });
    if (!kept)
      models_.push_back(std::move(made));
  }
  releases_.pop_front();
  return {};
}

expected<void> alias_task::on_version(const chunk& payload) {
  TROUPE_TRY(version, read_answer<wire::ModelVersion>(payload, "ModelVersion"));
  auto& first = models_.front();
  bool changed = std::exchange(first.version, version.version) != 0;
  bool has = std::ranges::find(version.aliases, production_alias) != version.aliases.end();
  if (changed || has == first.set)
    models_.pop_front();
  return {};
}

} // namespace troupe::deployer
