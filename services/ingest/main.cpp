#include "services/ingest/components.hpp"
#include "services/ingest/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ingest::config>(
      "ingest", argc, argv,
      component_list{}
          .add("log", ingest::log_component)
          .add("imports", ingest::imports_component, needs{"log"})
          .add("fetch", ingest::fetch_component, needs{"log"})
          .add("endpoint", ingest::endpoint_component, needs{"imports", "fetch"}));
}
