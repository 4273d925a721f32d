#pragma once

#include "common/event/record.hpp"
#include "common/sketch/distinct.hpp"
#include "common/sketch/histogram.hpp"
#include "common/sketch/quantiles.hpp"
#include "common/sketch/top_values.hpp"

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::validator {

/// Numbers of one column: moments (Chan, Golub and LeVeque, 1979, for merging), quantiles and histogram.
struct number_summary {
  std::uint64_t count = 0;
  double least = 0;
  double greatest = 0;
  double mean = 0;
  double squares = 0; ///< Sum of squared distances from the mean.
  sketch::quantiles quantiles;
  sketch::histogram bins;

  void add(double value);
  void merge(const number_summary& other);
  double deviation() const noexcept; ///< Of the population.
};

/// One column of one kind of record, in constant memory: at most about 40 KiB however many rows are added.
struct column_profile {
  std::string name;
  std::uint64_t present = 0;
  std::uint64_t texts = 0;
  std::uint64_t numbers = 0;
  std::uint64_t flags = 0;
  std::uint64_t lists = 0;
  std::uint64_t times = 0;    ///< event_time, and texts that are RFC 3339.
  std::uint64_t integers = 0; ///< Numbers without a fraction.
  sketch::distinct distinct;  ///< Of lists: the words.
  sketch::top_values top;     ///< Empty for `id`, `request_id` and `event_time`, which hardly repeat.
  std::unique_ptr<number_summary> values;  ///< Numbers, and times as microseconds since 1970.
  std::unique_ptr<number_summary> lengths; ///< Characters of texts, words of lists.

  void merge(const column_profile& other);
};

/// What one pass over records leaves behind: per kind and type of record, per column, counts and sketches.
/// Profiles of parts merge into the profile of the whole: counts, least, greatest, histograms and distinct
/// counts exactly, means up to rounding, quantiles and top values within the bounds their sketches state.
/// Memory is bounded: at most `most_groups` kinds and `most_columns` columns of each; what goes beyond is
/// counted in `left_out`. Not thread-safe.
class profile {
public:
  static constexpr std::size_t most_groups = 64;
  static constexpr std::size_t most_columns = 256;

  struct group {
    record_kind kind = record_kind::event;
    std::string type; ///< Events only.
    std::uint64_t rows = 0;
    std::array<column_profile, 6> core;  ///< id, user, item, event_time, value, request_id.
    std::array<column_profile, 2> shown; ///< position and propensity of the items that slates show.
    std::vector<column_profile>
        others; ///< Context of events and slates, attributes of users and items; sorted by name.
  };

  void add(const wire::Record& rec);
  void add_refused(std::string_view rule, std::uint64_t times = 1);
  void merge(const profile& other);

  std::uint64_t rows() const noexcept { return rows_; }
  std::uint64_t left_out() const noexcept { return left_out_; }
  const std::vector<std::unique_ptr<group>>& groups() const noexcept { return groups_; }
  const std::map<std::string, std::uint64_t, std::less<>>& refused() const noexcept { return refused_; }

  /// Versioned bytes with a check sum.
  std::string save() const;

  /// Fails with ec::corrupt, or with ec::unsupported_version for bytes of a later release.
  static expected<profile> load(std::string_view bytes);

  /// True when `bytes` begin like `save` writes them.
  static bool looks_like(std::string_view bytes) noexcept;

private:
  group* group_of(record_kind kind, std::string_view type);
  column_profile* other_of(group& in, std::string_view name, std::size_t hint);

  std::vector<std::unique_ptr<group>> groups_; // Sorted by kind and type.
  std::map<std::string, std::uint64_t, std::less<>> refused_;
  std::uint64_t rows_ = 0;
  std::uint64_t left_out_ = 0;
  group* last_ = nullptr;
};

/// The profile as one JSON document; `pretty` breaks lines.
std::string to_json(const profile& from, bool pretty = false);

/// The profile as a table for a terminal.
std::string to_table(const profile& from);

/// A value kept in `top_values` as text for people: `4`, `true`, `Comedy`.
std::string shown_top_value(std::string_view kept);

} // namespace troupe::validator
