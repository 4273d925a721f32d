#pragma once

#include "services/feature_store/client/training_fetch.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace troupe::trainer {

/// The training sets that runs have fetched from the feature store, each in a folder named by its content
/// hash. One is fetched or checked at a time; other runs wait for it. Any thread; blocks.
class training_sets {
public:
  /// Hears which content a run is given, before anything is fetched.
  using chosen = std::function<expected<void>(const std::string& sha256)>;

  struct wanted_set {
    std::string name;
    std::string content_sha256; ///< Must be this one; empty: what the feature store has.
    std::string begun;          ///< The one an earlier life of the run chose; used where it is whole here.
  };
  struct found_set {
    std::filesystem::path folder;
    feature_store::training_check check;
  };

  /// `store` may be null: the catalog has no feature store.
  training_sets(std::filesystem::path folder, std::shared_ptr<net::client> store)
      : folder_{std::move(folder)}, store_{std::move(store)} {}

  /// A training set on this machine, every value of it hashed. Fails with ec::conflict, and both hashes,
  /// where the feature store has another one than must be.
  expected<found_set> take(const wanted_set& want, const chosen& note,
                           const feature_store::fetch_options& options);

  /// Removes the sets that `needed` does not name, but for the newest ones: the next run may want them. Does
  /// nothing while one is fetched.
  void drop_old(const std::function<std::set<std::string>()>& needed);

private:
  std::optional<found_set> here(const std::string& sha256) const;
  expected<found_set> fetch(const wanted_set& want, const chosen& note,
                            const feature_store::fetch_options& options) const;

  const std::filesystem::path folder_;
  const std::shared_ptr<net::client> store_;
  std::timed_mutex mutex_;
};

} // namespace troupe::trainer
