#pragma once

#include "services/feature_store/online/feature_event.hpp"
#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/views/view.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// Of the bytes of a state. Where another one is on disk, all states are computed again from the log.
inline constexpr std::uint8_t state_format = 3;

/// What one view knows about one entity. A function of the SET of records applied: their order does not
/// matter, so that a replay from any interleaving of partitions ends in the same bytes (see
/// feature_operator); but records of the entity itself, which lie in one partition, come in the order of the
/// log or of their times: one that `replaces` does so with what lies before it.
///
/// The same record must not be applied twice: the log holds each once. Not thread-safe, reading included (it
/// remembers the last window it added up).
class entity_state {
public:
  explicit entity_state(const feature_view& view) : features_(view.features.size()) {}

  /// Takes a record that `entity_of(view, from)` names this entity for.
  void apply(const feature_view& view, const feature_event& from);

  /// The value of a feature at an instant, which is not before the newest event applied: `max(at, newest())`
  /// is used.
  void read(const feature_view& view, std::uint32_t feature, std::int64_t at, feature_value& out);

  /// The number alone; for features whose type is number.
  status read_number(const feature_view& view, std::uint32_t feature, std::int64_t at, double& number,
                     std::int64_t& age_us);

  /// Event time of the newest event; `never` when only attributes are known.
  std::int64_t newest() const noexcept { return newest_; }

  /// The same bytes for the same set of records.
  std::string encode(const feature_view& view, form as = form::stored);
  static expected<entity_state> decode(const feature_view& view, std::string_view bytes);

  /// Roughly what it takes in memory.
  std::size_t bytes() const noexcept;

private:
  void trim(const feature_view& view);
  status freshness(const feature_view& view, const slot& from, std::int64_t at, std::int64_t& age_us) const;

  std::int64_t newest_ = never;
  std::vector<slot> features_;
};

} // namespace troupe::feature_store
