#include "services/validator/components.hpp"

#include "services/validator/actors.hpp"

#include "common/net/component.hpp"

namespace troupe::validator {

namespace {

/// What the components make for those after them.
struct wiring {
  judge_actor judge;
};

expected<component> make_judge(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  auto schemas = settings.schemas.empty() ? context.data().parent_path() / "schemas"
                                          : std::filesystem::path{settings.schemas};
  TROUPE_TRY(opened,
             engine::open(settings, schemas, context.data() / "state", context.metrics(), context.report()));
  made.judge = spawn_judge(context.system(), std::move(opened));
  return component{made.judge};
}

expected<component> make_endpoint(service_context& context, const judge_actor& judge) {
  auto to = net::forward_to(judge);
  return net::endpoint_component(
      context, {{wire::Kind::judge, to}, {wire::Kind::profile, to}, {wire::Kind::schemas, to}});
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("judge", [made](service_context& context) { return make_judge(context, *made); })
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->judge); },
          needs{"judge"});
}

} // namespace troupe::validator
