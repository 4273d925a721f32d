#include "services/feature_store/config.hpp"
#include "services/feature_store/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<feature_store::config>(
      "feature-store", argc, argv,
      component_list{}
          .add("states", feature_store::spawn_states)
          .add("consumer", feature_store::spawn_log_consumer, needs{"states"})
          .add("training", feature_store::spawn_training, needs{"states"})
          .add("endpoint", feature_store::spawn_endpoint, needs{"consumer", "training"}));
}
