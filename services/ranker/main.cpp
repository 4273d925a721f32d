#include "services/ranker/components.hpp"
#include "services/ranker/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ranker::config>(
      "ranker", argc, argv,
      component_list{}
          .add("items", ranker::make_item_sync_component)
          .add("releases", ranker::make_release_manager_component, needs{"items"})
          .add("dispatcher", ranker::make_dispatcher_component, needs{"releases"})
          .add("endpoint", ranker::make_endpoint_component, needs{"dispatcher"}));
}
