#pragma once

#include "services/trainer/engine/data.hpp"
#include "services/trainer/engine/train_config.hpp"

#include "common/tensor/safetensors.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::trainer {

/// One tensor in memory.
struct array {
  tensor::dtype type = tensor::dtype::f32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;

  template <class T>
  static array of(std::vector<std::uint64_t> shape, std::span<const T> values) {
    auto raw = std::as_bytes(values);
    return {tensor::dtype_of<T>, std::move(shape), {raw.begin(), raw.end()}};
  }

  /// The numbers; T must be the type.
  template <class T>
  std::span<const T> values() const noexcept {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

/// What training gives and serving takes: weights by name, rows in the order of the vocabularies.
struct trained_model {
  std::string kind;
  std::string config = "{}"; ///< JSON.
  std::uint64_t seed = 0;
  std::string data = "{}"; ///< JSON: what it was trained on.
  std::map<std::string, double> metrics;
  std::vector<std::string> items;
  std::vector<std::string> users; ///< Only of models with user factors.
  std::map<std::string, array, std::less<>> weights;
};

/// The program that trained: its SHA-256, its BLAS kernels and threads. Part of the manifest.
struct binary_facts {
  std::string sha256;
  std::string kernels;
  std::string threads;
};
binary_facts this_binary();

/// Writes model.json, weights.safetensors, items.txt and (where there are user factors) users.txt; returns
/// the SHA-256 of the weights. model.json is written last: a folder without it is not a model.
expected<std::string> save_model(const trained_model& model, const std::filesystem::path& folder);

/// Reads a folder back and checks the weights against their hash.
expected<trained_model> load_model(const std::filesystem::path& folder);

/// The configuration that a model says it was trained with, as the keys of train_config.
expected<config_section> read_model_config(const trained_model& model);

struct query {
  std::optional<std::uint32_t> user;
  std::span<const std::uint32_t> seen;
};

/// Scores all items for users. Immutable: safe to share between threads.
class scorer {
public:
  virtual ~scorer() = default;

  virtual std::uint64_t items() const noexcept = 0;

  /// Writes `items()` scores for each query, one row after the other.
  virtual void score(std::span<const query> queries, std::span<float> out) const = 0;

  /// False where one call uses all processors already.
  virtual bool parallel() const noexcept { return true; }
};

/// The scorer of a model; it shares the weights.
expected<std::unique_ptr<scorer>> make_scorer(std::shared_ptr<const trained_model> model);

} // namespace troupe::trainer
