#include "services/validator/components.hpp"
#include "services/validator/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  return troupe::run_service<troupe::validator::config>("validator", argc, argv,
                                                        troupe::validator::components);
}
