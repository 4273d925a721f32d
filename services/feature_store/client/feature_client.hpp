#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/net/client.hpp"

#include "schemas/feature_store_generated.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace troupe::feature_store {

/// What to read, as a caller says it.
struct feature_query {
  std::string entity = "user";
  std::vector<std::string> ids;
  std::vector<std::string> features; ///< "view.feature".
  std::int64_t at = 0;               ///< Microseconds; 0: the clock of the service; INT64_MIN: its watermark.
  std::vector<wire::PartitionOffset> min_offsets;
};

/// How far the log has been read by all of some answers: by partition, one past the last record that each of
/// them has seen.
class applied_offsets {
public:
  /// One more answer.
  void add(const applied_offsets& answer);
  void set(std::uint32_t partition, std::uint64_t offset);

  bool reached(std::uint32_t partition, std::uint64_t offset) const noexcept {
    return offset <= (partition < next_.size() ? next_[partition] : 0);
  }

private:
  std::vector<std::uint64_t> next_;
  bool any_ = false; ///< Some answer is in it.
};

struct feature_column {
  std::string name;
  std::vector<wire::FeatureStatus> status; ///< One per id, as of the vectors below, of which one is filled.
  std::vector<std::int64_t> age_us;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  std::vector<text_list> lists;
};

/// Whether the feature is a flag that is set, in a view that reads it as a number or as text.
bool is_set(const feature_column& flag, std::size_t row) noexcept;

struct feature_answer {
  std::vector<feature_column> columns;
  std::vector<std::string> view_versions;
  std::vector<std::uint8_t> deleted; ///< One per id: it was deleted, and has no value but its record's.
  applied_offsets applied;           ///< Every record before these is in it.
};

/// The bytes of a wire::ReadFeatures.
chunk encode(const feature_query& query);

/// Verifies and reads a wire::Features of `rows` entities.
expected<feature_answer> decode_features(const chunk& payload, std::size_t rows);

/// Reads over all replicas: each entity is asked of the replica that rendezvous hashing gives it to, all
/// replicas at the same time; the answer is in the order asked. Blocks. One replica that fails fails the
/// read.
expected<feature_answer> read_sharded(net::client& from, const feature_query& query, deadline until);

/// One page of a scan of all entities, as a caller sees it.
struct feature_page {
  std::vector<std::string> ids;
  feature_answer features;
  bool last = false;
};

/// The bytes of a wire::FeatureScan.
chunk encode_scan(const std::string& entity, const std::vector<std::string>& features,
                  const std::string& after, std::uint32_t limit, std::int64_t at);

/// Verifies and reads a wire::FeatureScanPage.
expected<feature_page> decode_page(const chunk& payload);

/// What to keep up with, as a caller says it.
struct changes_query {
  std::string entity = "item";
  std::vector<std::string> features; ///< "view.feature".
  std::string since;         ///< The place that the page before named; empty: only where changes are now.
  std::uint32_t limit = 0;   ///< Entities; 0: as many as a page may have.
  bool records_only = false; ///< What own records have changed; what events have changed waits.
};

/// The features of entities that have changed, as a caller sees them; `last`: there are no more yet.
struct changes_page : feature_page {
  std::string next;
  bool reset = false; ///< The place asked for is not known any more: read all, then go on from `next`.
};

/// The bytes of a wire::FeatureChanges.
chunk encode_changes(const changes_query& query);

/// Verifies and reads a wire::FeatureChangesPage.
expected<changes_page> decode_changes(const chunk& payload);

/// Reads the features of every entity of every replica, page by page. Blocks; `until` bounds the whole.
expected<void> scan_sharded(net::client& from, const std::string& entity,
                            const std::vector<std::string>& features, std::uint32_t page, std::int64_t at,
                            deadline until, const std::function<void(feature_page)>& take);

} // namespace troupe::feature_store
