#include "services/registry/stored.hpp"

#include "common/core/plain_name.hpp"
#include "common/core/text_start.hpp"
#include "common/event/record.hpp"

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

expected<void> check_label(std::string_view kind, std::string_view label) {
  if (label.empty() || label.size() > 200)
    return fail(ec::invalid_argument, "a {} needs 1 to 200 bytes, got {}", kind, label.size());
  if (holds_control(label) || label.find(':') != label.npos)
    return fail(ec::invalid_argument, "a {} cannot hold control characters or a colon: '{}'", kind, label);
  return {};
}

expected<void> check_name(std::string_view kind, std::string_view name) {
  if (is_plain_name(name))
    return {};
  return fail(ec::invalid_argument,
              "{} '{}' cannot be called so: a name has 1 to 128 letters, digits, - _ and ., the first no dot",
              kind, text_start(name, 128));
}

} // namespace troupe::registry
