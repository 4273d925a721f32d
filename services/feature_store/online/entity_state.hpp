#pragma once

#include "services/feature_store/online/feature_event.hpp"
#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/views/view.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// Of the bytes of a state. Where another one is on disk, all states are computed again from the log.
inline constexpr std::uint8_t state_format = 5;

/// Of the values that states give: a training set made by another number is another set.
inline constexpr std::uint8_t value_format = 3;

/// Of a view the features that records of the kind and type of this one can count for: worked out once for
/// many.
std::vector<std::uint16_t> features_that_take(const feature_view& view, record_kind kind,
                                              std::string_view type);

/// What one view knows about one entity, open to be changed; between changes a state is its bytes. A function
/// of the SET of records applied: their order does not matter, so that a replay from any interleaving of
/// partitions ends in the same bytes (see feature_operator); but records of the entity itself, which lie in
/// one partition, come in the order of the log or of their times: one that `replaces` does so with what lies
/// before it.
///
/// The same record must not be applied twice: the log holds each once. One object opens one state after
/// another without memory of its own for each. Not thread-safe.
class entity_state {
public:
  explicit entity_state(const feature_view& view) : features_(view.features.size()) {}

  /// As before the first record.
  void clear() noexcept;

  /// Takes the place of what it was. A feature is decoded when a record changes it: the bytes must stay until
  /// it is encoded or cleared.
  expected<void> open(const feature_view& view, std::string_view bytes);

  /// Takes a record that `entity_of(view, from)` names this entity for. `features` are those of
  /// `features_that_take`, of this record or another one of its kind and type.
  expected<void> apply(const feature_view& view, const feature_event& from,
                       std::span<const std::uint16_t> features);

  /// Adds the bytes to `out`: the same for the same set of records.
  expected<void> encode(const feature_view& view, std::string& out, form as = form::stored);

private:
  struct feature {
    slot open;
    std::string_view encoded; ///< While `open` is not.
    bool is_open = false;
  };

  expected<slot*> opened(const feature_view& view, std::size_t feature);
  expected<void> trim(const feature_view& view, std::size_t feature);

  std::int64_t newest_ = never; ///< Event time of the newest event; `never` when only attributes are known.
  std::vector<feature> features_;
  store::encoder slot_, state_;
};

/// Reads values from the bytes of a state, without what is not asked. The bytes must outlive it. Not
/// thread-safe.
class state_reader {
public:
  state_reader(const feature_view& view, std::string_view bytes);

  /// The value of a feature at an instant, which is not before the newest event applied: the later of both is
  /// used. Features are asked for in ascending order. False: the bytes are no state, which `why` says.
  bool read(std::uint32_t feature, const reading& when, feature_value& out);
  expected<void> why(std::uint32_t feature) const;

  /// The newest event, as in the state.
  std::int64_t newest() const noexcept { return newest_; }

private:
  bool value_of(const feature_definition& def, store::decoder& in, std::int64_t newest, const reading& when,
                feature_value& out) const;

  const feature_view& view_;
  store::decoder in_;
  std::int64_t newest_;
  std::uint32_t next_ = 0;
};

/// The event time of the newest event of a state; `never` where there is none.
std::int64_t newest_of(std::string_view state);

} // namespace troupe::feature_store
