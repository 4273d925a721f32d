#pragma once

#include "services/ranker/config.hpp"
#include "services/ranker/item_catalogue.hpp"
#include "services/ranker/metrics.hpp"
#include "services/ranker/rank.hpp"
#include "services/ranker/release_shelf.hpp"

#include "common/net/request.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::ranker {

/// One feature of a user, as explanations show it.
struct used_feature {
  std::string name;
  std::uint8_t status = 0; ///< As wire::FeatureStatus.
  std::int64_t age_us = -1;
  std::string value;
};

/// What the feature store knows of one user.
struct user_state {
  std::vector<std::string> history;
  std::vector<used_feature> features;
  std::vector<attribute> values;  ///< Those that are present, by "view.feature".
  std::vector<std::string> views; ///< "view@version" behind them.
  bool deleted = false;           ///< To be treated as a stranger.
  deadline::clock::time_point read{};
};

using user_state_ptr = std::shared_ptr<const user_state>;

/// The users read last. Bounded; the one unused longest goes first. Any thread.
class near_cache {
public:
  explicit near_cache(std::size_t bound) : bound_{bound} {}
  user_state_ptr find(const std::string& key);
  void put(const std::string& key, user_state_ptr state);

private:
  std::size_t bound_;
  std::mutex mutex_;
  std::list<std::pair<std::string, user_state_ptr>> by_use_; ///< Used last first.
  std::unordered_map<std::string_view, decltype(by_use_)::iterator> places_;
};

/// Answers rank and similar.
///
/// Operation: the threads of the desk read a request, ask for the features of its user where the near cache
/// has none young enough, and give the thread back until they are there or have failed; then they rank. Every
/// request is answered; without features, catalogue or the release asked for the answer says so (`degraded`).
/// Limits: the endpoint's max_in_flight bounds what waits; a request whose deadline has passed is not done.
class desk : public std::enable_shared_from_this<desk> {
public:
  /// Reads the features of one user and calls back once, from any thread.
  struct feature_read {
    std::string user;
    std::vector<std::string> features;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> min_offsets;
    deadline until;
  };
  using read_function = std::function<void(feature_read, std::function<void(expected<user_state>)>)>;

  desk(std::shared_ptr<const config> settings, std::shared_ptr<release_shelf> shelf,
       std::function<catalogue_ptr()> catalogue, read_function read,
       std::shared_ptr<service_metrics> metrics);
  ~desk();
  desk(const desk&) = delete;
  desk& operator=(const desk&) = delete;

  /// Starts the threads.
  void start();

  /// Takes a request of kind rank or similar.
  void take(net::request asked);

  /// Answers what waits with ec::stopping and joins the threads.
  void stop();

private:
  struct job {
    net::request asked;
    deadline::clock::time_point arrived = deadline::clock::now();
    std::optional<user_state_ptr> user; ///< Once features have come, or failed to (nullptr).
    std::string lack;                   ///< Why they are less than they should be.
    std::chrono::microseconds features_took{};
  };
  using job_ptr = std::shared_ptr<job>;

  void work();
  void push(job_ptr next);
  void refuse(job& of, error why);
  expected<void> handle(const job_ptr& of);
  expected<void> answer_rank(const job_ptr& of);
  expected<void> answer_similar(const job_ptr& of);
  void came(const job_ptr& of, const std::string& key, expected<user_state> got);
  release_ptr release_for(const std::string& id, std::vector<std::string>& degraded) const;
  catalogue_ptr catalogue_for(std::vector<std::string>& degraded) const;
  void send(const job_ptr& of, const release& by, const ranking& answer, bool explain);

  std::shared_ptr<const config> settings_;
  std::shared_ptr<release_shelf> shelf_;
  std::function<catalogue_ptr()> catalogue_;
  read_function read_;
  std::shared_ptr<service_metrics> metrics_;
  near_cache cache_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<job_ptr> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe::ranker
