#include "services/validator/actors.hpp"
#include "services/validator/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<validator::config>("validator", argc, argv,
                                        component_list{}
                                            .add("judge", validator::judge_component)
                                            .add("endpoint", validator::endpoint_component, needs{"judge"}));
}
