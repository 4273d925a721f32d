#pragma once

#include "services/feature_store/client/training_manifest.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace troupe::feature_store {

/// The training sets that the feature store keeps, each in a folder with its name. A new one is built beside
/// the old one of its name and takes its place when it is complete; what a crash left half-way is put right
/// at `open`. Any thread; disk work on the caller's.
class training_set_repository {
public:
  struct entry {
    std::string name;
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0; ///< Of all its files.
    std::string content_sha256;
    std::int64_t made_at = 0; ///< Microseconds since 1970.
  };

  struct page {
    std::string bytes;
    std::uint64_t size = 0;      ///< Of the whole file.
    std::uint64_t set_bytes = 0; ///< Of all files of the set.
  };

  static constexpr std::size_t most_bytes = std::size_t{8} << 20; ///< Of a page.
  static constexpr std::size_t most_listed = 1000;

  /// Makes `folder` where it is not there. A folder in it that holds no finished training set is left alone
  /// and logged.
  static expected<std::unique_ptr<training_set_repository>> open(std::filesystem::path folder);

  /// The manifest of the set of this name; nothing where none is kept.
  std::shared_ptr<const training_manifest> find(const std::string& name) const;

  /// Up to `limit` (and `most_listed`) sets whose names come after `after`, in their order.
  std::vector<entry> list(const std::string& after, std::size_t limit, bool& last) const;

  /// Reads from a file of a set: manifest.json, or a part that it names. Nothing at the end of the file. With
  /// a `content_sha256`, fails with ec::conflict where another content has the name.
  expected<page> read(const std::string& name, const std::string& file, std::uint64_t offset,
                      std::size_t max_bytes, const std::string& content_sha256) const;

  /// Removes the set and what was begun under its name. Fails with ec::not_found where there is neither.
  expected<entry> remove(const std::string& name);

  /// Where a set of this name is built. What a build that was stopped left there stays, for the next one.
  std::filesystem::path workshop(const std::string& name) const { return building_ / name; }

  /// Gives up what was begun under this name.
  expected<void> clear(const std::string& name);

  /// The finished set in the workshop takes the place of the one that has its name.
  expected<void> publish(const std::string& name);

  /// All sets together.
  void total(std::uint64_t& sets, std::uint64_t& bytes) const;

private:
  struct kept {
    std::shared_ptr<const training_manifest> manifest;
    std::map<std::string, std::uint64_t> files; ///< Sizes in bytes by name.
    entry about;
  };

  explicit training_set_repository(std::filesystem::path folder)
      : folder_{std::move(folder)}, building_{folder_ / ".building"}, old_{folder_ / ".old"} {}

  expected<void> recover();
  expected<kept> load(const std::string& name) const;
  expected<void> exchange(const std::string& name);
  void drop_aside(const std::string& name) const;

  std::filesystem::path folder_, building_, old_;
  mutable std::mutex mutex_;
  std::map<std::string, kept> sets_;
};

} // namespace troupe::feature_store
