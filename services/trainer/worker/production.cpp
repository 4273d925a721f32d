#include "services/trainer/worker/production.hpp"

#include "common/core/file.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/log/log.hpp"

#include <boost/json/parse.hpp>

namespace troupe::trainer {

namespace json = boost::json;

namespace {

expected<train_config> config_beside(const train_config& ours, const std::string& model,
                                     const std::string& text) {
  if (!ours.evaluation.production)
    return fail(ec::invalid_argument, "evaluation.production = false");
  if (text.empty())
    return fail(ec::not_found, "it was not trained here");
  // An older program's keys may be unknown here.
  TROUPE_TRY(section, parse_config(text, model));
  TROUPE_TRY(config, load_config<train_config>(section));
  bool by_labels = ours.model == "dcn";
  if (by_labels != (config.model == "dcn"))
    return fail(ec::invalid_argument, "{}",
                by_labels ? "it does not learn from labels, as a DCN does"
                          : "it is a DCN, which learns from the labels of a training set");
  if (by_labels && ours.dcn.test == 0)
    return fail(ec::invalid_argument, "dcn.test = 0 leaves no rows to measure on");
  config.memory_cap = ours.memory_cap;
  config.device = ours.device;
  config.dcn.training_set = ours.dcn.training_set;
  config.dcn.label = ours.dcn.label;
  config.dcn.positive_at_least = ours.dcn.positive_at_least;
  config.dcn.validation = ours.dcn.validation;
  config.dcn.test = ours.dcn.test;
  return config;
}

} // namespace

expected<std::vector<in_production>> read_production(const std::filesystem::path& file,
                                                     const train_config& ours) {
  std::vector<in_production> out;
  if (!std::filesystem::exists(file))
    return out;
  TROUPE_TRY(content, read_file(file));
  auto list = parse_json(content);
  if (!list || !list->is_array())
    return fail(ec::corrupt, "cannot read {}: it is no list", file.string());
  for (auto& each : list->get_array()) {
    auto text = [&](const char* key) {
      return each.is_object() ? text_or(each.get_object(), key) : std::string{};
    };
    auto model = text("model");
    auto config = config_beside(ours, model, text("config"));
    out.push_back({std::move(model), std::move(config)});
  }
  return out;
}

void measured_production::leave_out(const std::string& model, const std::string& why) {
  reasons_ += fmt::format("{}{}: {}", reasons_.empty() ? "" : "; ", model, why);
  log::warn("production-not-measured", "worker does not measure {}, which is in production: {}", model, why);
}

void measured_production::add(const std::string& model, std::map<std::string, double> metrics,
                              const std::string& decisive) {
  if (!metrics.contains(decisive))
    return leave_out(model, "no question was held back to ask it");
  if (!best_.empty() && metrics.at(decisive) <= best_.at(decisive))
    return;
  best_ = std::move(metrics);
  model_ = model;
}

void measured_production::put_into(std::map<std::string, double>& metrics) const {
  for (auto& [metric, value] : best_)
    metrics["production_" + metric] = value;
}

json::object measured_production::record() const {
  if (!model_.empty())
    return {{"model", model_}};
  if (!reasons_.empty())
    return {{"reason", reasons_}};
  return {};
}

error not_measured(const std::string& model, error why) {
  if (why.code == ec::canceled || why.code == ec::unavailable)
    return why;
  why.text =
      fmt::format("cannot train {} again, which is in production, to measure it beside this model: {}; "
                  "evaluation.production = false leaves it out",
                  model, why.text);
  return why;
}

} // namespace troupe::trainer
