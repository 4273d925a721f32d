#pragma once

#include "common/metrics/metrics.hpp"

#include <map>
#include <string>
#include <string_view>

namespace troupe::validator {

/// What the validator counts. One caller at a time.
struct validator_metrics {
  explicit validator_metrics(metrics::registry& in)
      : registry{&in}, batches{in.counter("troupe_validator_batches_total", "Batches judged.")},
        rows{in.counter("troupe_validator_rows_total", "Rows judged.")},
        refused{in.counter("troupe_validator_refused_rows_total", "Rows refused by any rule.")},
        null_reports{in.counter("troupe_validator_null_reports_total",
                                "Fields of a batch that were absent more often than their bound.")},
        reloads{in.counter("troupe_validator_schema_reloads_total",
                           "Times that changed schemas came into force.")},
        bad_schemas{in.counter("troupe_validator_schema_errors_total",
                               "Times that changed schemas were broken and the old ones stayed.")},
        dropped_late{in.counter("troupe_validator_dropped_total", "Requests not done, by reason.",
                                {{"reason", "too_late"}})},
        dropped_stopping{in.counter("troupe_validator_dropped_total", "Requests not done, by reason.",
                                    {{"reason", "stopping"}})},
        dropped_bad{in.counter("troupe_validator_dropped_total", "Requests not done, by reason.",
                               {{"reason", "malformed"}})},
        validate_seconds{
            in.histogram("troupe_validator_validate_seconds", "Time to validate and profile one batch.")},
        not_profiled{in.gauge("troupe_validator_not_profiled_rows", "Rows of sources beyond max_sources.")} {}

  void refused_by(std::string_view rule, double lines) {
    auto at = by_rule.find(rule);
    if (at == by_rule.end())
      at = by_rule
               .emplace(rule, registry->counter("troupe_validator_row_violations_total",
                                                "Violations by rule.", {{"rule", std::string{rule}}}))
               .first;
    at->second.add(lines);
  }

  metrics::registry* registry;
  metrics::counter batches, rows, refused, null_reports, reloads, bad_schemas, dropped_late, dropped_stopping,
      dropped_bad;
  metrics::histogram validate_seconds;
  metrics::gauge not_profiled;
  std::map<std::string, metrics::counter, std::less<>> by_rule;
};

} // namespace troupe::validator
