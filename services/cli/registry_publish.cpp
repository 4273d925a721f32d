#include "services/cli/registry_client.hpp"
#include "services/cli/registry_commands.hpp"
#include "services/cli/registry_json.hpp"
#include "services/cli/release_parts.hpp"

#include "common/artefact/canonical.hpp"
#include "common/artefact/transfer.hpp"
#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/core/plain_name.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

namespace troupe::cli {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

/// A line on a terminal that shows how far a file is.
artefact::on_progress bar_of(const fs::path& file) {
  if (!stderr_is_terminal())
    return {};
  return [name = file.filename().string()](std::uint64_t done, std::uint64_t all) {
    std::cerr << fmt::format("\r{:<32} {:>5.1f} of {:.1f} MiB{}", name, static_cast<double>(done) / (1 << 20),
                             static_cast<double>(all) / (1 << 20), done == all ? "\n" : "");
  };
}

json::object file_entry(const file_hash& of) {
  return {{"sha256", of.sha256}, {"bytes", of.bytes}};
}

struct register_options {
  std::string folder, name;
  std::vector<std::string> tags;
  bool skip_gate = false;
};

void print_version(context& with, const wire::ModelVersionT& version) {
  if (with.json) {
    std::cout << json::serialize(to_json(version)) << '\n';
    return;
  }
  std::cout << fmt::format("{}:{}  manifest {}\n", version.name, version.version,
                           version.manifest_sha256.substr(0, 16));
  for (auto& line : version.gate)
    std::cout << fmt::format("  gate {}: {}\n", line->passed ? "passed" : "SKIPPED", line->reason);
}

expected<void> register_model(context& with, const register_options& options) {
  if (!is_plain_name(options.name)) // Before the files are sent.
    return with.wrong_usage(
        fmt::format("a model is not called '{}': 1 to 128 letters, digits, - _ and ., the first "
                    "no dot",
                    options.name));
  fs::path folder{options.folder};
  TROUPE_TRY(manifest, read_json_object(folder / "model.json"));
  TROUPE_TRY(client, with.client("registry"));
  json::object files;
  std::error_code failed;
  std::vector<fs::path> paths;
  for (fs::recursive_directory_iterator at{folder, failed}, end; !failed && at != end; at.increment(failed))
    if (at->is_regular_file())
      paths.push_back(at->path());
  if (failed)
    return fail(errno_code(failed.value()), "cannot list {}: {}", folder.string(), failed.message());
  std::ranges::sort(paths);
  for (auto& path : paths) {
    TROUPE_TRY(sent, artefact::upload(*client, path, bar_of(path)));
    files[path.lexically_relative(folder).generic_string()] = file_entry(sent);
  }
  manifest["files"] = std::move(files);
  wire::ModelRegisterT question;
  question.name = options.name;
  question.manifest = artefact::canonical(manifest);
  question.skip_gate = options.skip_gate;
  for (auto& each : options.tags) {
    auto equals = each.find('=');
    if (equals == each.npos)
      return with.wrong_usage(fmt::format("a tag is NAME=TEXT, got '{}'", each));
    auto tag = std::make_unique<wire::NamedTextT>();
    tag->name = each.substr(0, equals);
    tag->text = each.substr(equals + 1);
    question.tags.push_back(std::move(tag));
  }
  TROUPE_TRY(version, (ask_registry<wire::ModelVersion, wire::ModelRegister>(with, wire::Kind::model_register,
                                                                             question)));
  print_version(with, version);
  return {};
}

struct build_options {
  std::string name, rules, warmup;
  std::vector<std::string> models;
  bool skip_gate = false;
};

expected<void> add_file(context& with, json::object& files, const std::string& as, const std::string& path) {
  if (path.empty())
    return {};
  TROUPE_TRY(client, with.client("registry"));
  TROUPE_TRY(sent, artefact::upload(*client, path, bar_of(path)));
  files[as] = file_entry(sent);
  return {};
}

/// Adds the versions of views that a model was trained on: one release cannot have two of one view.
expected<void> add_views(json::object& to, const json::object& model, std::string_view name) {
  auto* views = model.if_contains("views");
  if (views == nullptr || !views->is_object())
    return {};
  for (auto& [view, version] : views->get_object()) {
    auto [at, is_new] = to.emplace(view, version);
    if (!is_new && at->value() != version)
      return fail(ec::conflict, "model '{}' was trained on view {} {}, another model of the release on {}",
                  name, std::string_view{view}, json::serialize(version), json::serialize(at->value()));
  }
  return {};
}

/// What the models are given and give: a ranker that does not know one of these refuses the release.
json::object signature_of(const json::object& views) {
  json::array inputs{"history", "user"};
  for (auto& [view, version] : views)
    inputs.push_back(json::value(std::string{view} + ".*"));
  return {{"inputs", std::move(inputs)}, {"outputs", json::array{"scores"}}};
}

expected<void> build_release(context& with, const build_options& options) {
  if (!options.rules.empty()) {
    TROUPE_TRY(rules, read_file(options.rules));
    TROUPE_TRY(fleet, with.catalog());
    TROUPE_CHECK(check_release_rules(rules, options.rules, *fleet));
  }
  json::array models;
  json::object files, views;
  json::array parents;
  for (auto& each : options.models) {
    TROUPE_TRY(wanted, parse_release_model(each));
    TROUPE_TRY(version, model_version(with, wanted.model));
    TROUPE_TRY(document, parse_json(version.manifest));
    auto& manifest = document.as_object();
    auto path = "models/" + version.name;
    if (std::ranges::any_of(models, [&](auto& there) { return there.at("path").as_string() == path; }))
      return fail(ec::invalid_argument, "model '{}' is given twice", version.name);
    for (auto& [file, about] : manifest.at("files").as_object())
      files[path + "/" + std::string{file}] = about;
    TROUPE_CHECK(add_views(views, manifest, version.name));
    auto* kind = manifest.if_contains("kind");
    models.push_back(json::object{{"name", version.name},
                                  {"kind", kind != nullptr ? *kind : json::value{}},
                                  {"version", version.version},
                                  {"manifest_sha256", version.manifest_sha256},
                                  {"path", path},
                                  {"weight", wanted.weight},
                                  {"role", wanted.role}});
    parents.push_back(json::value(version.manifest_sha256));
  }
  TROUPE_CHECK(add_file(with, files, "rules.toml", options.rules));
  TROUPE_CHECK(add_file(with, files, "warmup.jsonl", options.warmup));
  json::object manifest{{"format", 1},
                        {"name", options.name},
                        {"models", std::move(models)},
                        {"files", std::move(files)},
                        {"signature", signature_of(views)},
                        {"views", std::move(views)},
                        {"parents", std::move(parents)}};
  wire::ReleaseRegisterT question;
  question.name = options.name;
  question.manifest = artefact::canonical(manifest);
  question.skip_gate = options.skip_gate;
  TROUPE_TRY(release, (ask_registry<wire::Release, wire::ReleaseRegister>(with, wire::Kind::release_register,
                                                                          question)));
  if (with.json) {
    std::cout << json::serialize(to_json(release)) << '\n';
    return {};
  }
  std::cout << fmt::format("release {}  {}\n", release.id, release.name);
  for (auto& line : release.gate)
    std::cout << fmt::format("  gate {}: {}\n", line->passed ? "passed" : "SKIPPED", line->reason);
  return {};
}

/// Fetches every file of a manifest and compares its hash; says which is wrong.
expected<void> verify_files(context& with, const std::string& manifest_text, const std::string& what) {
  TROUPE_TRY(client, with.client("registry"));
  auto folder = fs::temp_directory_path() / fmt::format("troupe-verify-{}", ::getpid());
  TROUPE_TRY(document, parse_json(manifest_text));
  auto& manifest = document.as_object();
  json::array wrong;
  std::size_t right = 0;
  for (auto& [path, about] : manifest.at("files").as_object()) {
    auto hash = std::string{about.at("sha256").as_string()};
    auto got = artefact::download(*client, hash, folder / "blob", bar_of(std::string{path}));
    if (got)
      ++right;
    else if (got.error().code == ec::corrupt || got.error().code == ec::not_found)
      wrong.push_back(json::object{{"path", path}, {"sha256", hash}, {"error", got.error().text}});
    else
      return got;
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  if (!wrong.empty())
    with.say_no();
  if (with.json)
    std::cout << json::serialize(json::object{{"what", what}, {"right", right}, {"wrong", wrong}}) << '\n';
  else {
    std::cout << fmt::format("{}: {} files are as the manifest says\n", what, right);
    for (auto& each : wrong)
      std::cout << fmt::format("  WRONG {}: {}\n", std::string{each.at("path").as_string()},
                               std::string{each.at("error").as_string()});
  }
  return {};
}

expected<void> verify_model(context& with, const std::string& which) {
  TROUPE_TRY(version, model_version(with, which));
  return verify_files(with, version.manifest, fmt::format("{}:{}", version.name, version.version));
}

expected<void> verify_release(context& with, const std::string& id) {
  wire::ReleaseQueryT question;
  question.id = id;
  TROUPE_TRY(release,
             (ask_registry<wire::Release, wire::ReleaseQuery>(with, wire::Kind::release_show, question)));
  return verify_files(with, release.manifest, "release " + release.id.substr(0, 16));
}

expected<void> put_blob(context& with, const std::string& file) {
  TROUPE_TRY(client, with.client("registry"));
  TROUPE_TRY(sent, artefact::upload(*client, file, bar_of(file)));
  if (with.json)
    std::cout << json::serialize(file_entry(sent)) << '\n';
  else
    std::cout << fmt::format("{}  {} bytes\n", sent.sha256, sent.bytes);
  return {};
}

expected<void> get_blob(context& with, const std::string& hash, const std::string& to) {
  TROUPE_TRY(client, with.client("registry"));
  return artefact::download(*client, hash, to, bar_of(to));
}

void add_blob_commands(command_line::command& app, context& with) {
  auto* blobs = app.add_command("blobs", "Artefacts by their SHA-256");
  blobs->require_command();
  auto file = std::make_shared<std::string>();
  auto* put = blobs->add_command("put", "Send a file; prints its hash");
  put->add_option("file", *file, "File")->required()->check(command_line::existing_file());
  with.command(*put, [&with, file] { return put_blob(with, *file); });
  auto which = std::make_shared<std::pair<std::string, std::string>>();
  auto* get = blobs->add_command("get", "Fetch a blob into a file");
  get->add_option("sha256", which->first, "Hash")->required();
  get->add_option("file", which->second, "Where to")->required();
  with.command(*get, [&with, which] { return get_blob(with, which->first, which->second); });
}

} // namespace

void add_publish_commands(command_line::command& models, command_line::command& releases,
                          command_line::command& app, context& with) {
  auto publish = std::make_shared<register_options>();
  auto* register_command =
      models.add_command("register", "Send a model folder and register it as a new version");
  register_command->add_option("folder", publish->folder, "Folder with model.json and the files it speaks of")
      ->required()
      ->check(command_line::existing_folder());
  register_command->add_option("--name", publish->name, "Name of the model")->required();
  register_command->add_option("--tag", publish->tags, "NAME=TEXT");
  register_command->add_flag("--skip-gate", publish->skip_gate,
                             "Register what the quality gate stops; it is tagged so");
  with.command(*register_command, [&with, publish] { return register_model(with, *publish); });

  auto which = std::make_shared<std::string>();
  auto* verify = models.add_command("verify", "Fetch every file of a version and compare its hash");
  verify->add_option("model", *which, "name:version")->required();
  with.command(*verify, [&with, which] { return verify_model(with, *which); });

  auto release = std::make_shared<std::string>();
  auto* verify_command = releases.add_command("verify", "Fetch every file of a release and compare its hash");
  verify_command->add_option("release", *release, "Id, its first 8 digits or more, or a name")->required();
  with.command(*verify_command, [&with, release] { return verify_release(with, *release); });

  auto build = std::make_shared<build_options>();
  auto* build_command = releases.add_command("build", "Bundle registered models and rules into a release");
  build_command->add_option("--name", build->name, "Name of the release")->required();
  build_command
      ->add_option("--model", build->models,
                   "NAME[:VERSION][=WEIGHT[:ROLE]]; several make an ensemble. ROLE: retrieval (gives "
                   "candidates), score (scores them) or both")
      ->required();
  build_command->add_option("--rules", build->rules, "Candidates, filters and rules (TOML)")
      ->check(command_line::existing_file());
  build_command->add_option("--warmup", build->warmup, "Requests to warm up with (JSON lines)")
      ->check(command_line::existing_file());
  build_command->add_flag("--skip-gate", build->skip_gate, "Although a model did not pass the gate");
  with.command(*build_command, [&with, build] { return build_release(with, *build); });
  add_blob_commands(app, with);
}

} // namespace troupe::cli
