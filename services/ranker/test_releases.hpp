#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/release/load.hpp"

#include "common/core/hash.hpp"
#include "common/model/test_weights.hpp"

#include <boost/json.hpp>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Releases and snapshots of items for the tests of this folder.
namespace troupe::ranker::testing {

using weights = model::testing::test_weights;

/// A release of items a, b, c... under construction.
class bundle {
public:
  explicit bundle(std::filesystem::path folder) : folder_{std::move(folder)} {}

  void put(const std::string& path, const std::string& content) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream{folder_ / path, std::ios::binary} << content;
    files_[path] = boost::json::object{{"sha256", sha256_hex(as_bytes(content))}, {"bytes", content.size()}};
  }
  void model(const std::string& kind, const std::string& items, const weights& of, double weight = 1,
             const boost::json::object& config = {}) {
    put("models/" + kind + "/model.json",
        boost::json::serialize(boost::json::object{{"format", 1}, {"kind", kind}, {"config", config}}));
    put("models/" + kind + "/weights.safetensors", of.bytes());
    put("models/" + kind + "/items.txt", items);
    models_.push_back(boost::json::object{
        {"name", kind}, {"kind", kind}, {"path", "models/" + kind}, {"weight", weight}, {"role", "both"}});
  }
  /// Writes the manifest; gives the release's id.
  std::string done(const std::string& name = "r") {
    auto text = boost::json::serialize(
        boost::json::object{{"files", files_},
                            {"format", 1},
                            {"models", models_},
                            {"name", name},
                            {"signature", boost::json::object{{"inputs", boost::json::array{"history"}},
                                                              {"outputs", boost::json::array{"items"}}}}});
    std::ofstream{folder_ / "release.json", std::ios::binary} << text;
    return sha256_hex(as_bytes(text));
  }

private:
  std::filesystem::path folder_;
  boost::json::object files_;
  boost::json::array models_;
};

inline const std::string six_items = "a\nb\nc\nd\ne\nf\n";

/// a and b, c and d, e and f are neighbours; a is the most popular, f the least.
inline std::string make_release(const std::filesystem::path& folder, const std::string& rules,
                                const std::string& name = "r") {
  bundle out{folder};
  out.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {6, 5, 4, 3, 2, 1}), 0.1);
  out.model("ease", six_items,
            weights{}
                .add<std::int32_t>("neighbours", "[6,2]", {1, 2, 0, 3, 3, 4, 2, 5, 5, 0, 4, 1})
                .add<float>("similarity", "[6,2]", {1, .2f, 1, .2f, 1, .2f, 1, .2f, 1, .2f, 1, .2f}));
  if (!rules.empty())
    out.put("rules.toml", rules);
  out.put("warmup.jsonl", R"({"history":["a"],"n":3})"
                          "\n");
  return out.done(name);
}

/// The user's mean rating (mean 3, deviation 1) and the item's clicks (mean 0, deviation 1): the deep part
/// counts the item's clicks where the user rates above the mean, and against it where below.
inline std::string make_dcn_release(const std::filesystem::path& folder) {
  bundle out{folder};
  out.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {6, 5, 4, 3, 2, 1}), 0);
  out.model("dcn", six_items,
            weights{}
                .add<float>("number.mean", "[2]", {3, 0})
                .add<float>("number.deviation", "[2]", {1, 1})
                .add<float>("cross.0.weight", "[4,4]", {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
                .add<float>("cross.0.bias", "[4]", {0, 0, 0, 0})
                .add<float>("deep.0.weight", "[1,4]", {0, 0, 0, 0})
                .add<float>("deep.0.bias", "[1]", {0})
                .add<float>("head.weight", "[1,5]", {1, 0, 0, -10, 0})
                .add<float>("head.bias", "[1]", {0}),
            1,
            boost::json::parse(R"({"views":{"user_ratings":"v1"},"features":[
              {"name":"user_ratings.mean_rating","entity":"user","kind":"number"},
              {"name":"item_activity.clicks","entity":"item","kind":"number"}]})")
                .as_object());
  return out.done();
}

/// The items of a test program, as a ranker has one.
inline const item_space_ptr& test_space() {
  static const auto made = std::make_shared<item_space>();
  return made;
}

inline item_snapshot snapshot_of(const std::vector<item_attributes>& cards,
                                 feature_store::applied_offsets applied = {}) {
  return {test_space(), cards, {deadline::clock::now(), {}, {}, std::move(applied)}};
}

/// Releases are loaded to be served with snapshots of test_space().
inline load_options test_options() {
  return {.space = test_space()};
}

/// What the feature store knows of a user.
inline user_features_ptr known_user(const std::vector<std::string>& history,
                                    const std::vector<attribute>& values = {},
                                    std::vector<std::string> views = {}) {
  auto out = std::make_shared<user_features>();
  out->history = item_list{*test_space(), history};
  out->features.emplace_back().name = "user_history.items";
  for (auto& each : values) {
    auto& to = out->features.emplace_back();
    to.name = each.name;
    to.value = each.value;
  }
  out->views = std::move(views);
  return out;
}

inline std::vector<std::string> texts(const std::vector<degradation>& of) {
  std::vector<std::string> out;
  for (auto& each : of)
    out.push_back(each.text);
  return out;
}

inline item_attributes card(std::string id, text_list genres = {}) {
  item_attributes out;
  out.title = "Title of " + id;
  out.id = std::move(id);
  out.attributes = {{"genres", std::move(genres)}};
  return out;
}

inline item_attributes clicked(std::string id, std::optional<double> clicks) {
  item_attributes out;
  out.id = std::move(id);
  out.features.emplace_back();
  if (clicks)
    out.features[0] = *clicks;
  return out;
}

inline item_snapshot clicked_items() {
  return {test_space(),
          {clicked("a", 1), clicked("b", 3), clicked("fresh", 2), clicked("silent", {})},
          {deadline::clock::now(), {"item_activity.clicks"}, {"item_activity@v7"}, {}}};
}

} // namespace troupe::ranker::testing
