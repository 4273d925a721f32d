#pragma once

#include "services/feature_store/training/training_set.hpp"
#include "services/feature_store/training/training_set_repository.hpp"

#include "common/core/bytes.hpp"
#include "common/metrics/metrics.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace troupe::feature_store {

/// Builds training sets on a thread of its own, one at a time. Any thread.
class training_jobs {
public:
  using open_log = std::function<std::unique_ptr<ingest::record_stream>()>;

  training_jobs(std::vector<feature_view> views, open_log log, std::shared_ptr<training_set_repository> kept,
                std::uint64_t memory_bytes, metrics::counter rows)
      : views_{std::move(views)}, log_{std::move(log)}, kept_{std::move(kept)},
        memory_bytes_{memory_bytes}, rows_{rows} {}
  ~training_jobs() { stop(); }

  /// Answers wire::TrainingStart, TrainingQuery: bytes of wire::TrainingStatus. The same specification and
  /// folder are the same training set: asking again gives its status, or resumes it. While another one runs:
  /// ec::overloaded. Without a folder the set is kept by its name: one that is there is found done as long as
  /// it is what the specification gives now, else its place is taken when the new one is complete.
  expected<chunk> start(const std::string& spec, const std::string& out);
  expected<chunk> query(const std::string& id, bool cancel);

  /// Removes a kept set; ec::conflict while it is being built.
  expected<training_set_repository::entry> remove(const std::string& name);

  /// Ends what runs at its next step; it stays resumable.
  void stop();

private:
  enum class state : std::uint8_t { running, done, failed, canceled };
  struct job {
    std::string id;
    std::string kept_as; ///< The name it is kept by; empty: it goes to a folder.
    state is = state::running;
    std::string error;
    std::string manifest;
    training_progress progress;
    std::atomic<bool> cancel{false};
  };

  chunk encode(const job& of) const;
  expected<std::string> build_kept(const training_spec& spec, ingest::record_stream& log,
                                   const training_options& options);

  std::vector<feature_view> views_;
  open_log log_;
  std::shared_ptr<training_set_repository> kept_;
  std::uint64_t memory_bytes_;
  metrics::counter rows_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<job>> jobs_;
  std::thread thread_;
  bool stopping_ = false;
};

} // namespace troupe::feature_store
