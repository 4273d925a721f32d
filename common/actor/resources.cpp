#include "common/actor/resources.hpp"

#include "common/log/log.hpp"

#include <algorithm>

namespace troupe {

namespace {

/// Of a container's memory: the rest is for code, stacks, and what is at work at the moment.
constexpr double share_for_bounds = 0.75;

/// Stores stop writing before a disk is full (`common/store`), some megabytes each, and compact beside what
/// they have: on a smaller disk they would hardly begin.
constexpr std::uint64_t least_disk = std::uint64_t{64} << 20;

/// A store, the connections of the fleet and of the metrics, and some to spare.
constexpr std::uint64_t least_descriptors = 256;

/// So few descriptors are none: each request takes some for a moment.
constexpr std::uint64_t descriptors_at_work = 8;

std::uint64_t mebibytes(std::uint64_t bytes) {
  return bytes >> 20;
}

} // namespace

resources resources::of(const std::filesystem::path& state) {
  resources there{memory_limit(), std::nullopt, descriptor_limit()};
  std::error_code unknown;
  if (auto space = std::filesystem::space(state, unknown); !unknown)
    there.disk_bytes = space.capacity;
  return there;
}

std::vector<std::string> misfits(std::string_view service, const resource_bounds& bounds,
                                 const resources& there) {
  std::vector<std::string> out;
  if (there.memory_bytes &&
      static_cast<double>(bounds.memory_bytes) > share_for_bounds * static_cast<double>(*there.memory_bytes))
    out.push_back(
        fmt::format("{} may hold {} MiB in its caches and queues, and its control group leaves it {} "
                    "MiB in all: make them smaller, or the kernel may end it",
                    service, mebibytes(bounds.memory_bytes), mebibytes(*there.memory_bytes)));
  if (there.disk_bytes && *there.disk_bytes < std::max(bounds.disk_bytes, least_disk))
    out.push_back(fmt::format(
        "{} may keep {} MiB and more, and the disk of its state has {} MiB: writes will be "
        "refused before that",
        service, mebibytes(std::max(bounds.disk_bytes, least_disk)), mebibytes(*there.disk_bytes)));
  if (there.descriptors && *there.descriptors < least_descriptors)
    out.push_back(
        fmt::format("{} may open {} files and sockets at a time, and needs {} to be safe: raise that limit "
                    "(ulimit -Hn, LimitNOFILE)",
                    service, *there.descriptors, least_descriptors));
  return out;
}

void descriptor_watch::look() {
  auto most = descriptor_limit(), used = descriptors_in_use();
  if (used + descriptors_at_work < most) {
    if (report_)
      report_->ready();
    return;
  }
  if (!report_)
    report_ = health::add(of_, "descriptors");
  report_->not_ready(fmt::format("{} of {} file descriptors are in use", used, most));
  log::warn("no-descriptors", "{} of {} file descriptors are in use: connections and files wait for one",
            used, most);
}

} // namespace troupe
