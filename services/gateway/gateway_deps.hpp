#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/backend.hpp"
#include "services/gateway/config.hpp"
#include "services/gateway/http/key_ring.hpp"
#include "services/gateway/logic/arm_counts.hpp"
#include "services/gateway/logic/routing_table.hpp"
#include "services/gateway/metrics.hpp"
#include "services/gateway/store/gateway_state.hpp"
#include "services/gateway/store/idempotency_store.hpp"

#include "common/actor/health.hpp"
#include "common/core/published.hpp"
#include "common/http/router.hpp"

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

namespace troupe::gateway {

/// Names in `gateway_state`.
inline constexpr std::string_view routing_state = "routing", fallback_state = "trending",
                                  report_state = "report", report_number_state = "report-number";

/// What the requests and the actors of one gateway share. What changes guards itself: any thread.
struct gateway_deps {
  struct open_options {
    std::string identity = "gateway/0"; ///< Of this replica.
    std::shared_ptr<const config> settings;
    backends behind;
    gateway::peers peers;
    std::shared_ptr<troupe::health> health; ///< Empty: always ready.
    metrics::registry* metrics = nullptr;
    std::filesystem::path state;    ///< Folder of the database.
    std::filesystem::path key_file; ///< API keys.
  };

  /// Opens the database and reads what outlived the last process. Blocks.
  static expected<std::shared_ptr<gateway_deps>> open(open_options options);

  /// Of all other gateways and ours: what was kept of a request, as JSON; ec::not_found. Blocks for a read.
  expected<std::string> inspection(const std::string& request_id) const;

  /// More than three quarters of what may be in flight is: what callers do not see is left out.
  bool busy() const noexcept { return in_flight > settings->max_in_flight / 4 * 3; }

  /// Whether the fallback list hears what an answer shows: of many answers a second some say as much.
  bool tells_shown() noexcept {
    auto now = deadline::clock::now().time_since_epoch().count();
    auto due = shown_due.load(std::memory_order_relaxed);
    return now >= due &&
           shown_due.compare_exchange_strong(due, now + deadline::clock::duration{shown_pause}.count());
  }
  static constexpr std::chrono::milliseconds shown_pause{20};

  open_options options;
  std::shared_ptr<const config> settings;
  backends behind;
  std::shared_ptr<store::database> database;
  std::unique_ptr<slate_outbox> outbox;
  std::unique_ptr<request_log> requests;
  std::unique_ptr<idempotency_store> row_times;
  std::unique_ptr<gateway_state> state;
  std::unique_ptr<key_ring> keys;
  std::unique_ptr<request_metrics> seen;
  http::router router;
  std::string openapi, openapi_with_keys;
  published<routing_table> routing{std::make_shared<const routing_table>()};
  published<fallback_list> fallback{std::make_shared<const fallback_list>()};
  arm_counts arms;
  std::atomic<std::uint32_t> in_flight{0}; ///< Requests at work.
  std::atomic<std::uint32_t> shadows{0};   ///< Shadow calls at work.
  std::atomic<deadline::clock::rep> shown_due{0};
  // Set once, before the first request.
  fallback_items_actor fallback_items;
  std::vector<requests_actor> requests_at_work;
  std::atomic<std::size_t> request_turn{0};
};

using deps_ptr = std::shared_ptr<gateway_deps>;

} // namespace troupe::gateway
