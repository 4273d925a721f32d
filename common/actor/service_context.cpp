#include "common/actor/service_context.hpp"

namespace troupe {

void service_context::begin(std::string component, health::report report) {
  component_ = std::move(component);
  report_ = std::move(report);
}

void service_context::finish(const std::string& component, caf::actor handle) {
  if (handle)
    actors_.insert_or_assign(component, std::move(handle));
  component_.clear();
}

void service_context::forget(const std::string& component) {
  actors_.erase(component);
  std::erase_if(objects_, [&](const auto& entry) { return entry.second.component == component; });
}

} // namespace troupe
