#include "services/ranker/release/load.hpp"

#include "common/core/file.hpp"
#include "common/core/file_hash.hpp"
#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/model/load.hpp"
#include "common/tensor/safetensors.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <map>
#include <numeric>

namespace troupe::ranker {

namespace json = boost::json;

namespace {

constexpr std::size_t popular_length = 5'000;
constexpr const char* history_feature = "user_history.items";

/// Read once for all models that have the same, by the hash of their texts.
struct vocabularies {
  std::map<std::string, std::shared_ptr<const item_rows>> items;
  std::map<std::string, std::shared_ptr<const model::vocabulary>> users;
};

expected<std::shared_ptr<const item_rows>> load_items(const std::filesystem::path& file, vocabularies& known,
                                                      item_space& space) {
  TROUPE_TRY(ids, read_file(file));
  auto& rows = known.items[sha256_hex(as_bytes(ids))];
  if (!rows) {
    TROUPE_TRY(made, model::vocabulary::parse(ids, "items.txt"));
    rows = std::make_shared<const item_rows>(made, space);
  }
  return rows;
}

expected<std::shared_ptr<const model::vocabulary>> load_users(const std::filesystem::path& file,
                                                              vocabularies& known) {
  TROUPE_TRY(ids, read_file(file));
  auto& users = known.users[sha256_hex(as_bytes(ids))];
  if (!users) {
    TROUPE_TRY(made, model::vocabulary::parse(ids, "users.txt"));
    users = std::make_shared<const model::vocabulary>(std::move(made));
  }
  return users;
}

expected<loaded_model> load_model(const release_manifest::model_entry& entry,
                                  const std::filesystem::path& folder, const load_options& options,
                                  vocabularies& known, item_space& space) {
  auto place = folder / entry.path;
  TROUPE_TRY(text, read_file(place / "model.json"));
  auto parsed = parse_json(text);
  auto* about = parsed ? parsed->if_object() : nullptr;
  if (!about)
    return fail(ec::corrupt, "model.json is no JSON object");
  if (text_or(*about, "kind") != entry.kind)
    return fail(ec::corrupt, "model.json says kind {}, the release {}", text_or(*about, "kind"), entry.kind);
  loaded_model out;
  out.name = entry.name;
  out.kind = entry.kind;
  out.weight = entry.weight;
  out.scores = entry.scores;
  out.retrieves = entry.retrieves;
  TROUPE_TRY(rows, load_items(place / "items.txt", known, space));
  out.rows = rows;
  if (std::filesystem::exists(place / "users.txt")) {
    TROUPE_TRY(users, load_users(place / "users.txt", known));
    out.users = users;
  }
  auto* weights = find_object(*about, "weights");
  auto file = weights ? text_or(*weights, "file") : std::string{};
  if (file.empty())
    file = "weights.safetensors";
  if (!stays_inside(file))
    return fail(ec::corrupt, "weights {} lie outside of the model", file);
  TROUPE_TRY(tensors, tensor::tensor_file::open(place / file));
  auto* config = find_object(*about, "config");
  static const json::object nothing;
  auto made = model::load_scorer(entry.kind, config ? *config : nothing, std::move(tensors));
  if (!made)
    return unexpected<error>{made.error()};
  out.scorer = std::move(*made);
  if (out.scorer->items() != 0 && out.scorer->items() != out.rows->size())
    return fail(ec::corrupt, "weights are for {} items, items.txt names {}", out.scorer->items(),
                out.rows->size());
  if (out.retrieves && out.scorer->width() > 0) {
    TROUPE_TRY(index,
               model::item_index::build(out.scorer->item_vectors(), out.scorer->width(), options.flat_up_to));
    out.index = std::move(index);
  }
  return out;
}

std::vector<item_ord> most_popular(const std::vector<loaded_model>& models) {
  auto of = std::find_if(models.begin(), models.end(), [](auto& each) { return each.kind == "popularity"; });
  if (of == models.end())
    of = models.begin();
  auto count = of->rows->size();
  std::vector<model::row> rows(count);
  std::iota(rows.begin(), rows.end(), 0u);
  // Items are in the order of their first appearance: what a model that knows no popularity leaves them in.
  if (of->scorer->supports_cold_start() && of->scorer->items() > 0) {
    std::vector<float> scores(count);
    of->scorer->score({}, rows, scores);
    std::stable_sort(rows.begin(), rows.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
  }
  rows.resize(std::min(rows.size(), popular_length));
  std::vector<item_ord> out;
  out.reserve(rows.size());
  for (auto each : rows)
    out.push_back(of->rows->item(each));
  return out;
}

} // namespace

expected<release_ptr> load_release(const std::filesystem::path& folder, const load_options& options) {
  TROUPE_TRY(text, read_file(folder / "release.json"));
  auto manifest = parse_manifest(text);
  if (!manifest)
    return with_context(fmt::format("reading {}", (folder / "release.json").string()), manifest.error());
  auto out = std::make_shared<loaded_release>();
  out->manifest = std::move(*manifest);
  for (auto& file : out->manifest.files) {
    TROUPE_TRY(is, hash_file(folder / file.path));
    if (is.bytes != file.bytes || is.sha256 != file.sha256)
      return fail(ec::corrupt, "file {} of release {} has {} bytes and hash {}, the manifest says {} and {}",
                  file.path, out->manifest.id.substr(0, 12), is.bytes, is.sha256.substr(0, 12), file.bytes,
                  file.sha256.substr(0, 12));
    out->bytes += is.bytes;
  }
  out->space = options.space ? options.space : std::make_shared<item_space>();
  vocabularies known;
  for (auto& entry : out->manifest.models) {
    auto made = load_model(entry, folder, options, known, *out->space);
    if (!made)
      return with_context(fmt::format("loading model {}", entry.name), made.error());
    out->items = std::max<std::uint64_t>(out->items, made->rows->size());
    out->models.push_back(std::move(*made));
  }
  if (std::filesystem::exists(folder / "rules.toml")) {
    TROUPE_TRY(rules_text, read_file(folder / "rules.toml"));
    TROUPE_TRY(rules, parse_rules(rules_text, "rules.toml"));
    out->rules = std::move(rules);
  }
  if (std::filesystem::exists(folder / "warmup.jsonl")) {
    TROUPE_TRY(requests_text, read_file(folder / "warmup.jsonl"));
    TROUPE_TRY(requests, parse_warmup(requests_text));
    out->warmup = std::move(requests);
  }
  bind_items(*out);
  auto add = [](std::vector<std::string>& to, const std::string& name, std::string_view id) {
    if (name != id && std::find(to.begin(), to.end(), name) == to.end())
      to.push_back(name);
  };
  out->user_features.emplace_back(history_feature);
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

void bind_items(loaded_release& release) {
  if (!release.models.empty())
    release.popular = most_popular(release.models);
  release.popular_rank.clear();
  for (std::size_t i = 0; i < release.popular.size(); ++i) {
    auto at = index_of(release.popular[i]);
    if (at >= release.popular_rank.size())
      release.popular_rank.resize(at + std::size_t{1}, 0);
    release.popular_rank[at] = static_cast<std::uint32_t>(i) + 1;
  }
  release.pinned.clear();
  for (auto& each : release.rules.rules)
    release.pinned.push_back(each.kind == rule_kind::pin ? release.space->add(each.item) : no_item);
}

} // namespace troupe::ranker
