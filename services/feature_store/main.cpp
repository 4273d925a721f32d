#include "services/feature_store/components.hpp"
#include "services/feature_store/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  return run_service<feature_store::config>("feature-store", argc, argv, feature_store::components);
}
