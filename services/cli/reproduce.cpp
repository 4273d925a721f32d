#include "services/cli/reproduce.hpp"

#include "services/cli/registry_client.hpp"
#include "services/cli/training_run.hpp"

#include "common/artefact/canonical.hpp"
#include "common/artefact/transfer.hpp"
#include "common/config/section.hpp"
#include "common/core/hash.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/json/fields.hpp"

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

std::vector<std::string> texts_in(const json::object& from, std::string_view key) {
  std::vector<std::string> out;
  if (auto* list = find_array(from, key))
    for (auto& each : *list)
      if (each.is_string())
        out.emplace_back(each.get_string());
  return out;
}

/// The order that trains the same model from the same data.
expected<std::string> order_from(const json::object& manifest, const std::string& name) {
  TROUPE_TRY(config, text_at(manifest, "config"));
  TROUPE_TRY(about, object_at(manifest, "data"));
  TROUPE_TRY(source, text_at(*about, "source"));
  TROUPE_TRY(hash, text_at(*about, "sha256"));
  auto order = fmt::format("{}[run]\nname = {}\nexperiment = \"reproduce\"\nregister = false\nranks = {}\n"
                           "data_sha256 = \"{}\"\n",
                           config, to_text(name), whole_or(manifest, "ranks", 1), hash);
  if (source != "training-set") // the configuration names that one
    order += fmt::format("data = {}\n", to_text(source));
  for (auto* key : {"event_types", "exclude_arms"})
    if (auto texts = texts_in(*about, key); !texts.empty())
      order += fmt::format("{} = {}\n", key, to_text(texts));
  std::vector<std::string> offsets;
  if (auto* list = find_array(*about, "offsets"))
    for (auto& each : *list)
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
  TROUPE_TRY(manifest, parse_json_object(version.manifest, "the manifest of the model"));
  TROUPE_TRY(before, text_at(manifest, "weights.sha256"));
  TROUPE_TRY(order, order_from(manifest, version.name));
  out.before = std::move(before);
  out.run = fmt::format("reproduce-{}-{}-{}", version.name, version.version, micros_of(wall_now()));
  TROUPE_TRY(begun, start_run(with, out.run, order, fmt::format("{}:{}", version.name, version.version)));
  TROUPE_TRY(last, follow_run(with, std::string{text_of(begun->run_id())}));
  if (last->state() != wire::TrainState::done)
    return fail(ec::unavailable, "run {} did not end well: {}", out.run, text_of(last->error()));
  TROUPE_TRY(made, parse_json_object(text_of(last->manifest()), "the manifest of the new run"));
  TROUPE_TRY(now, text_at(made, "weights.sha256"));
  out.now = std::move(now);
  auto* binary = manifest.if_contains("binary");
  auto* binary_now = made.if_contains("binary");
  out.same_binary = binary != nullptr && binary_now != nullptr && *binary == *binary_now;
  TROUPE_TRY(files, object_at(made, "files"));
  out.files = *files;
  return out;
}

json::object trained_json(const trained_again& of) {
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
    std::cout << json::serialize(trained_json(made)) << '\n';
  else
    print(made);
  if (!made.equal())
    with.say_no();
  return {};
}

/// Fetches what a release holds beside its models (its rules): the hash is checked on the way.
expected<void> check_blob(context& with, std::string_view path, const json::value& about) {
  auto hash = about.is_object() ? text_or(about.get_object(), "sha256") : std::string{};
  TROUPE_TRY(client, with.client("registry"));
  auto folder = std::filesystem::temp_directory_path() / fmt::format("troupe-reproduce-{}", ::getpid());
  auto got = artefact::download(*client, hash, folder / "blob");
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (!got)
    return with_context(fmt::format("fetching {} of the release", path), std::move(got).error());
  return {};
}

expected<void> reproduce_release(context& with, const wire::ReleaseT& release) {
  TROUPE_TRY(manifest, parse_json_object(release.manifest, "the manifest of the release"));
  TROUPE_TRY(models, array_at(manifest, "models"));
  TROUPE_TRY(files, object_at(manifest, "files"));
  json::object bundle;
  json::array made_again;
  std::vector<std::string> folders;
  for (auto& each : *models) {
    auto entry = each.is_object() ? each.get_object() : json::object{};
    auto name = text_or(entry, "name"), hash = text_or(entry, "manifest_sha256");
    TROUPE_TRY(version, model_version(with, name + ":" + hash));
    auto made = train_again(with, version);
    if (!made)
      return with_context(
          fmt::format("training {}:{} of release {} again", name, version.version, release.id.substr(0, 12)),
          std::move(made).error());
    folders.push_back(text_or(entry, "path") + "/");
    for (auto& [file, about] : made->files)
      bundle[folders.back() + std::string{file}] = about;
    made_again.push_back(trained_json(*made));
    if (!with.json)
      print(*made);
  }
  for (auto& [path, about] : *files) {
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
