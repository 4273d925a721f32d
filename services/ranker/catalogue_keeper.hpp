#pragma once

#include "services/ranker/config.hpp"
#include "services/ranker/item_catalogue.hpp"
#include "services/ranker/metrics.hpp"

#include "common/actor/health.hpp"
#include "common/net/client.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace troupe::ranker {

/// Keeps the state of all items: one thread scans the feature store every `catalogue_refresh` and replaces
/// the catalogue as a whole. A scan that fails leaves the old one in force. Any thread may ask for it.
class catalogue_keeper {
public:
  catalogue_keeper(std::shared_ptr<net::client> features, std::shared_ptr<const config> settings,
                   std::shared_ptr<service_metrics> metrics, health::report report);
  ~catalogue_keeper();
  catalogue_keeper(const catalogue_keeper&) = delete;
  catalogue_keeper& operator=(const catalogue_keeper&) = delete;

  /// Never nullptr; empty before the first scan.
  catalogue_ptr current() const;

  /// Ends the thread, within the time of one page.
  void stop();

private:
  void work();
  expected<std::vector<item_card>> scan();

  std::shared_ptr<net::client> features_;
  std::shared_ptr<const config> settings_;
  std::shared_ptr<service_metrics> metrics_;
  health::report report_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  catalogue_ptr current_ = std::make_shared<const item_catalogue>();
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace troupe::ranker
