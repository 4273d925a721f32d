#include "services/ranker/release.hpp"

#include "common/core/file_hash.hpp"
#include "common/core/hash.hpp"
#include "common/json/parse.hpp"
#include "common/model/load.hpp"
#include "common/tensor/safetensors.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>

namespace troupe::ranker {

namespace json = boost::json;

namespace {

constexpr std::size_t popular_length = 5'000;

std::string text_at(const json::object& from, std::string_view key) {
  auto* value = from.if_contains(key);
  return value && value->is_string() ? std::string{value->get_string()} : std::string{};
}

double number_at(const json::object& from, std::string_view key, double standard) {
  auto* value = from.if_contains(key);
  if (!value || !value->is_number())
    return standard;
  return value->to_number<double>();
}

const json::object* object_at(const json::object& from, std::string_view key) {
  auto* value = from.if_contains(key);
  return value ? value->if_object() : nullptr;
}

bool stays_inside(std::string_view path) {
  std::filesystem::path parts{path};
  return !path.empty() && !parts.is_absolute() &&
         std::none_of(parts.begin(), parts.end(), [](auto& part) { return part == ".." || part == "."; });
}

expected<void> check_signature(const json::object& root) {
  auto* signature = object_at(root, "signature");
  if (!signature)
    return {};
  for (auto* side : {"inputs", "outputs"}) {
    auto* value = signature->if_contains(side);
    if (!value)
      continue;
    auto* list = value->if_array();
    if (!list || !std::all_of(list->begin(), list->end(), [](auto& each) { return each.is_string(); }))
      return fail(ec::corrupt, "signature.{} is no list of texts", side);
    // What the ranker gives to models and takes from them.
    static const std::array<std::string_view, 6> inputs{"user",  "history",    "session",
                                                        "items", "candidates", "context"};
    static const std::array<std::string_view, 4> outputs{"items", "score", "scores", "ranking"};
    for (auto& each : *list) {
      std::string_view name{each.get_string().data(), each.get_string().size()};
      bool input = side == std::string_view{"inputs"};
      bool known = input ? std::find(inputs.begin(), inputs.end(), name) != inputs.end() ||
                               name.find('.') != std::string_view::npos
                         : std::find(outputs.begin(), outputs.end(), name) != outputs.end();
      if (!known)
        return fail(ec::unsupported_version, "signature.{} names {}, which the ranker does not know", side,
                    name);
    }
  }
  return {};
}

expected<loaded_model>
load_model(const release_manifest::model_entry& entry, const std::filesystem::path& folder,
           const load_options& how,
           std::map<std::string, std::shared_ptr<const model::vocabulary>>& vocabularies) {
  auto place = folder / entry.path;
  TROUPE_TRY(text, read_file(place / "model.json"));
  auto parsed = parse_json(text);
  auto* about = parsed ? parsed->if_object() : nullptr;
  if (!about)
    return fail(ec::corrupt, "model.json is no JSON object");
  if (text_at(*about, "kind") != entry.kind)
    return fail(ec::corrupt, "model.json says kind {}, the release {}", text_at(*about, "kind"), entry.kind);
  auto vocabulary = [&](const char* name) -> expected<std::shared_ptr<const model::vocabulary>> {
    TROUPE_TRY(ids, read_file(place / name));
    auto& known = vocabularies[sha256_hex(as_bytes(ids))];
    if (!known) {
      TROUPE_TRY(made, model::vocabulary::parse(ids, name));
      known = std::make_shared<const model::vocabulary>(std::move(made));
    }
    return known;
  };
  loaded_model out;
  out.name = entry.name;
  out.kind = entry.kind;
  out.weight = entry.weight;
  out.scores = entry.scores;
  out.retrieves = entry.retrieves;
  TROUPE_TRY(items, vocabulary("items.txt"));
  out.items = items;
  if (std::filesystem::exists(place / "users.txt")) {
    TROUPE_TRY(users, vocabulary("users.txt"));
    out.users = users;
  }
  auto* weights = object_at(*about, "weights");
  auto file = weights ? text_at(*weights, "file") : std::string{};
  if (file.empty())
    file = "weights.safetensors";
  if (!stays_inside(file))
    return fail(ec::corrupt, "weights {} lie outside of the model", file);
  TROUPE_TRY(tensors, tensor::tensor_file::open(place / file));
  auto* config = object_at(*about, "config");
  static const json::object nothing;
  auto made = model::load_scorer(entry.kind, config ? *config : nothing, std::move(tensors));
  if (!made)
    return unexpected<error>{made.error()};
  out.scorer = std::move(*made);
  if (out.scorer->items() != 0 && out.scorer->items() != out.items->size())
    return fail(ec::corrupt, "weights are for {} items, items.txt names {}", out.scorer->items(),
                out.items->size());
  if (out.retrieves && out.scorer->width() > 0) {
    TROUPE_TRY(index,
               model::item_index::build(out.scorer->item_vectors(), out.scorer->width(), how.flat_up_to));
    out.index = std::move(index);
  }
  return out;
}

expected<std::vector<warmup_request>> read_warmup(const std::filesystem::path& path) {
  std::vector<warmup_request> out;
  if (!std::filesystem::exists(path))
    return out;
  TROUPE_TRY(text, read_file(path));
  std::size_t line = 0;
  for (std::string_view left{text}; !left.empty();) {
    auto end = std::min(left.find('\n'), left.size());
    auto row = left.substr(0, end);
    left.remove_prefix(std::min(end + 1, left.size()));
    ++line;
    if (row.find_first_not_of(" \t\r") == std::string_view::npos)
      continue;
    auto parsed = parse_json(row);
    auto* from = parsed ? parsed->if_object() : nullptr;
    if (!from)
      return fail(ec::corrupt, "warmup.jsonl: line {} is no JSON object", line);
    warmup_request request;
    request.user = text_at(*from, "user");
    for (auto* key : {"history", "session"})
      if (auto* value = from->if_contains(key); value && value->is_array())
        for (auto& each : value->get_array())
          if (each.is_string())
            request.history.emplace_back(each.get_string());
    request.n = static_cast<std::uint32_t>(std::clamp(number_at(*from, "n", 10), 1.0, 1000.0));
    out.push_back(std::move(request));
  }
  return out;
}

std::vector<std::string> most_popular(const std::vector<loaded_model>& models) {
  auto of = std::find_if(models.begin(), models.end(), [](auto& each) { return each.kind == "popularity"; });
  if (of == models.end())
    of = models.begin();
  auto count = of->items->size();
  std::vector<model::row> rows(count);
  std::iota(rows.begin(), rows.end(), 0u);
  // Items are in the order of their first appearance: what a model that knows no popularity leaves them in.
  if (of->scorer->supports_cold_start() && of->scorer->items() > 0) {
    std::vector<float> scores(count);
    of->scorer->score({}, rows, scores);
    std::stable_sort(rows.begin(), rows.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
  }
  rows.resize(std::min(rows.size(), popular_length));
  std::vector<std::string> out;
  out.reserve(rows.size());
  for (auto each : rows)
    out.push_back(of->items->id(each));
  return out;
}

} // namespace

expected<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in)
    return fail(ec::not_found, "cannot open {}", path.string());
  return std::string{std::istreambuf_iterator<char>{in}, {}};
}

expected<release_manifest> parse_manifest(std::string_view text) {
  auto parsed = parse_json(text);
  auto* root = parsed ? parsed->if_object() : nullptr;
  if (!root)
    return fail(ec::corrupt, "the manifest is no JSON object");
  if (auto format = number_at(*root, "format", 0); format != 1)
    return fail(ec::unsupported_version, "the manifest has format {}, this program reads 1", format);
  release_manifest out;
  out.id = sha256_hex(as_bytes(text));
  out.name = text_at(*root, "name");
  auto* files = object_at(*root, "files");
  if (!files)
    return fail(ec::corrupt, "the manifest names no files");
  for (auto& [path, value] : *files) {
    auto* about = value.if_object();
    release_file file{std::string{path}, about ? text_at(*about, "sha256") : "",
                      about ? static_cast<std::uint64_t>(std::max(0.0, number_at(*about, "bytes", 0))) : 0};
    if (!stays_inside(file.path))
      return fail(ec::corrupt, "file {} lies outside of the release", file.path);
    if (file.sha256.size() != 64)
      return fail(ec::corrupt, "file {} has no SHA-256", file.path);
    out.files.push_back(std::move(file));
  }
  auto* models = root->if_contains("models");
  if (!models || !models->is_array() || models->get_array().empty())
    return fail(ec::corrupt, "the manifest names no models");
  for (auto& value : models->get_array()) {
    auto* about = value.if_object();
    if (!about)
      return fail(ec::corrupt, "a model of the manifest is no object");
    release_manifest::model_entry entry;
    entry.name = text_at(*about, "name");
    entry.kind = text_at(*about, "kind");
    entry.path = text_at(*about, "path");
    entry.weight = number_at(*about, "weight", 1);
    auto role = text_at(*about, "role");
    if (role.empty())
      role = "both";
    if (role != "retrieval" && role != "score" && role != "both")
      return fail(ec::corrupt, "model {} has role {}, allowed are retrieval, score, both", entry.name, role);
    entry.scores = role != "retrieval";
    entry.retrieves = role != "score";
    if (entry.name.empty() || !stays_inside(entry.path) || !std::isfinite(entry.weight))
      return fail(ec::corrupt, "a model of the manifest lacks its name, its path or a finite weight");
    for (auto* name : {"model.json", "weights.safetensors", "items.txt"})
      if (std::none_of(out.files.begin(), out.files.end(),
                       [&](auto& file) { return file.path == entry.path + "/" + name; }))
        return fail(ec::corrupt, "model {} lacks its {}", entry.name, name);
    out.models.push_back(std::move(entry));
  }
  if (auto* features = object_at(*root, "features"))
    if (auto history = text_at(*features, "history"); !history.empty())
      out.history_feature = history;
  TROUPE_CHECK(check_signature(*root));
  return out;
}

expected<release_ptr> load_release(const std::filesystem::path& folder, const load_options& how) {
  TROUPE_TRY(text, read_file(folder / "release.json"));
  auto manifest = parse_manifest(text);
  if (!manifest)
    return fail_while(fmt::format("reading {}", (folder / "release.json").string()), manifest.error());
  auto out = std::make_shared<release>();
  out->manifest = std::move(*manifest);
  for (auto& file : out->manifest.files) {
    TROUPE_TRY(is, hash_file(folder / file.path));
    if (is.bytes != file.bytes || is.sha256 != file.sha256)
      return fail(ec::corrupt, "file {} of release {} has {} bytes and hash {}, the manifest says {} and {}",
                  file.path, out->manifest.id.substr(0, 12), is.bytes, is.sha256.substr(0, 12), file.bytes,
                  file.sha256.substr(0, 12));
    out->bytes += is.bytes;
  }
  std::map<std::string, std::shared_ptr<const model::vocabulary>> vocabularies;
  for (auto& entry : out->manifest.models) {
    auto made = load_model(entry, folder, how, vocabularies);
    if (!made)
      return fail_while(fmt::format("loading model {}", entry.name), made.error());
    out->items = std::max<std::uint64_t>(out->items, made->items->size());
    out->models.push_back(std::move(*made));
  }
  if (std::filesystem::exists(folder / "rules.toml")) {
    TROUPE_TRY(rules_text, read_file(folder / "rules.toml"));
    TROUPE_TRY(rules, parse_rules(rules_text, "rules.toml"));
    out->rules = std::move(rules);
  }
  TROUPE_TRY(warmup, read_warmup(folder / "warmup.jsonl"));
  out->warmup = std::move(warmup);
  out->popular = most_popular(out->models);
  auto add = [](std::vector<std::string>& to, const std::string& name, std::string_view id) {
    if (name != id && std::find(to.begin(), to.end(), name) == to.end())
      to.push_back(name);
  };
  out->user_features.push_back(out->manifest.history_feature);
  for (auto& each : out->models) {
    for (auto& name : each.scorer->features().user)
      add(out->user_features, name, "user");
    for (auto& name : each.scorer->features().item)
      add(out->item_features, name, "item");
  }
  for (auto& each : out->user_features)
    out->user_key += each + '\n';
  return release_ptr{std::move(out)};
}

} // namespace troupe::ranker
