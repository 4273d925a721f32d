#pragma once

#include "services/feature_store/views/view.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// Which records a label sees: strictly before its instant, or up to and at it.
enum class boundary : std::uint8_t { before, at };

/// What counts as known at an instant: all that had happened, or all that had happened and had reached the
/// log.
enum class knowledge : std::uint8_t { event_time, ingest_time };

/// What a training set consists of.
struct training_spec {
  std::string name;
  std::string label_event;                  ///< Labels are events of this type...
  std::vector<field_predicate> label_where; ///< ...that meet these conditions;
  std::string entity_rows;                  ///< or the rows of this Parquet or CSV file, with these columns:
  std::string entity_user, entity_item;     ///< the entities, at least one of them,
  std::string entity_time;                  ///< the instant,
  std::vector<std::string> kept_columns;    ///< and what goes into the training set as it is (as text).
  std::vector<std::string> features;        ///< "view.feature", in column order.
  feature_store::boundary boundary = boundary::before;
  feature_store::knowledge knowledge = knowledge::event_time;
  std::vector<std::uint64_t>
      offsets; ///< By partition, one past the last record used. Empty: all there is at the start.
  std::uint64_t rows_per_part = 100'000;
  /// The share of rows whose entities no view knows at their instant, above which the build fails. Nothing:
  /// it fails where that is all of them.
  std::optional<double> max_unmatched_share;
  bool ages = false; ///< A column "view.feature.age_us" beside each feature.

  /// The specification with every default written out.
  std::string canonical() const;
};

/// Reads a specification; unknown keys are errors.
expected<training_spec> parse_training_spec(std::string_view toml, std::string_view origin);

} // namespace troupe::feature_store
