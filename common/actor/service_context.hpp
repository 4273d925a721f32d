#pragma once

#include "common/actor/health.hpp"
#include "common/catalog/catalog.hpp"
#include "common/core/error.hpp"
#include "common/metrics/metrics.hpp"

#include <cassert>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <typeindex>
#include <utility>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe {

/// What a component of a service is given when it is spawned. Lives on the main thread, as long as every
/// component. Components keep `shared_ptr`s and reports from it, not the context.
class service_context {
public:
  struct parts {
    std::string service;
    std::uint32_t replica = 0;
    std::filesystem::path data;           ///< Of this replica; exists.
    std::shared_ptr<catalog_watch> watch; ///< Of the catalog in force.
    std::shared_ptr<metrics::registry> registry = std::make_shared<metrics::registry>();
    std::shared_ptr<troupe::health> health;
    caf::actor_system* system = nullptr;
  };

  template <class C>
  service_context(parts parts, std::shared_ptr<const C> config)
      : parts_{std::move(parts)}, config_type_{typeid(C)}, config_{std::move(config)} {}

  caf::actor_system& system() const noexcept { return *parts_.system; }
  const std::string& service() const noexcept { return parts_.service; }
  std::uint32_t replica() const noexcept { return parts_.replica; }

  /// `ingest/0`: for logs and as the caller of messages.
  std::string identity() const { return parts_.service + "/" + std::to_string(parts_.replica); }

  /// The folder this replica keeps its state in. Exists; nobody else writes there.
  const std::filesystem::path& data() const noexcept { return parts_.data; }

  /// The configuration struct given to run_service.
  template <class C>
  const C& config() const {
    assert(config_type_ == typeid(C));
    return *static_cast<const C*>(config_.get());
  }
  template <class C>
  std::shared_ptr<const C> shared_config() const {
    assert(config_type_ == typeid(C));
    return std::static_pointer_cast<const C>(config_);
  }

  /// The catalog in force when called.
  catalog_ptr catalog() const { return parts_.watch->current(); }
  /// For components that follow its changes.
  const std::shared_ptr<catalog_watch>& watch() const noexcept { return parts_.watch; }

  /// This service in the catalog: endpoints, binds, keys, limits.
  service_entry entry() const { return **catalog()->find(parts_.service); }

  metrics::registry& metrics() const noexcept { return *parts_.registry; }
  const std::shared_ptr<troupe::health>& health() const noexcept { return parts_.health; }

  /// How the component being spawned tells about itself. Keep a copy.
  const health::report& report() const noexcept { return report_; }

  /// For the one who spawns the components: how the one whose turn it is tells about itself.
  void begin(health::report report) { report_ = std::move(report); }

private:
  parts parts_;
  std::type_index config_type_;
  std::shared_ptr<const void> config_;
  health::report report_;
};

} // namespace troupe
