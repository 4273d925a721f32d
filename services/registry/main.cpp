#include "services/registry/components.hpp"
#include "services/registry/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  return troupe::run_service<troupe::registry::config>("registry", argc, argv, troupe::registry::components);
}
