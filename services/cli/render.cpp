#include "services/cli/render.hpp"

#include "services/cli/container_fleet.hpp"
#include "services/cli/render_compose.hpp"
#include "services/cli/render_kubernetes.hpp"
#include "services/cli/yaml.hpp"

#include "common/core/file.hpp"

#include <boost/json.hpp>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;

std::string head(std::string_view what) {
  return fmt::format("# Written by `troupe catalog render {}` from catalog.toml; change that instead.\n",
                     what);
}

constexpr std::string_view start_compose = R"(#
#   scripts/images                        the images
#   docker/keys web read,write            keys of the services, and one API key, which is printed
#   docker compose -f compose/compose.yaml up -d
#   docker compose -f compose/compose.yaml run --rm cli status
)";
constexpr std::string_view start_kubernetes =
    R"(# Kubernetes 1.28 or later, with a metrics server for the autoscalers. From the source tree to a fleet that runs:
#
#   export TROUPE_IMAGES=registry.example/troupe TROUPE_TAG=)" TROUPE_VERSION
    R"(     where your nodes pull from
#   scripts/images                                                    build, then push each of what it lists:
#   docker push $TROUPE_IMAGES/gateway:$TROUPE_TAG                    and so on
#   troupe catalog render kubernetes --images $TROUPE_IMAGES --tag $TROUPE_TAG
#   docker/keys web read,write                                        keys of the services, and one API key, which is printed
#   docker/keys --kubernetes | kubectl apply -f -                     what this file names and does not hold
#   kubectl apply -f compose/kubernetes.yaml
#   kubectl exec deploy/cli -- troupe status
#
# Metrics are open to the namespace `monitoring`.
)";

/// Views, schemas and the gate: every TOML file but the catalog and the API keys.
expected<fleet_files> read_fleet_files(const fs::path& folder) {
  fleet_files files;
  std::error_code err;
  for (const auto& each : fs::recursive_directory_iterator{folder, err}) {
    auto path = fs::relative(each.path(), folder).generic_string();
    if (!each.is_regular_file() || each.path().extension() != ".toml" || path == "catalog.toml" ||
        path == "api-keys.toml")
      continue;
    TROUPE_TRY(text, read_file(each.path()));
    files.emplace(path, std::move(text));
  }
  return files;
}

} // namespace

expected<rendered_files> render_compose(const catalog& fleet) {
  return rendered_files{
      {"compose.yaml", head("compose") + std::string{start_compose} + to_yaml(compose_file(fleet))},
      {"fleet/catalog.toml", head("compose") + container_catalog(fleet, container_target::compose)},
      {"prometheus/prometheus.yml", head("compose") + to_yaml(prometheus_file(fleet))}};
}

expected<rendered_files> render_kubernetes(const catalog& fleet, const image_names& images) {
  TROUPE_TRY(files, read_fleet_files(fleet.folder() / "fleet"));
  auto text = head("kubernetes") + std::string{start_kubernetes};
  for (const auto& object : kubernetes_objects(fleet, files, images))
    text += "---\n" + to_yaml(object);
  return rendered_files{{"kubernetes.yaml", std::move(text)}};
}

} // namespace troupe::cli
