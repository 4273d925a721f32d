#include "services/trainer/engine/neural/fit.hpp"

#include "services/trainer/engine/classic.hpp"
#include "services/trainer/engine/neural/tasks.hpp"

#include "common/tensor/torch/linear_algebra.hpp"

namespace troupe::trainer::neural {

expected<fitted> fit(const train_config& config, const interactions& data,
                     std::span<const ranking_case> validation, const fit_setting& setting,
                     const progress_sink& sink) {
  fitted out;
  if (config.model == "dcn")
    return fail(
        ec::invalid_argument,
        "a DCN is not trained on interactions but on the rows of a training set: build one with `troupe "
        "training-set build` and order a run with `troupe train`, see services/trainer/configs/dcn.toml");
  if (!is_neural(config.model)) {
    if (setting.group != nullptr && setting.group->world() > 1)
      return fail(ec::invalid_argument,
                  "run.ranks = {}, but {} is trained by one process; it uses all its threads",
                  setting.group->world(), config.model);
    TROUPE_TRY(model, fit_classic(config, data, setting.threads, sink));
    out.model = std::move(model);
    return out;
  }
  tensor::use_threads(setting.threads);
  if (setting.epochs > 0)
    validation = {};
  TROUPE_TRY(what, make_task(config, data, validation));
  loop_setting options;
  options.config = loop_of(config);
  if (setting.epochs > 0)
    options.config.epochs = static_cast<std::uint32_t>(setting.epochs);
  options.seed = config.seed;
  options.memory_cap = config.memory_cap;
  options.checkpoints = setting.checkpoints;
  options.resume = setting.resume;
  options.identity = fmt::format("{} {} {} {}", config.model, config.json(), data.digest, data.size());
  std::unique_ptr<process_group> alone;
  auto* group = setting.group;
  if (group == nullptr) {
    group_settings lone;
    lone.device = config.device;
    TROUPE_TRY(joined, join_group(lone));
    alone = std::move(joined);
    group = alone.get();
  }
  TROUPE_TRY(loop, train(*what, *group, options, sink));
  TROUPE_TRY(model, what->finish());
  out.loop = std::move(loop);
  out.model = std::move(model);
  out.model.kind = config.model;
  out.model.config = config.json();
  out.model.seed = config.seed;
  out.model.items = data.items;
  out.model.data = fmt::format(R"({{"sha256":"{}","interactions":{}}})", data.digest, data.size());
  return out;
}

} // namespace troupe::trainer::neural
