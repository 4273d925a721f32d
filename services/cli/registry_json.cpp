#include "services/cli/registry_json.hpp"

#include "services/cli/json_values.hpp"

#include "common/json/parse.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace troupe::cli {

namespace json = boost::json;

namespace {

using named_texts = std::vector<std::unique_ptr<wire::NamedTextT>>;

json::object json_of_texts(const named_texts& from) {
  json::object to;
  for (auto& each : from)
    to[each->name] = each->text;
  return to;
}

json::array json_of_gate(const std::vector<std::unique_ptr<wire::GateCheckT>>& from) {
  json::array to;
  for (auto& each : from)
    to.push_back(json::object{{"metric", each->metric},
                              {"value", json_number(each->value)},
                              {"bound", json_number(each->bound)},
                              {"against", each->against},
                              {"passed", each->passed},
                              {"reason", each->reason}});
  return to;
}

/// A manifest as it was registered; as text where it is damaged.
json::value manifest(const std::string& text) {
  auto value = parse_json(text);
  return value ? std::move(*value) : json::value(text);
}

std::string_view state_name(wire::RunState state) {
  static constexpr std::string_view names[] = {"running", "done", "failed", "canceled"};
  auto index = static_cast<std::size_t>(state);
  return index < std::size(names) ? names[index] : "unknown";
}

} // namespace

json::object to_json(const wire::RunT& run) {
  json::object metrics;
  for (auto& each : run.metrics)
    metrics[each->name] = json::object{{"points", each->points},
                                       {"last_step", each->last_step},
                                       {"last", json_number(each->last)},
                                       {"least", json_number(each->least)},
                                       {"most", json_number(each->most)}};
  return {{"run_id", run.run_id},
          {"experiment", run.experiment},
          {"name", run.name},
          {"state", state_name(run.state)},
          {"error", run.error},
          {"created", json_instant(run.created)},
          {"ended", json_instant(run.ended)},
          {"parameters", json_of_texts(run.parameters)},
          {"tags", json_of_texts(run.tags)},
          {"artefacts", json_of_texts(run.artefacts)},
          {"metrics", std::move(metrics)}};
}

json::object to_json(const wire::MetricPointT& point) {
  return {{"step", point.step}, {"value", json_number(point.value)}, {"at", json_instant(point.at)}};
}

json::object to_json(const wire::ModelVersionT& version) {
  json::array aliases;
  for (auto& each : version.aliases)
    aliases.push_back(json::value(each));
  return {{"name", version.name},
          {"version", version.version},
          {"manifest_sha256", version.manifest_sha256},
          {"created", json_instant(version.created)},
          {"aliases", std::move(aliases)},
          {"tags", json_of_texts(version.tags)},
          {"gate", json_of_gate(version.gate)},
          {"manifest", manifest(version.manifest)}};
}

json::object to_json(const wire::ReleaseT& release) {
  return {{"id", release.id},
          {"name", release.name},
          {"created", json_instant(release.created)},
          {"gate", json_of_gate(release.gate)},
          {"manifest", manifest(release.manifest)}};
}

std::string pretty(const json::value& from, int indent) {
  std::string inner(static_cast<std::size_t>(indent) + 2, ' ');
  std::string outer(static_cast<std::size_t>(indent), ' ');
  if (auto* object = from.if_object(); object != nullptr && !object->empty()) {
    std::string out = "{\n";
    for (auto& [key, value] : *object)
      out += inner + json::serialize(json::string_view{key}) + ": " + pretty(value, indent + 2) + ",\n";
    out.erase(out.size() - 2);
    return out + "\n" + outer + "}";
  }
  if (auto* array = from.if_array(); array != nullptr && !array->empty()) {
    std::string out = "[\n";
    for (auto& value : *array)
      out += inner + pretty(value, indent + 2) + ",\n";
    out.erase(out.size() - 2);
    return out + "\n" + outer + "]";
  }
  return json::serialize(from);
}

} // namespace troupe::cli
