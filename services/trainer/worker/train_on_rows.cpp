#include "services/trainer/worker/train_on_rows.hpp"

#include "services/trainer/engine/binary_metrics.hpp"
#include "services/trainer/engine/neural/dcn.hpp"
#include "services/trainer/engine/neural/loop.hpp"
#include "services/trainer/worker/training_table.hpp"

#include "common/log/log.hpp"
#include "common/tensor/torch/linear_algebra.hpp"

#include <cmath>
#include <unordered_map>

namespace troupe::trainer {

namespace {

/// What needs no model: how often an item stood in the rows before `tested_on`, and how well it did.
void add_baselines(const labelled_rows& rows, std::uint64_t tested_on, std::map<std::string, double>& to) {
  struct counts {
    double rows = 0, good = 0;
  };
  std::unordered_map<std::string_view, counts> items;
  double good = 0;
  for (std::uint64_t r = 0; r < tested_on; ++r) {
    auto& each = items[rows.items[r]];
    ++each.rows;
    each.good += rows.labels[r];
    good += rows.labels[r];
  }
  auto logit = [](double p) { return static_cast<float>(std::log(p / (1 - p))); };
  auto rate = (good + 0.5) / (static_cast<double>(tested_on) + 1);
  constexpr double prior = 10; // Rows at the mean rate that every item starts with.
  std::vector<float> popular, by_rate, constant;
  for (auto r = tested_on; r < rows.size(); ++r) {
    auto& each = items[rows.items[r]];
    popular.push_back(static_cast<float>(each.rows));
    by_rate.push_back(logit((each.good + prior * rate) / (each.rows + prior)));
    constant.push_back(logit(rate));
  }
  auto labels = std::span{rows.labels}.subspan(tested_on);
  auto popularity = binary_metrics(popular, labels), item_rate = binary_metrics(by_rate, labels);
  to["popularity_log_loss"] = binary_metrics(constant, labels)["log_loss"];
  to["item_rate_log_loss"] = item_rate["log_loss"];
  if (!item_rate.contains("auc")) // All labels are the same.
    return;
  to["popularity_auc"] = popularity["auc"];
  to["item_rate_auc"] = item_rate["auc"];
}

struct fit_of_rows {
  std::unique_ptr<neural::dcn_task> what;
  neural::loop_result loop;
};

expected<fit_of_rows> trained(const train_config& config, const dcn_config& dcn, const labelled_rows& rows,
                              neural::process_group& group, const rows_setting& setting, const char* name,
                              const progress_sink& sink) {
  TROUPE_TRY(what, neural::make_dcn({dcn, config.json(), config.seed, rows}));
  neural::loop_setting options;
  options.config = dcn.loop;
  options.seed = config.seed;
  options.memory_cap = config.memory_cap;
  if (!setting.checkpoints.empty())
    options.checkpoints = setting.checkpoints / name;
  options.resume = setting.resume;
  options.identity = fmt::format("dcn {} {} {}", name, config.json(), rows.digest);
  TROUPE_TRY(loop, neural::train(*what, group, options, sink));
  return fit_of_rows{std::move(what), std::move(loop)};
}

/// What it says of the newest rows; empty where none are held back.
std::map<std::string, double> metrics_of(const fit_of_rows& fit, const labelled_rows& rows) {
  auto tested_on = fit.what->tested_on();
  if (tested_on >= rows.size())
    return {};
  return binary_metrics(fit.what->logits(tested_on, rows.size()), std::span{rows.labels}.subspan(tested_on));
}

/// Why there is no auc; empty where there is.
std::string lacking_auc(const std::map<std::string, double>& metrics, std::uint64_t tested) {
  if (tested == 0)
    return "dcn.test holds no rows back";
  return metrics.contains("auc") ? std::string{}
                                 : fmt::format("all of the {} newest rows have the same label", tested);
}

expected<labelled_rows> read_rows(const train_config& config, const rows_setting& setting,
                                  const progress_sink& sink) {
  auto folder = setting.folder.empty() ? std::filesystem::path{config.dcn.training_set} : setting.folder;
  if (folder.empty())
    return fail(ec::invalid_argument,
                "dcn.training_set is not set: a DCN is trained on the rows of a training set, "
                "see `troupe training-set build`");
  TROUPE_TRY(rows, read_training_set(folder, {config.dcn.label, config.dcn.positive_at_least, config.dcn.ids},
                                     sink));
  log::info("rows-loaded", "worker read {} rows with {} features from {}", rows.size(), rows.columns.size(),
            folder.string());
  return std::move(rows);
}

/// The group of `setting`, or this process alone, which `alone` then owns.
expected<neural::process_group*> group_of(const train_config& config, const rows_setting& setting,
                                          std::unique_ptr<neural::process_group>& alone) {
  if (setting.group != nullptr)
    return setting.group;
  neural::group_settings lone;
  lone.device = config.device;
  TROUPE_TRY(joined, neural::join_group(lone));
  alone = std::move(joined);
  return alone.get();
}

} // namespace

expected<neural::fitted> train_on_rows(const train_config& config, const rows_setting& setting,
                                       const progress_sink& sink) {
  TROUPE_TRY(rows, read_rows(config, setting, sink));
  tensor::use_threads(setting.threads);
  std::unique_ptr<neural::process_group> alone;
  TROUPE_TRY(group, group_of(config, setting, alone));
  TROUPE_TRY(measured, trained(config, config.dcn, rows, *group, setting, "measured", sink));
  auto tested_on = measured.what->tested_on();
  auto epochs = measured.loop.epochs;
  auto metrics = metrics_of(measured, rows);
  auto lacking = lacking_auc(metrics, rows.size() - tested_on);
  if (!lacking.empty())
    log::warn("not-evaluated", "worker cannot measure the model: {}", lacking);
  if (!metrics.empty()) {
    add_baselines(rows, tested_on, metrics);
    metrics["questions"] = static_cast<double>(rows.size() - tested_on);
  }
  if (measured.what->trained_on() < rows.size() && epochs > 0) {
    if (setting.next_fit)
      setting.next_fit();
    auto dcn = config.dcn;
    dcn.validation = dcn.test = 0;
    dcn.loop.epochs = static_cast<std::uint32_t>(epochs);
    TROUPE_TRY(last, trained(config, dcn, rows, *group, setting, "last", sink));
    measured = std::move(last);
  }
  TROUPE_TRY(model, measured.what->finish());
  model.metrics = std::move(metrics);
  model.data = fmt::format(R"({{"sha256":"{}","rows":{},"split":"by-time","tested":{},"epochs":{}}})",
                           rows.digest, rows.size(), rows.size() - tested_on, epochs);
  return neural::fitted{std::move(model), std::move(measured.loop), std::move(lacking)};
}

expected<std::map<std::string, double>>
measure_on_rows(const train_config& config, const rows_setting& setting, const progress_sink& sink) {
  TROUPE_TRY(rows, read_rows(config, setting, sink));
  tensor::use_threads(setting.threads);
  std::unique_ptr<neural::process_group> alone;
  TROUPE_TRY(group, group_of(config, setting, alone));
  TROUPE_TRY(measured, trained(config, config.dcn, rows, *group, setting, "measured", sink));
  auto metrics = metrics_of(measured, rows);
  std::map<std::string, double> out;
  for (auto* metric : {"auc", "log_loss"})
    if (auto found = metrics.find(metric); found != metrics.end())
      out.insert(*found);
  return out;
}

} // namespace troupe::trainer
