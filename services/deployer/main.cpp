#include "services/deployer/config.hpp"
#include "services/deployer/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<deployer::config>(
      "deployer", argc, argv,
      component_list{}
          .add("release_reconciler", deployer::release_reconciler_component)
          .add("rollout_controller", deployer::rollout_controller_component, needs{"release_reconciler"})
          .add("log_reader", deployer::reader_component, needs{"rollout_controller"})
          .add("endpoint", deployer::endpoint_component, needs{"rollout_controller"}));
}
