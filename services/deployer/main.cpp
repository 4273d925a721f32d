#include "services/deployer/components.hpp"
#include "services/deployer/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  return troupe::run_service<troupe::deployer::config>("deployer", argc, argv, troupe::deployer::components);
}
