#include "services/ingest/components.hpp"
#include "services/ingest/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<ingest::config>("ingest", argc, argv, ingest::components);
}
