#pragma once

#include "services/gateway/arm_stats.hpp"
#include "services/gateway/body.hpp"
#include "services/gateway/config.hpp"
#include "services/gateway/journal.hpp"
#include "services/gateway/key_ring.hpp"
#include "services/gateway/routes.hpp"
#include "services/gateway/routing.hpp"

#include "common/actor/health.hpp"
#include "common/http/router.hpp"
#include "common/http/server.hpp"
#include "common/metrics/metrics.hpp"
#include "common/net/client.hpp"
#include "common/net/request.hpp"

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace troupe::gateway {

/// The services behind the gateway; nullptr: the catalog has none.
struct backends {
  std::shared_ptr<net::client> ingest, features, registry, deployer, ranker;
};

/// The other gateways: each keeps what happened to the requests that it answered.
struct siblings {
  std::shared_ptr<net::client> client; ///< nullptr: there is one gateway, or it may not ask the others.
  std::uint32_t self = 0;              ///< Our own replica.
  std::uint32_t steady = 0;            ///< Replicas below this always run.
};

struct api_parts {
  std::string who = "gateway/0";
  std::shared_ptr<const config> settings;
  backends behind;
  siblings others;
  std::shared_ptr<troupe::health> health;
  health::report report;
  metrics::registry* metrics = nullptr;
  std::filesystem::path state;    ///< Folder of the journal.
  std::filesystem::path key_file; ///< API keys.
};

/// The HTTP API: turns requests into calls to the services behind, and what they say into answers.
///
/// Operation: a request is authorised, limited, read and sent on; the answer is made where the reply arrives.
/// Three threads beside: one waits for routing tables, one reports what was seen of the arms, one reads the
/// fallback list and forgets what is old. Concurrency: `serve` from any thread. Limits: `max_in_flight`
/// requests at work; one more is answered 503.
class api {
public:
  static expected<std::shared_ptr<api>> open(api_parts parts);
  /// Waits for the calls that are under way, each of which ends at its deadline. Not from their callbacks.
  ~api();

  void serve(http::request asked, http::responder respond);

  /// The status of an answer that the HTTP server gave by itself: it belongs to the histogram of all
  /// outcomes.
  void note_rejected(unsigned status) { observe(nullptr, status, {}, 0); }

  /// Whether callers need a key: from the first key on, also when it was made after the start.
  bool guarded() { return keys_->guarded(); }

  /// Ends the threads and the journal. What is under way must be answered before.
  void stop();

  /// Answers `inspect` of another gateway. Quick: a look into memory, or one read.
  void answer_gateway(net::request asked) const;

  routing_ptr routing() const { return routing_.current(); }
  journal_counters impressions() const { return journal_->counters(); }

private:
  struct call;
  using call_ptr = std::shared_ptr<call>;
  struct given_answer;
  struct search;
  struct shown_item {
    std::string item, title;
  };

  explicit api(api_parts parts);
  std::optional<http::response> find_route(call& one);
  std::optional<http::response> authorise(call& one);
  std::optional<http::response> admit(call& one);
  void dispatch(const call_ptr& one);
  void observe(const route* to, unsigned status, const std::string& arm, std::uint64_t us);
  void finish(const call_ptr& one, http::response given);
  void refuse(const call_ptr& one, const error& err);

  void note_row(const record& added);
  void count_seen(std::string_view item, double times, std::string_view title); ///< Under the mutex.
  void write_rows(const call_ptr& one, std::vector<row> rows);
  void read_entity_of(const call_ptr& one, const char* entity);
  static expected<ask> read_query(const call& one);
  expected<net::client*> choose_arm(const call_ptr& one, std::string_view key);
  void recommend(const call_ptr& one);
  void on_ranked(const call_ptr& one, expected<net::reply> got);
  void fall_back(const call_ptr& one, const error& why);
  void give(const call_ptr& one, given_answer made);
  void similar_items(const call_ptr& one);
  void shadow(const call_ptr& one, std::vector<std::string> shown);
  /// What is kept of a request, as JSON; ec::not_found.
  expected<std::string> inspection(const std::string& id) const;
  void inspect_request(const call_ptr& one);
  void on_inspected(const call_ptr& one, search& of, std::uint32_t replica, const expected<net::reply>& got);
  void pass_on(const call_ptr& one, operation what, const std::string& id, const http::query_values& query,
               const std::string& body);

  expected<net::reply> ask_and_wait(net::client& from, wire::Kind kind, chunk payload,
                                    std::chrono::milliseconds span);
  /// `then`, counted as under way until it has ended: the destructor waits for it.
  net::client::done noted(net::client::done then);
  void routing_loop();
  void report_loop();
  void chores_loop();
  void report_arms();
  /// Items by the trending feature, over all feature stores; not those that are hidden or gone.
  expected<std::vector<std::pair<double, shown_item>>> scan_trending();
  void refresh_trending();

  api_parts parts_;
  const config& settings_;
  http::router router_;
  std::string openapi_ = openapi();
  std::unique_ptr<journal> journal_;
  routing_box routing_;
  arm_stats stats_;
  std::unique_ptr<key_ring> keys_;
  std::atomic<std::uint32_t> in_flight_{0}, shadows_{0};
  std::mutex mutex_; ///< Of what follows.
  std::vector<shown_item> trending_;
  std::unordered_map<std::string, std::pair<double, std::string>> seen_;
  metrics::counter fallbacks_, lesser_; ///< Answers that say they are degraded.
  std::mutex latencies_mutex_;
  std::map<std::tuple<const route*, unsigned, std::string>, metrics::histogram> latencies_;
  std::mutex stop_mutex_;
  std::condition_variable stop_wake_;
  bool stopping_ = false;
  std::size_t under_way_ = 0; ///< Calls to services behind us that have not ended.
  std::thread routing_thread_, report_thread_, chores_thread_;
};

} // namespace troupe::gateway
