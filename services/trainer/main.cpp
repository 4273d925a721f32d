#include "services/trainer/components.hpp"
#include "services/trainer/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  return troupe::run_service<troupe::trainer::config>("trainer", argc, argv, troupe::trainer::components);
}
