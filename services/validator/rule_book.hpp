#pragma once

#include "services/validator/schema.hpp"
#include "services/validator/unique_index.hpp"

#include "common/event/record.hpp"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::validator {

/// Why a record is refused. `rule` is one of record, max_ahead, required, type, range, length, set, pattern,
/// unique, compare, unknown.
struct row_violation {
  std::uint32_t record = 0; ///< Index in the batch.
  std::string rule;
  std::string field;
  std::string reason;

  friend bool operator==(const row_violation&, const row_violation&) = default;
};

/// A field that was absent more often in one batch than its schema bears.
struct null_report {
  std::string schema;
  std::string field;
  double rate = 0;
  double bound = 0;
};

struct validation {
  std::vector<row_violation> lines; ///< By record; several lines for one record are possible.
  std::vector<null_report> nulls;
  std::vector<bool> refused; ///< By record.
  std::size_t refused_records = 0;
};

/// Where a batch stands in its source, and when it came.
struct batch_place {
  std::string_view source;
  std::uint64_t first_row = 0;
  std::optional<timestamp> accepted{}; ///< The clock that max_ahead counts from; without it none is held.
  std::optional<std::chrono::microseconds> max_ahead{}; ///< What the mapping of the source says.
};

/// Schemas made ready to validate rows. Immutable, safe from any thread.
///
/// Every record, with or without a schema, is held against what the log can take: id, the fields its kind
/// needs, UTF-8, finite numbers, years 1 to 9999, attributes sorted by name (rule "record"); and against the
/// clock (rule "max_ahead"): by what its mapping and its schema say, the stricter of both, else
/// default_max_ahead. No schema means no other rule. Reads the batch in place; allocates for refused records
/// only.
class rule_book {
public:
  rule_book();
  ~rule_book();
  rule_book(rule_book&&) noexcept;
  rule_book& operator=(rule_book&&) noexcept;

  /// Fails when two schemas are for the same records.
  static expected<rule_book> compile(std::vector<schema> schemas);

  /// Judges a batch. `index` keeps the values of `unique` fields: only records that pass every other rule
  /// claim theirs, and within a batch the first record wins. Without an index those rules hold. Fails only
  /// when the index does.
  expected<validation> validate(const batch& rows, batch_place place, unique_index* index = nullptr) const;

  bool has_unique() const noexcept;
  const std::vector<schema>& schemas() const noexcept;

private:
  struct state;
  explicit rule_book(std::unique_ptr<state> made);
  std::unique_ptr<state> state_;
};

} // namespace troupe::validator
