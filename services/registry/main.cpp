#include "services/registry/actors.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<registry::config>("registry", argc, argv,
                                       component_list{}
                                           .add("registry", registry::registry_component)
                                           .add("endpoint", registry::endpoint_component, needs{"registry"}));
}
