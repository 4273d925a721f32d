#pragma once

#include "services/trainer/config.hpp"
#include "services/trainer/metrics.hpp"
#include "services/trainer/run_journal.hpp"
#include "services/trainer/training_sets.hpp"

#include "common/net/client.hpp"

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

namespace troupe::trainer {

/// What runs share. `log` and `registry` may be null: the catalog has no such service.
struct run_deps {
  std::filesystem::path folder; ///< A run lives in its sub-folder <id>.
  std::filesystem::path worker;
  std::shared_ptr<const config> settings;
  std::shared_ptr<net::client> log;
  std::shared_ptr<net::client> registry;
  std::shared_ptr<run_journal> journal;
  std::shared_ptr<trainer::training_sets> training_sets;
  service_metrics seen;
};

/// What is asked of a run: to go on, to end for good, or to end so that the next life goes on with it.
enum class requested_state : std::uint8_t { running, canceled, stopped };

/// Does all of a run: data, training, publishing. Goes on where an earlier life stopped. `report` hears of
/// every change. Gives the last status; nothing when it was stopped by `requested_state::stopped`, so that
/// the next life goes on.
std::optional<run_status> execute_run(const run_deps& deps, const run_order& order, run_status status,
                                      const std::atomic<requested_state>& requested,
                                      const std::function<void(const run_status&)>& report);

/// Offers an ended run, whose publication waits, to the registry once more: its model, its metrics and its
/// end. The journal has what came of it. Gives whether it waits no longer.
bool publish_again(const run_deps& deps, const run_journal::entry& ended,
                   const std::atomic<requested_state>& requested);

} // namespace troupe::trainer
