#include "services/gateway/components.hpp"
#include "services/gateway/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<gateway::config>("gateway", argc, argv, gateway::components);
}
