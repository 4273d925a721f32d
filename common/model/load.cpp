#include "common/model/load.hpp"

#include "common/model/kinds.hpp"

#include <boost/json.hpp>

#include <map>

namespace troupe::model {

namespace json = boost::json;

namespace {

/// The settings of one kind.
class settings {
public:
  settings(std::string_view kind, const json::object& from) : kind_{kind}, from_{from} {}

  const json::value* find(std::string_view key) const {
    if (auto* own = from_.if_contains(kind_); own && own->is_object())
      return own->get_object().if_contains(key);
    if (auto* dotted = from_.if_contains(fmt::format("{}.{}", kind_, key)))
      return dotted;
    return from_.if_contains(key);
  }
  double number(std::string_view key, double standard) const {
    auto* value = find(key);
    return value && value->is_number() ? value->to_number<double>() : standard;
  }
  bool flag(std::string_view key, bool standard) const {
    auto* value = find(key);
    return value && value->is_bool() ? value->get_bool() : standard;
  }
  std::string text(std::string_view key, std::string_view standard) const {
    auto* value = find(key);
    return std::string{value && value->is_string() ? std::string_view{value->get_string()} : standard};
  }

private:
  std::string_view kind_;
  const json::object& from_;
};

expected<dcn_feature> read_feature(const json::value& from) {
  auto* object = from.if_object();
  static const json::object nothing;
  settings in{"", object ? *object : nothing};
  dcn_feature out;
  out.name = in.text("name", "");
  auto entity = in.text("entity", ""), kind = in.text("kind", "");
  if (!object || out.name.empty() || (entity != "user" && entity != "item") ||
      (kind != "number" && kind != "category"))
    return fail(ec::corrupt, "feature {} needs a name, an entity (user, item) and a kind (number, category)",
                json::serialize(from));
  out.of = entity == "user" ? dcn_feature::entity::user : dcn_feature::entity::item;
  out.is = kind == "number" ? dcn_feature::kind::number : dcn_feature::kind::category;
  out.logarithm = in.flag("log", false);
  return out;
}

expected<dcn_shape> read_dcn(const settings& in) {
  dcn_shape out;
  auto structure = in.text("structure", "parallel");
  if (structure != "parallel" && structure != "stacked")
    return fail(ec::unsupported_version, "structure {} is not known here; known are parallel, stacked",
                structure);
  out.stacked = structure == "stacked";
  auto* features = in.find("features");
  if (!features || !features->is_array())
    return fail(ec::corrupt, "model.json lists no features");
  for (auto& each : features->get_array()) {
    TROUPE_TRY(feature, read_feature(each));
    out.features.push_back(std::move(feature));
  }
  if (auto* views = in.find("views"); views && views->is_object())
    for (auto& [name, version] : views->get_object())
      if (version.is_string())
        out.views.push_back(
            fmt::format("{}@{}", std::string_view{name}, std::string_view{version.get_string()}));
  return out;
}

using loader = expected<std::unique_ptr<scorer>> (*)(const settings&, tensor_file);

expected<std::unique_ptr<scorer>> sasrec_of(const settings& in, tensor_file weights) {
  TROUPE_TRY(between, activation_named(in.text("activation", "gelu")));
  auto heads = in.number("heads", 1);
  if (!(heads >= 1 && heads <= 1024))
    return fail(ec::corrupt, "heads is {}, allowed is 1 to 1024", heads);
  return load_sasrec(std::move(weights), {static_cast<std::size_t>(heads), between,
                                          static_cast<float>(in.number("norm_epsilon", 1e-5))});
}

expected<std::unique_ptr<scorer>> two_tower_of(const settings& in, tensor_file weights) {
  TROUPE_TRY(between, activation_named(in.text("activation", "relu")));
  return load_two_tower(std::move(weights), {between, in.flag("normalised", true)});
}

expected<std::unique_ptr<scorer>> dcn_of(const settings& in, tensor_file weights) {
  TROUPE_TRY(shape, read_dcn(in));
  return load_dcn(std::move(weights), std::move(shape));
}

const std::map<std::string_view, loader>& loaders() {
  static const std::map<std::string_view, loader> all{
      {"popularity", [](const settings&, tensor_file w) { return load_popularity(std::move(w)); }},
      {"item_knn", [](const settings&, tensor_file w) { return load_neighbours(std::move(w)); }},
      {"ease", [](const settings&, tensor_file w) { return load_neighbours(std::move(w)); }},
      {"ials",
       [](const settings& in, tensor_file w) {
         return load_ials(std::move(w), {in.number("alpha", 1), in.number("regularization", 1),
                                         in.number("frequency_power", 0)});
       }},
      {"bpr", [](const settings&, tensor_file w) { return load_bpr(std::move(w)); }},
      {"two_tower", two_tower_of},
      {"sasrec", sasrec_of},
      {"dcn", dcn_of},
  };
  return all;
}

} // namespace

expected<std::unique_ptr<scorer>> load_scorer(std::string_view kind, const json::object& config,
                                              tensor_file weights) {
  auto found = loaders().find(kind);
  if (found == loaders().end())
    return fail(ec::unsupported_version, "kind {} is not served; served are {}", kind,
                fmt::join(kinds, ", "));
  return found->second({kind, config}, std::move(weights));
}

} // namespace troupe::model
