#include "services/trainer/engine/model.hpp"

#include "common/core/file.hpp"
#include "common/core/file_hash.hpp"
#include "common/core/hash.hpp"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>

namespace troupe::trainer {

namespace {

expected<std::string> lines_of(const std::vector<std::string>& names) {
  std::string out;
  for (auto& name : names) {
    if (name.find_first_of("\n\r") != std::string::npos || name.empty())
      return fail(ec::invalid_argument,
                  "cannot write a vocabulary: an identity is empty or holds a line end");
    out += name;
    out += '\n';
  }
  return out;
}

std::vector<std::string> names_in(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);)
    out.push_back(std::move(line));
  return out;
}

/// What was seen, each item once.
std::vector<std::uint32_t> distinct(std::span<const std::uint32_t> seen) {
  std::vector<std::uint32_t> out{seen.begin(), seen.end()};
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

/// Adds up the rows of what was seen.
class neighbour_scorer final : public scorer {
public:
  neighbour_scorer(std::shared_ptr<const trained_model> model, const array& neighbours,
                   const array& similarity)
      : model_{std::move(model)}, neighbours_{neighbours.values<std::int32_t>()},
        similarity_{similarity.values<float>()}, width_{neighbours.shape[1]} {}

  std::uint64_t items() const noexcept override { return model_->items.size(); }

  void score(std::span<const query> queries, std::span<float> out) const override {
    std::fill(out.begin(), out.end(), 0.0f);
    for (std::size_t q = 0; q < queries.size(); ++q) {
      auto row = out.subspan(q * items(), items());
      for (auto item : distinct(queries[q].seen)) {
        if (item >= items())
          continue;
        for (auto at = item * width_; at < (item + 1) * width_ && neighbours_[at] >= 0; ++at)
          row[static_cast<std::size_t>(neighbours_[at])] += similarity_[at];
      }
    }
  }

private:
  std::shared_ptr<const trained_model> model_;
  std::span<const std::int32_t> neighbours_;
  std::span<const float> similarity_;
  std::uint64_t width_;
};

/// The same score for everybody.
class constant_scorer final : public scorer {
public:
  constant_scorer(std::shared_ptr<const trained_model> model, const array& score)
      : model_{std::move(model)}, score_{score.values<float>()} {}

  std::uint64_t items() const noexcept override { return model_->items.size(); }

  void score(std::span<const query> queries, std::span<float> out) const override {
    for (std::size_t q = 0; q < queries.size(); ++q)
      std::copy(score_.begin(), score_.end(), out.begin() + static_cast<std::ptrdiff_t>(q * items()));
  }

private:
  std::shared_ptr<const trained_model> model_;
  std::span<const float> score_;
};

/// Dot products of user and item factors; a user without factors gets the mean of the items seen.
class factor_scorer final : public scorer {
public:
  factor_scorer(std::shared_ptr<const trained_model> model, const array& items, const array& users,
                const array* bias)
      : model_{std::move(model)}, items_{items.values<float>()}, users_{users.values<float>()},
        width_{items.shape[1]} {
    if (bias)
      bias_ = bias->values<float>();
  }

  std::uint64_t items() const noexcept override { return model_->items.size(); }

  void score(std::span<const query> queries, std::span<float> out) const override {
    std::vector<float> user(width_);
    for (std::size_t q = 0; q < queries.size(); ++q) {
      auto& one = queries[q];
      if (one.user && *one.user < model_->users.size()) {
        std::copy_n(users_.data() + *one.user * width_, width_, user.data());
      } else {
        std::fill(user.begin(), user.end(), 0.0f);
        for (auto item : one.seen)
          if (item < items())
            for (std::uint64_t d = 0; d < width_; ++d)
              user[d] += items_[item * width_ + d] / static_cast<float>(one.seen.size());
      }
      for (std::uint64_t i = 0; i < items(); ++i) {
        float sum = bias_.empty() ? 0 : bias_[i];
        const float* item = items_.data() + i * width_;
#pragma omp simd reduction(+ : sum)
        for (std::uint64_t d = 0; d < width_; ++d)
          sum += user[d] * item[d];
        out[q * items() + i] = sum;
      }
    }
  }

private:
  std::shared_ptr<const trained_model> model_;
  std::span<const float> items_;
  std::span<const float> users_;
  std::span<const float> bias_;
  std::uint64_t width_;
};

expected<const array*> weight_of(const trained_model& model, std::string_view name, tensor::dtype type,
                                 std::vector<std::uint64_t> shape) {
  auto found = model.weights.find(name);
  if (found == model.weights.end())
    return fail(ec::corrupt, "a model of kind {} has no weights {}", model.kind, name);
  auto& has = found->second;
  bool fits = has.type == type && has.shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] == 0 || shape[i] == has.shape[i];
  if (!fits)
    return fail(ec::corrupt, "the weights {} of a model of kind {} have the shape [{}], wanted is [{}]", name,
                model.kind, fmt::join(has.shape, ", "), fmt::join(shape, ", "));
  return &has;
}

} // namespace

binary_facts this_binary() {
  auto value = [](const char* name) {
    const char* text = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody writes the environment
    return std::string{text ? text : ""};
  };
  return {hash_file("/proc/self/exe").value_or(file_hash{}).sha256, value("OPENBLAS_CORETYPE"),
          value("OPENBLAS_NUM_THREADS")};
}

expected<std::string> save_model(const trained_model& model, const std::filesystem::path& folder) {
  std::error_code err;
  std::filesystem::create_directories(folder, err);
  if (err)
    return fail(errno_code(err.value()), "cannot create {}: {}", folder.string(), err.message());
  std::filesystem::remove(folder / "model.json", err);
  std::map<std::string, tensor::tensor_view, std::less<>> views;
  for (auto& [name, one] : model.weights)
    views.emplace(name, tensor::tensor_view{one.type, one.shape, one.bytes});
  TROUPE_TRY(weights, tensor::encode_safetensors(views, {{"kind", model.kind}}));
  TROUPE_CHECK(write_file_atomically(folder / "weights.safetensors", as_bytes(weights)));
  TROUPE_TRY(items, lines_of(model.items));
  TROUPE_CHECK(write_file_atomically(folder / "items.txt", as_bytes(items)));
  if (!model.users.empty()) {
    TROUPE_TRY(users, lines_of(model.users));
    TROUPE_CHECK(write_file_atomically(folder / "users.txt", as_bytes(users)));
  }
  auto hash = sha256_hex(as_bytes(weights));
  std::string metrics;
  for (auto& [name, value] : model.metrics)
    metrics += fmt::format("{}\"{}\":{}", metrics.empty() ? "" : ",", name, value);
  auto binary = this_binary();
  auto manifest = fmt::format(
      R"({{"format":1,"kind":"{}","config":{},"items":{},"users":{},"metrics":{{{}}},"data":{},"seed":{},)"
      R"("binary":{{"sha256":"{}","kernels":"{}","threads":"{}"}},)"
      R"("weights":{{"file":"weights.safetensors","sha256":"{}","bytes":{}}}}})"
      "\n",
      model.kind, model.config, model.items.size(), model.users.size(), metrics, model.data, model.seed,
      binary.sha256, binary.kernels, binary.threads, hash, weights.size());
  TROUPE_CHECK(write_file_atomically(folder / "model.json", as_bytes(manifest)));
  return hash;
}

expected<trained_model> load_model(const std::filesystem::path& folder) {
  TROUPE_TRY(manifest, read_file(folder / "model.json"));
  trained_model out;
  std::string hash;
  std::uint64_t items = 0;
  std::uint64_t users = 0;
  try {
    simdjson::dom::parser parser;
    simdjson::dom::element root = parser.parse(simdjson::padded_string{manifest});
    if (std::int64_t{root["format"]} != 1)
      return fail(ec::unsupported_version, "{} is of a format this program does not know", folder.string());
    out.kind = std::string{std::string_view{root["kind"]}};
    out.config = simdjson::minify(root["config"].value());
    out.data = simdjson::minify(root["data"].value());
    out.seed = std::uint64_t{root["seed"]};
    items = std::uint64_t{root["items"]};
    users = std::uint64_t{root["users"]};
    for (auto [name, value] : simdjson::dom::object{root["metrics"]})
      out.metrics.emplace(name, double{value});
    hash = std::string{std::string_view{root["weights"]["sha256"]}};
  } catch (const simdjson::simdjson_error& err) {
    return fail(ec::corrupt, "cannot read {}: {}", (folder / "model.json").string(), err.what());
  }
  TROUPE_TRY(stored, read_file(folder / "weights.safetensors"));
  auto weights = chunk::own(std::move(stored));
  if (sha256_hex(weights.view()) != hash)
    return fail(ec::corrupt, "the weights in {} are not those of its model.json", folder.string());
  TROUPE_TRY(file, tensor::tensor_file::parse(weights, (folder / "weights.safetensors").string()));
  for (auto& [name, view] : file.tensors())
    out.weights.emplace(name, array{view.type, view.shape, {view.bytes.begin(), view.bytes.end()}});
  TROUPE_TRY(item_names, read_file(folder / "items.txt"));
  out.items = names_in(item_names);
  if (users > 0) {
    TROUPE_TRY(user_names, read_file(folder / "users.txt"));
    out.users = names_in(user_names);
  }
  if (out.items.size() != items || out.users.size() != users)
    return fail(ec::corrupt, "the vocabularies in {} have other lengths than its model.json says",
                folder.string());
  return out;
}

expected<config_section> read_model_config(const trained_model& model) {
  config_section out{fmt::format("the configuration of a model of kind {}", model.kind), {}};
  try {
    simdjson::dom::parser parser;
    simdjson::dom::object root = parser.parse(simdjson::padded_string{model.config});
    for (auto [name, value] : root) {
      auto key = name == "seed" ? std::string{name} : fmt::format("{}.{}", model.kind, name);
      if (value.is_string())
        out.values.emplace(key, std::string{std::string_view{value}});
      else if (value.is_bool())
        out.values.emplace(key, bool{value});
      else if (value.type() == simdjson::dom::element_type::DOUBLE)
        out.values.emplace(key, double{value});
      else
        out.values.emplace(key, std::int64_t{value});
    }
  } catch (const simdjson::simdjson_error& err) {
    return fail(ec::corrupt, "cannot read {}: {}", out.origin, err.what());
  }
  out.values.emplace("model", model.kind);
  return out;
}

expected<std::unique_ptr<scorer>> make_scorer(std::shared_ptr<const trained_model> model) {
  using tensor::dtype;
  auto items = static_cast<std::uint64_t>(model->items.size());
  auto users = static_cast<std::uint64_t>(model->users.size());
  auto& kind = model->kind;
  if (kind == "popularity") {
    TROUPE_TRY(score, weight_of(*model, "item_score", dtype::f32, {items}));
    return std::make_unique<constant_scorer>(model, *score);
  }
  if (kind == "item_knn" || kind == "ease") {
    TROUPE_TRY(neighbours, weight_of(*model, "neighbours", dtype::i32, {items, 0}));
    TROUPE_TRY(similarity, weight_of(*model, "similarity", dtype::f32, {items, neighbours->shape[1]}));
    for (auto item : neighbours->values<std::int32_t>())
      if (item >= static_cast<std::int64_t>(items))
        return fail(ec::corrupt, "the neighbour {} of a model with {} items does not exist", item, items);
    return std::make_unique<neighbour_scorer>(model, *neighbours, *similarity);
  }
  if (kind == "ials" || kind == "bpr") {
    TROUPE_TRY(item_factors, weight_of(*model, "item_factors", dtype::f32, {items, 0}));
    TROUPE_TRY(user_factors, weight_of(*model, "user_factors", dtype::f32, {users, item_factors->shape[1]}));
    const array* bias = nullptr;
    if (kind == "bpr") {
      TROUPE_TRY(item_bias, weight_of(*model, "item_bias", dtype::f32, {items}));
      bias = item_bias;
    }
    return std::make_unique<factor_scorer>(model, *item_factors, *user_factors, bias);
  }
  return fail(ec::invalid_argument, "no scorer for a model of kind {}", kind);
}

} // namespace troupe::trainer
