#include "services/deployer/config.hpp"
#include "services/deployer/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<deployer::config>(
      "deployer", argc, argv,
      component_list{}
          .add("keeper", deployer::keeper_component)
          .add("rollout_controller", deployer::rollout_controller_component, needs{"keeper"})
          .add("reader", deployer::reader_component, needs{"rollout_controller"})
          .add("endpoint", deployer::endpoint_component, needs{"rollout_controller"}));
}
