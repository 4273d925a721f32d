#pragma once

#include "services/ranker/release.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe::ranker {

/// The releases of this replica.
///
/// Operation: `prepare` says which to hold; one thread of the shelf fetches, loads, verifies and warms those
/// that are not there yet, beside those that serve, and puts each in its place by pointer. Those no longer
/// wanted leave once none of the wanted is still on its way; their memory goes with their last reader.
/// Concurrency: any thread; `find` takes a lock for the copy of a pointer. Limits: one release is loaded at a
/// time.
class release_shelf {
public:
  /// Gives the folder of a bundle, fetching it where needed. On the shelf's thread.
  using fetch_function = std::function<expected<std::filesystem::path>(const std::string& id)>;
  /// Told of every release that became ready or failed (error not empty). On the shelf's thread.
  using told_function = std::function<void(const std::string& id, const error* failed)>;

  /// Asked before a release is warmed: what is around it has what it needs. On the shelf's thread.
  using check_function = std::function<expected<void>(const release&)>;

  struct entry {
    std::string id, state, error; ///< state: loading, warming, ready, failed.
    std::uint64_t items = 0, bytes = 0;
    std::chrono::microseconds load_time{};
    std::uint32_t in_use = 0; ///< Readers at this moment.
  };

  release_shelf(fetch_function fetch, load_options how, std::chrono::milliseconds retry, told_function told,
                check_function check = {});
  ~release_shelf();
  release_shelf(const release_shelf&) = delete;
  release_shelf& operator=(const release_shelf&) = delete;

  /// From now on holds these. One that failed before is tried again.
  void prepare(const std::vector<std::string>& ids);

  /// nullptr where it is not ready.
  release_ptr find(const std::string& id) const;

  /// The release that became ready last, of those still wanted; nullptr where none is.
  release_ptr newest() const;

  std::vector<entry> entries() const;

  /// Features of items that the releases held need.
  std::vector<std::string> item_features() const;

  /// Ends the thread, behind the release it is loading.
  void stop();

private:
  struct place {
    entry about;
    release_ptr held;
    std::uint64_t order = 0;
    std::chrono::steady_clock::time_point again{};
    bool retry = false;
  };

  void work();
  void bring(const std::string& id);

  fetch_function fetch_;
  load_options how_;
  std::chrono::milliseconds retry_;
  told_function told_;
  check_function check_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::string> wanted_;
  std::map<std::string, place> places_;
  std::uint64_t next_order_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

/// Answers the warm-up requests of a release. Fails where one has no answer or a score that is not finite.
expected<void> warm(const release& with);

} // namespace troupe::ranker
