#include "services/ranker/config.hpp"
#include "services/ranker/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ranker::config>("ranker", argc, argv,
                                     component_list{}
                                         .add("shelf", ranker::spawn_shelf)
                                         .add("catalogue", ranker::spawn_catalogue, needs{"shelf"})
                                         .add("desk", ranker::spawn_desk, needs{"catalogue"})
                                         .add("endpoint", ranker::spawn_endpoint, needs{"desk"}));
}
