#include "services/deployer/components.hpp"
#include "services/deployer/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<deployer::config>(
      "deployer", argc, argv,
      component_list{}
          .add("release_reconciler", deployer::make_release_reconciler_component)
          .add("rollout_controller", deployer::make_rollout_controller_component, needs{"release_reconciler"})
          .add("log_reader", deployer::make_log_reader_component, needs{"rollout_controller"})
          .add("endpoint", deployer::make_endpoint_component, needs{"rollout_controller"}));
}
