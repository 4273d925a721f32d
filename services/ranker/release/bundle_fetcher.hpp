#pragma once

#include "common/core/error.hpp"
#include "common/net/client.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::ranker {

/// Brings release bundles to this machine: from a local folder, from those fetched before, from the registry
/// (kinds release_show and blob_get). Files are kept by hash, so that releases share what they have in
/// common; a bundle appears as a whole or not at all. Blocks; one thread.
class bundle_fetcher {
public:
  /// `local` may be empty; without `registry` only what is on this machine is found.
  bundle_fetcher(std::filesystem::path data, std::filesystem::path local,
                 std::shared_ptr<net::client> registry, std::chrono::milliseconds part_timeout);

  /// Releases of the local folder, by the time of their manifest, oldest first.
  std::vector<std::string> local() const;

  /// The folder of release `id`.
  expected<std::filesystem::path> fetch(const std::string& id);

  /// Release `id` was fetched and is not what its manifest says: it goes, and every file that is not what its
  /// name says, to be fetched again when it is wanted again. Reads all of them.
  void forget(const std::string& id);

  /// Of what was fetched, what none of these needs goes.
  void keep_only(const std::vector<std::string>& ids);

private:
  expected<void> fetch_blob(const std::string& sha256, std::uint64_t bytes);
  std::filesystem::path blob(const std::string& sha256) const;

  std::filesystem::path data_, local_;
  std::shared_ptr<net::client> registry_;
  std::chrono::milliseconds part_timeout_;
};

} // namespace troupe::ranker
