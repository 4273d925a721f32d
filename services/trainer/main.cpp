#include "services/trainer/config.hpp"
#include "services/trainer/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<trainer::config>("trainer", argc, argv,
                                      component_list{}
                                          .add("runs", trainer::spawn_run_component)
                                          .add("endpoint", trainer::spawn_endpoint, needs{"runs"}));
}
