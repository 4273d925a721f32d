#include "services/registry/components.hpp"
#include "services/registry/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<registry::config>(
      "registry", argc, argv,
      component_list{}
          .add("registry", registry::make_registry_component)
          .add("endpoint", registry::make_endpoint_component, needs{"registry"}));
}
