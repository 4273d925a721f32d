#pragma once

#include "common/catalog/catalog.hpp"

#include <map>
#include <string>

namespace troupe::cli {

/// Files by their path below the folder of the catalog.
using rendered_files = std::map<std::string, std::string>;

/// The images of a fleet: `<prefix>/<service>:<tag>`. The tag is fixed, so that no node runs another build.
struct image_names {
  std::string prefix = "troupe";
  std::string tag = TROUPE_VERSION;
};

/// compose.yaml, the catalog of its containers and what their Prometheus scrapes.
expected<rendered_files> render_compose(const catalog& fleet);

/// kubernetes.yaml. The files below `fleet/` beside the catalog, but for catalog and keys, go into its config
/// map; fails where one cannot be read.
expected<rendered_files> render_kubernetes(const catalog& fleet, const image_names& images = {});

} // namespace troupe::cli
