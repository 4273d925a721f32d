#include "services/validator/components.hpp"

#include "services/validator/actors.hpp"

#include "common/net/component.hpp"

namespace troupe::validator {

namespace {

/// What the components make for those after them.
struct wiring {
  validator_actor validator;
};

expected<component> make_validator(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  auto schemas = settings.schemas.empty() ? context.data().parent_path() / "schemas"
                                          : std::filesystem::path{settings.schemas};
  TROUPE_TRY(opened,
             engine::open(settings, schemas, context.data() / "state", context.metrics(), context.report()));
  made.validator = spawn_validator(context.system(), std::move(opened));
  return component{made.validator};
}

expected<component> make_endpoint(service_context& context, const validator_actor& validator) {
  auto to = net::forward_to(validator);
  return net::endpoint_component(
      context, {{wire::Kind::validate, to}, {wire::Kind::profile, to}, {wire::Kind::schemas, to}});
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("validator", [made](service_context& context) { return make_validator(context, *made); })
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->validator); },
          needs{"validator"});
}

} // namespace troupe::validator
