#include "services/trainer/engine/neural/tasks.hpp"

#include "services/trainer/engine/neural/sasrec.hpp"
#include "services/trainer/engine/neural/two_tower.hpp"

#include <torch/utils.h>

#include <exception>
#include <mutex>

namespace troupe::trainer::neural {

bool is_neural(const std::string& model) {
  return model == "sasrec" || model == "two_tower";
}

const loop_config& loop_of(const train_config& config) {
  return config.model == "two_tower" ? config.two_tower.loop
         : config.model == "dcn"     ? config.dcn.loop
                                     : config.sasrec.loop;
}

expected<std::unique_ptr<task>> make_task(const train_config& config, const interactions& data,
                                          std::span<const ranking_case> validation) {
  // First weights come from the generator of the process.
  static std::mutex one_at_a_time;
  std::lock_guard lock{one_at_a_time};
  try {
    torch::manual_seed(config.seed);
    if (config.model == "sasrec")
      return make_sasrec(config, data, validation);
    if (config.model == "two_tower")
      return make_two_tower({config.two_tower, config.json(), config.seed, data, validation});
  } catch (const std::exception& err) {
    return fail(ec::internal, "cannot make the network {}: {}", config.model, err.what());
  }
  return fail(ec::invalid_argument, "{} is no network", config.model);
}

expected<std::unique_ptr<scorer>> open_scorer(std::shared_ptr<const trained_model> model) {
  if (model->kind == "sasrec")
    return open_sasrec(std::move(model));
  if (model->kind == "two_tower")
    return two_tower_scorer(std::move(model));
  return make_scorer(std::move(model));
}

} // namespace troupe::trainer::neural
