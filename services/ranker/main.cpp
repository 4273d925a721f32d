#include "services/ranker/config.hpp"
#include "services/ranker/service.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ranker::config>("ranker", argc, argv,
                                     component_list{}
                                         .add("catalogue", ranker::spawn_catalogue)
                                         .add("shelf", ranker::spawn_shelf, needs{"catalogue"})
                                         .add("desk", ranker::spawn_desk, needs{"shelf"})
                                         .add("endpoint", ranker::spawn_endpoint, needs{"desk"}));
}
