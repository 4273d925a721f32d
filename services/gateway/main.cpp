#include "services/gateway/components.hpp"
#include "services/gateway/config.hpp"

#include "common/actor/run_service.hpp"

int main(int argc, char** argv) {
  using namespace troupe;
  using namespace troupe::gateway;
  return run_service<config>("gateway", argc, argv,
                             component_list{}
                                 .add("state", make_state_component)
                                 .add("routing", make_routing_component, needs{"state"})
                                 .add("reports", make_reports_component, needs{"state"})
                                 .add("fallback", make_fallback_component, needs{"state"})
                                 .add("impressions", make_impressions_component, needs{"state"})
                                 .add("keys", make_keys_component, needs{"state"})
                                 .add("expiry", make_expiry_component, needs{"state"})
                                 .add("http", make_http_component, needs{"state", "fallback"})
                                 .add("endpoint", make_endpoint_component, needs{"state"}));
}
