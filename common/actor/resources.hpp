#pragma once

#include "common/actor/health.hpp"
#include "common/core/resource_limits.hpp"

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A configuration struct that can say it.
template <class C>
concept has_resource_bounds = requires(const C& config) {
  { config.holds() } -> std::same_as<resource_bounds>;
};

/// What the machine, or the container, gives: nothing where it is not known or not limited.
struct resources {
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> disk_bytes;  ///< The size of the disk of the state.
  std::optional<std::uint64_t> descriptors; ///< Files and sockets that may be open at a time.

  static resources of(const std::filesystem::path& state);
};

/// A sentence for each bound of a service that does not fit what there is.
std::vector<std::string> misfits(std::string_view service, const resource_bounds& bounds,
                                 const resources& there);

/// Keeps a service from saying that it is ready while it has no file descriptor left for what it is asked.
class descriptor_watch {
public:
  explicit descriptor_watch(std::shared_ptr<health> of) : of_{std::move(of)} {}

  /// Looks how many are in use.
  void look();

private:
  std::shared_ptr<health> of_;
  std::optional<health::report> report_; ///< From the first time that they were used up.
};

} // namespace troupe
