#include "services/ingest/components.hpp"
#include "services/ingest/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ingest::config>(
      "ingest", argc, argv,
      component_list{}
          .add("log", ingest::make_log_component)
          .add("log_metrics", ingest::make_log_metrics_component, needs{"log"})
          .add("lake_sealer", ingest::make_lake_sealer_component, needs{"log"})
          .add("imports", ingest::make_imports_component, needs{"log"})
          .add("fetch", ingest::make_fetch_component, needs{"log"})
          .add("endpoint", ingest::make_endpoint_component, needs{"imports", "fetch"}));
}
