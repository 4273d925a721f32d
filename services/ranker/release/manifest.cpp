#include "services/ranker/release/manifest.hpp"

#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace troupe::ranker {

namespace json = boost::json;

namespace {

expected<void> check_signature(const json::object& root) {
  auto* signature = find_object(root, "signature");
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

} // namespace

expected<release_manifest> parse_manifest(std::string_view text) {
  auto parsed = parse_json(text);
  auto* root = parsed ? parsed->if_object() : nullptr;
  if (!root)
    return fail(ec::corrupt, "the manifest is no JSON object");
  if (auto format = number_or(*root, "format", 0); format != 1)
    return fail(ec::unsupported_version, "the manifest has format {}, this program reads 1", format);
  release_manifest out;
  out.id = sha256_hex(as_bytes(text));
  out.name = text_or(*root, "name");
  auto* files = find_object(*root, "files");
  if (!files)
    return fail(ec::corrupt, "the manifest names no files");
  for (auto& [path, value] : *files) {
    auto* about = value.if_object();
    release_file file{std::string{path}, about ? text_or(*about, "sha256") : "",
                      about ? static_cast<std::uint64_t>(std::max(0.0, number_or(*about, "bytes", 0))) : 0};
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
    entry.name = text_or(*about, "name");
    entry.kind = text_or(*about, "kind");
    entry.path = text_or(*about, "path");
    entry.weight = number_or(*about, "weight", 1);
    auto role = text_or(*about, "role");
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
  TROUPE_CHECK(check_signature(*root));
  return out;
}

expected<std::vector<warmup_request>> parse_warmup(std::string_view text) {
  std::vector<warmup_request> out;
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
    request.user = text_or(*from, "user");
    for (auto* key : {"history", "session"})
      if (auto* value = from->if_contains(key); value && value->is_array())
        for (auto& each : value->get_array())
          if (each.is_string())
            request.history.emplace_back(each.get_string());
    request.n = static_cast<std::uint32_t>(std::clamp(number_or(*from, "n", 10), 1.0, 1000.0));
    out.push_back(std::move(request));
  }
  return out;
}

} // namespace troupe::ranker
