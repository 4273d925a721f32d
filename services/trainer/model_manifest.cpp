#include "services/trainer/model_manifest.hpp"

#include "services/trainer/run_folders.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/file_hash.hpp"
#include "common/core/hash.hpp"
#include "common/json/fields.hpp"

#include <boost/json/array.hpp>

namespace troupe::trainer {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

json::object data_of(const manifest_source& from) {
  auto out = from.data;
  if (!from.order.on_rows) {
    auto& run = from.order.run;
    out["event_types"] = json::array(run.event_types.begin(), run.event_types.end());
    out["exclude_arms"] = json::array(run.exclude_arms.begin(), run.exclude_arms.end());
  }
  return out;
}

json::object entry_of(const file_hash& of) {
  return {{"sha256", of.sha256}, {"bytes", of.bytes}};
}

/// Puts `files` and `weights` into the manifest.
expected<void> add_files(json::object& manifest, const fs::path& model) {
  json::object files;
  std::error_code problem;
  for (auto& each : fs::directory_iterator{model, problem}) {
    if (!each.is_regular_file())
      continue;
    auto name = each.path().filename().string();
    TROUPE_TRY(hash, hash_file(each.path()));
    files[name] = entry_of(hash);
    if (name == "weights.safetensors") {
      auto weights = entry_of(hash);
      weights["file"] = name;
      manifest["weights"] = std::move(weights);
    }
  }
  if (problem || files.empty())
    return fail(ec::corrupt, "the worker left no model in {}", model.string());
  manifest["files"] = std::move(files);
  return {};
}

/// What the model says of itself: its kind, the views whose features it reads, how its data were split.
void add_model(json::object& manifest, const fs::path& model) {
  manifest["kind"] = "unknown";
  auto about = read_json_object(model / "model.json");
  if (!about)
    return;
  manifest["kind"] = text_or(*about, "kind");
  if (auto* views = find_object(*about, "views"))
    manifest["views"] = *views;
  if (auto split = text_or(*about, "data.split"); !split.empty())
    manifest["data"].get_object()["split"] = split;
}

} // namespace

expected<std::string> model_manifest(const manifest_source& from) {
  auto& order = from.order;
  json::object manifest;
  manifest["format"] = 1;
  manifest["name"] = order.model_name;
  manifest["run"] = order.id;
  manifest["seed"] = order.seed;
  manifest["ranks"] = order.run.ranks;
  manifest["config"] = order.worker_config;
  manifest["config_sha256"] = sha256_hex(as_bytes(order.worker_config));
  auto data = data_of(from);
  auto* views = find_object(data, "views");
  manifest["views"] = views != nullptr ? *views : json::object();
  manifest["data"] = std::move(data);
  if (auto* beside = find_object(from.result, "beside"))
    manifest["beside"] = *beside;
  else if (!from.not_measured.empty())
    manifest["beside"] = json::object{{"production", json::object{{"reason", from.not_measured}}}};
  TROUPE_TRY(binary, hash_file(from.worker));
  manifest["binary"] = json::object{{"program", from.worker.filename().string()}, {"sha256", binary.sha256}};
  json::array parents;
  if (!order.parent.empty())
    parents.emplace_back(order.parent);
  manifest["parents"] = std::move(parents);
  if (auto* metrics = find_object(from.result, "metrics"))
    manifest["metrics"] = *metrics;
  if (auto why = text_or(from.result, "not_measured"); !why.empty())
    manifest["not_measured"] = why;
  TROUPE_CHECK(add_files(manifest, from.model));
  add_model(manifest, from.model);
  return artefact::canonical(manifest);
}

} // namespace troupe::trainer
