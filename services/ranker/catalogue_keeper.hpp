#pragma once

#include "services/ranker/config.hpp"
#include "services/ranker/item_catalogue.hpp"
#include "services/ranker/metrics.hpp"

#include "common/actor/health.hpp"
#include "common/net/client.hpp"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace troupe::ranker {

/// Keeps the state of all items: one thread scans the feature store every `catalogue_refresh` and replaces
/// the catalogue as a whole, with the features that models want of items. A scan that fails leaves the old
/// one in force; where the feature store does not know a feature of a model, the scan goes without those of
/// models. Any thread may ask for it.
class catalogue_keeper {
public:
  catalogue_keeper(std::shared_ptr<net::client> features, std::shared_ptr<const config> settings,
                   std::shared_ptr<service_metrics> metrics, health::report report);
  ~catalogue_keeper();
  catalogue_keeper(const catalogue_keeper&) = delete;
  catalogue_keeper& operator=(const catalogue_keeper&) = delete;

  /// Never nullptr; empty before the first scan.
  catalogue_ptr current() const;

  /// From now on each scan reads the features that `wanted` names, beside its own.
  void follow(std::function<std::vector<std::string>()> wanted);

  /// Scans at once and from now on with `features` too, until another call names others; returns when the
  /// catalogue has them. Fails as the scan did, or with ec::too_late. One caller at a time.
  expected<void> bring(const std::vector<std::string>& features, deadline until);

  /// Ends the thread, within the time of one page.
  void stop();

private:
  struct plan {
    std::vector<std::string> names;   ///< What is asked for.
    std::size_t attributes = 0;       ///< The first so many are attributes of the cards...
    std::vector<std::size_t> columns; ///< ...and these are features for models.
  };

  void work();
  plan what(const std::vector<std::string>& of_models) const;
  expected<catalogue_ptr> scan(const plan& what);

  std::shared_ptr<net::client> features_;
  std::shared_ptr<const config> settings_;
  std::shared_ptr<service_metrics> metrics_;
  health::report report_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  catalogue_ptr current_ = std::make_shared<const item_catalogue>();
  std::function<std::vector<std::string>()> wanted_;
  std::vector<std::string> brought_;
  std::condition_variable scanned_;
  std::uint64_t scans_ = 0;      ///< Ended so far...
  std::optional<error> lacking_; ///< ...and why the last one lacks features of models.
  bool at_once_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace troupe::ranker
