#pragma once

#include "common/actor/health.hpp"
#include "common/catalog/catalog.hpp"
#include "common/core/error.hpp"
#include "common/metrics/metrics.hpp"

#include <caf/actor.hpp>
#include <caf/actor_cast.hpp>

#include <cassert>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
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
  std::string who() const { return parts_.service + "/" + std::to_string(parts_.replica); }

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

  /// Gives an object to components spawned later (a store, a client). Dropped after the component that gave
  /// it has stopped.
  template <class T>
  void share(std::string name, std::shared_ptr<T> object) {
    objects_.insert_or_assign(std::move(name), entry_of{typeid(T), std::move(object), component_});
  }

  /// What a component spawned earlier has shared under that name; asking for what is not there is our
  /// mistake.
  template <class T>
  std::shared_ptr<T> shared(std::string_view name) const {
    auto found = objects_.find(name);
    assert(found != objects_.end() && found->second.type == typeid(T));
    return std::static_pointer_cast<T>(found->second.object);
  }

  /// The actor of a component spawned earlier, by the component's name.
  template <class Handle = caf::actor>
  Handle actor(std::string_view component) const {
    auto found = actors_.find(component);
    assert(found != actors_.end());
    return caf::actor_cast<Handle>(found->second);
  }

  /// For the one who spawns the components: whose turn it is, what came of it, and that it is over.
  void begin(std::string component, health::report report);
  void finish(const std::string& component, caf::actor handle);
  void forget(const std::string& component);

private:
  struct entry_of {
    std::type_index type;
    std::shared_ptr<void> object;
    std::string component;
  };

  parts parts_;
  std::type_index config_type_;
  std::shared_ptr<const void> config_;
  std::string component_;
  health::report report_;
  std::map<std::string, entry_of, std::less<>> objects_;
  std::map<std::string, caf::actor, std::less<>> actors_;
};

} // namespace troupe
