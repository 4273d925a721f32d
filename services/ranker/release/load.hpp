#pragma once

#include "services/ranker/client/rules.hpp"
#include "services/ranker/items/item_space.hpp"
#include "services/ranker/release/item_binding.hpp"
#include "services/ranker/release/item_filters.hpp"
#include "services/ranker/release/item_rows.hpp"
#include "services/ranker/release/manifest.hpp"

#include "common/core/error.hpp"
#include "common/model/item_index.hpp"
#include "common/model/scorer.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ranker {

/// A model of a release, ready to score.
struct loaded_model {
  std::string name, kind;
  double weight = 1;
  bool scores = true;                             ///< Takes part in the ensemble.
  bool retrieves = true;                          ///< Gives candidates.
  std::shared_ptr<const item_rows> rows;          ///< Its items.
  std::shared_ptr<const model::vocabulary> users; ///< nullptr where it has none.
  std::unique_ptr<model::scorer> scorer;
  std::optional<model::item_index> index; ///< Where it has vectors and retrieves.
};

/// A release in memory: immutable; any thread; freed when its last reader lets go.
struct loaded_release {
  release_manifest manifest;
  std::vector<loaded_model> models;
  ruleset rules;
  std::vector<warmup_request> warmup;
  item_space_ptr space;          ///< Of which it knows the items.
  std::vector<item_ord> popular; ///< Best first: of the popularity model, else of the first model.
  std::vector<std::uint32_t>
      popular_rank;             ///< By ordinal: the place in `popular` from 1; 0, or not there: none.
  std::vector<item_ord> pinned; ///< By each rule: the item of a pin.
  std::vector<std::string> user_features; ///< That an answer needs, the history first.
  std::string user_key;                   ///< The same in one text.
  std::vector<std::string> item_features; ///< That models need, by "view.feature".
  std::uint64_t items = 0;                ///< Of the largest vocabulary.
  std::uint64_t bytes = 0;                ///< Of all files.
  item_bindings bindings;
  item_filters filters; ///< Of requests.
};

using release_ptr = std::shared_ptr<const loaded_release>;

struct load_options {
  item_space_ptr space;            ///< That of the snapshots it will be served with; null: one of its own.
  std::size_t flat_up_to = 20'000; ///< Items up to which nearest neighbours are searched exactly.
};

/// Loads the bundle in `folder`: every file is there with the size and hash that the manifest names, every
/// model agrees with its vocabulary, the rules are understood. May take seconds: never on a serving thread.
expected<release_ptr> load_release(const std::filesystem::path& folder, const load_options& options);

/// Works out what is by ordinal in a release that has its space, models and rules: `popular` and `pinned`.
void bind_items(loaded_release& release);

} // namespace troupe::ranker
