#include "services/registry/stored.hpp"

#include <algorithm>

namespace troupe::registry {

expected<std::shared_ptr<store::database>> open_database(const std::filesystem::path& path) {
  store::options options;
  options.families = {"runs",         "run_order",     "points",   "models",
                      "model_hashes", "model_aliases", "releases", "release_order"};
  options.layout = "registry 1";
  options.cache_bytes = std::size_t{16} << 20;
  options.write_buffer_bytes = std::size_t{16} << 20;
  TROUPE_TRY(opened, store::database::open(path, std::move(options)));
  return std::shared_ptr<store::database>{std::move(opened)};
}

expected<void> check_name(std::string_view kind, std::string_view name) {
  if (name.empty() || name.size() > 200)
    return fail(ec::invalid_argument, "a {} needs 1 to 200 bytes, got {}", kind, name.size());
  if (std::ranges::any_of(name,
                          [](char each) { return static_cast<unsigned char>(each) < 0x20 || each == ':'; }))
    return fail(ec::invalid_argument, "a {} cannot hold control characters or a colon: '{}'", kind, name);
  return {};
}

} // namespace troupe::registry
