#include "services/validator/actors.hpp"

#include "common/net/component.hpp"

namespace troupe::validator {

expected<component> judge_component(service_context& context) {
  auto& settings = context.config<config>();
  auto schemas = settings.schemas.empty() ? context.data().parent_path() / "schemas"
                                          : std::filesystem::path{settings.schemas};
  TROUPE_TRY(made,
             engine::open(settings, schemas, context.data() / "state", context.metrics(), context.report()));
  return component{spawn_judge(context.system(), std::move(made))};
}

expected<component> endpoint_component(service_context& context) {
  auto to = net::forward_to(context.actor<judge_actor>("judge"));
  return net::endpoint_component(
      context, {{wire::Kind::judge, to}, {wire::Kind::profile, to}, {wire::Kind::schemas, to}});
}

} // namespace troupe::validator
