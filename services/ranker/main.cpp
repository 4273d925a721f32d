#include "services/ranker/components.hpp"
#include "services/ranker/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  return troupe::run_service<troupe::ranker::config>("ranker", argc, argv, troupe::ranker::components);
}
