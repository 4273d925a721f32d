#pragma once

#include "services/feature_store/online/state_engine.hpp"

#include "common/core/bytes.hpp"

#include "schemas/feature_store_generated.h"

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// Reads at the newest event time applied, for data that is older than the wall clock.
inline constexpr std::int64_t at_watermark = std::numeric_limits<std::int64_t>::min();

inline constexpr std::size_t most_entities = 10'000;
inline constexpr std::size_t most_features = 1'000;

/// Which features a read wants, resolved: "view.feature" to where it lies.
struct read_plan {
  struct column {
    std::uint32_t view;
    std::uint32_t feature;
    std::uint32_t place; ///< In the order asked.
  };
  entity_kind entity = entity_kind::user;
  std::vector<std::string> names;
  std::vector<value_type> types;
  std::vector<std::vector<column>> by_view; ///< One list per view touched, in the order of its features.
};

/// Fails with ec::not_found naming the feature, or ec::invalid_argument for one of another entity.
expected<read_plan> plan_read(const state_engine& engine, entity_kind entity,
                              std::span<const std::string_view> features);

/// One column of an answer, one element per entity.
struct value_column {
  std::string name;
  value_type type = value_type::number;
  std::vector<std::uint8_t> status;
  std::vector<std::int64_t> age_us;
  std::vector<double> numbers;
  std::string words; ///< Texts and lists one after the other, lists as `add_word` makes them.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pieces; ///< Of `words`: begin and size.

  std::string_view text(std::size_t row) const noexcept {
    return std::string_view{words}.substr(pieces[row].first, pieces[row].second);
  }
  text_list list(std::size_t row) const;

  /// The entity has no value here.
  void forget(std::size_t row) noexcept {
    status[row] = 0;
    age_us[row] = -1;
    if (type == value_type::number)
      numbers[row] = 0;
    else
      pieces[row] = {};
  }
};

/// Reads N entities x M features at an instant. With `deleted` it says which of the entities are deleted, one
/// element each, and of those only the built-in view has a value; none are where the engine keeps no record
/// of them.
expected<std::vector<value_column>> read_features(state_engine& engine, const read_plan& plan,
                                                  std::span<const std::string_view> ids, std::int64_t at,
                                                  std::vector<std::uint8_t>* deleted = nullptr);

/// Answers a verified wire::ReadFeatures with the bytes of a wire::Features. `now` is used where the request
/// says 0.
expected<chunk> answer_read(state_engine& engine, const wire::ReadFeatures& request, std::int64_t now);

/// Answers a verified wire::FeatureScan with the bytes of a wire::FeatureScanPage: this replica's entities.
expected<chunk> answer_scan(state_engine& engine, const wire::FeatureScan& request, std::int64_t now);

/// Answers a verified wire::FeatureChanges with the bytes of a wire::FeatureChangesPage: of this replica.
expected<chunk> answer_changes(state_engine& engine, const wire::FeatureChanges& request, std::int64_t now);

/// Whether the request's min_offsets are applied by every view that its answer depends on.
bool offsets_reached(const state_engine& engine, const wire::ReadFeatures& request);

} // namespace troupe::feature_store
