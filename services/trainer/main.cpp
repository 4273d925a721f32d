#include "services/trainer/components.hpp"
#include "services/trainer/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<trainer::config>("trainer", argc, argv,
                                      component_list{}
                                          .add("runs", trainer::make_runs_component)
                                          .add("endpoint", trainer::make_endpoint_component, needs{"runs"}));
}
