#include "services/cli/reproduce.hpp"

#include "services/cli/registry_client.hpp"
#include "services/cli/training_run.hpp"

#include "common/artefact/canonical.hpp"
#include "common/artefact/transfer.hpp"
#include "common/config/section.hpp"
#include "common/core/hash.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/json/parse.hpp"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <vector>

namespace troupe::cli {

namespace json = boost::json;

namespace {

expected<std::string> text_in(const json::object& from, std::string_view key) {
  auto* value = from.if_contains(key);
  if (value == nullptr || !value->is_string())
    return fail(ec::corrupt, "the manifest does not say its {}", key);
  return std::string{value->get_string()};
}

expected<std::string> weights_of(const json::object& manifest) {
  auto* weights = manifest.if_contains("weights");
  if (weights == nullptr || !weights->is_object())
    return fail(ec::corrupt, "the manifest names no weights");
  return text_in(weights->get_object(), "sha256");
}

expected<json::object> manifest_of(const std::string& text) {
  auto value = parse_json(text);
  if (!value || !value->is_object())
    return fail(ec::corrupt, "the manifest is not a JSON object");
  return std::move(value->get_object());
}

std::vector<std::string> texts_in(const json::object& from, std::string_view key) {
  std::vector<std::string> out;
  if (auto* list = from.if_contains(key); list != nullptr && list->is_array())
    for (auto& each : list->get_array())
      if (each.is_string())
        out.emplace_back(each.get_string());
  return out;
}

/// The order that trains the same model from the same data.
expected<std::string> order_from(const json::object& manifest, const std::string& name) {
  TROUPE_TRY(config, text_in(manifest, "config"));
  auto* data = manifest.if_contains("data");
  if (data == nullptr || !data->is_object())
    return fail(ec::corrupt, "the manifest does not say its data");
  auto& about = data->get_object();
  TROUPE_TRY(source, text_in(about, "source"));
  TROUPE_TRY(hash, text_in(about, "sha256"));
  auto* ranks = manifest.if_contains("ranks");
  auto order =
      fmt::format("{}[run]\nname = {}\nexperiment = \"reproduce\"\nregister = false\nranks = {}\n"
                  "data_sha256 = \"{}\"\n",
                  config, to_text(name),
                  ranks != nullptr && ranks->is_number() ? ranks->to_number<std::int64_t>() : 1, hash);
  if (source != "training-set") // the configuration names that one
    order += fmt::format("data = {}\n", to_text(source));
  for (auto* key : {"event_types", "exclude_arms"})
    if (auto texts = texts_in(about, key); !texts.empty())
      order += fmt::format("{} = {}\n", key, to_text(texts));
  std::vector<std::string> offsets;
  if (auto* list = about.if_contains("offsets"); list != nullptr && list->is_array())
    for (auto& each : list->get_array())
      if (each.is_number())
        offsets.push_back(std::to_string(each.to_number<std::uint64_t>()));
  if (!offsets.empty())
    order += fmt::format("offsets = {}\n", to_text(offsets));
  return order;
}

/// What came of training a model again.
struct trained_again {
  std::string model, run, before, now; ///< before, now: hashes of the weights.
  std::uint64_t version = 0;
  bool same_binary = false;
  json::object files; ///< Of the new model folder: path to {sha256, bytes}.

  bool equal() const { return before == now; }
};

expected<trained_again> train_again(context& with, const wire::ModelVersionT& version) {
  trained_again out;
  out.model = version.name;
  out.version = version.version;
  TROUPE_TRY(manifest, manifest_of(version.manifest));
  TROUPE_TRY(before, weights_of(manifest));
  TROUPE_TRY(order, order_from(manifest, version.name));
  out.before = std::move(before);
  out.run = fmt::format("reproduce-{}-{}-{}", version.name, version.version, micros_of(wall_now()));
  TROUPE_TRY(begun, start_run(with, out.run, order, fmt::format("{}:{}", version.name, version.version)));
  TROUPE_TRY(last, follow_run(with, std::string{text_of(begun->run_id())}));
  if (last->state() != wire::TrainState::done)
    return fail(ec::unavailable, "run {} did not end well: {}", out.run, text_of(last->error()));
  TROUPE_TRY(made, manifest_of(std::string{text_of(last->manifest())}));
  TROUPE_TRY(now, weights_of(made));
  out.now = std::move(now);
  auto* binary = manifest.if_contains("binary");
  auto* binary_now = made.if_contains("binary");
  out.same_binary = binary != nullptr && binary_now != nullptr && *binary == *binary_now;
  if (auto* files = made.if_contains("files"); files != nullptr && files->is_object())
    out.files = std::move(files->get_object());
  return out;
}

json::object to_json(const trained_again& of) {
  return {{"model", of.model},    {"version", of.version},         {"run", of.run},
          {"equal", of.equal()},  {"same_binary", of.same_binary}, {"weights_before", of.before},
          {"weights_now", of.now}};
}

void print(const trained_again& of) {
  fmt::print("{}:{} {}: weights {} then, {} now{}\n", of.model, of.version,
             of.equal() ? "is reproduced" : "is NOT reproduced", of.before, of.now,
             of.same_binary ? "" : "; the worker program is another one than then");
}

expected<void> reproduce_model(context& with, const wire::ModelVersionT& version) {
  TROUPE_TRY(made, train_again(with, version));
  if (with.json)
    std::cout << json::serialize(to_json(made)) << '\n';
  else
    print(made);
  if (!made.equal())
    with.say_no();
  return {};
}

/// Fetches what a release holds beside its models (its rules): the hash is checked on the way.
expected<void> check_blob(context& with, std::string_view path, const json::value& about) {
  auto* fields = about.if_object();
  auto hash = fields != nullptr ? artefact::text_at(*fields, "sha256") : std::string{};
  TROUPE_TRY(client, with.client("registry"));
  auto folder = std::filesystem::temp_directory_path() / fmt::format("troupe-reproduce-{}", ::getpid());
  auto got = artefact::download(*client, hash, folder / "blob");
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (!got)
    return fail_while(fmt::format("fetching {} of the release", path), std::move(got).error());
  return {};
}

expected<void> reproduce_release(context& with, const wire::ReleaseT& release) {
  TROUPE_TRY(manifest, manifest_of(release.manifest));
  auto* models = manifest.if_contains("models");
  auto* files = manifest.if_contains("files");
  if (models == nullptr || !models->is_array() || files == nullptr || !files->is_object())
    return fail(ec::corrupt, "the manifest of release {} lists no models or no files", release.id);
  json::object bundle;
  json::array made_again;
  std::vector<std::string> folders;
  for (auto& each : models->get_array()) {
    auto* entry = each.if_object();
    auto name = entry != nullptr ? artefact::text_at(*entry, "name") : std::string{};
    auto hash = entry != nullptr ? artefact::text_at(*entry, "manifest_sha256") : std::string{};
    TROUPE_TRY(version, model_version(with, name + ":" + hash));
    auto made = train_again(with, version);
    if (!made)
      return fail_while(
          fmt::format("training {}:{} of release {} again", name, version.version, release.id.substr(0, 12)),
          std::move(made).error());
    folders.push_back(artefact::text_at(*entry, "path") + "/");
    for (auto& [file, about] : made->files)
      bundle[folders.back() + std::string{file}] = about;
    made_again.push_back(to_json(*made));
    if (!with.json)
      print(*made);
  }
  for (auto& [path, about] : files->get_object()) {
    bool of_model =
        std::ranges::any_of(folders, [&](auto& each) { return std::string_view{path}.starts_with(each); });
    if (of_model)
      continue;
    TROUPE_CHECK(check_blob(with, std::string_view{path}, about));
    bundle[path] = about;
  }
  manifest["files"] = std::move(bundle);
  auto rebuilt = sha256_hex(as_bytes(artefact::canonical(manifest)));
  bool equal = rebuilt == release.id;
  if (with.json)
    std::cout << json::serialize(json::object{{"release", release.id},
                                              {"name", release.name},
                                              {"rebuilt", rebuilt},
                                              {"equal", equal},
                                              {"models", std::move(made_again)}})
              << '\n';
  else
    fmt::print("release {} {}: {} then, {} now\n", release.name,
               equal ? "is reproduced" : "is NOT reproduced", release.id, rebuilt);
  if (!equal)
    with.say_no();
  return {};
}

} // namespace

expected<void> reproduce(context& with, const std::string& what) {
  auto model = model_version(with, what);
  if (!model && model.error().code != ec::not_found)
    return unexpected<error>{std::move(model).error()};
  if (what.find(':') != std::string::npos)
    return model ? reproduce_model(with, *model) : unexpected<error>{std::move(model).error()};
  wire::ReleaseQueryT question;
  question.id = what;
  auto release = ask_registry<wire::Release, wire::ReleaseQuery>(with, wire::Kind::release_show, question);
  if (!release && release.error().code != ec::not_found)
    return unexpected<error>{std::move(release).error()};
  if (model && release)
    return fail(ec::conflict, "'{}' is a model and a release: say {}:{} or {}", what, what, model->version,
                release->id.substr(0, 16));
  if (!model && !release)
    return fail(ec::not_found, "there is neither a model nor a release '{}'", what);
  return model ? reproduce_model(with, *model) : reproduce_release(with, *release);
}

} // namespace troupe::cli
