#pragma once

#include "services/validator/compiled_schema.hpp"
#include "services/validator/unique_index.hpp"

#include "common/event/record.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::validator {

/// The values of `unique` fields that the records of one batch claim, asked of the index together. Not
/// thread-safe. `source`, the schemas and their fields outlive it.
class unique_claims {
public:
  /// The batch starts at row `first_row` of `source`.
  unique_claims(std::string_view source, std::uint64_t first_row) : name_{source}, first_row_{first_row} {}

  /// Claims what `rec`, number `row` of the batch, holds in the unique fields of `by`; an absent field claims
  /// nothing. `cells` by slot.
  void add(const compiled_schema& by, std::uint32_t row, const wire::Record& rec,
           std::span<const cell> cells);

  /// The number in the batch, the field and the reason of a claim that another row holds.
  using refusal = std::function<void(std::uint32_t row, std::string_view field, std::string reason)>;

  /// Takes all claims, in their order, and tells each that is refused. Fails only when the index does; then
  /// nothing was told.
  expected<void> settle(unique_index& index, const refusal& refuse);

private:
  struct claimed {
    std::uint32_t row;
    const compiled_field* field;
    std::string text;
  };

  std::string_view name_;
  std::uint64_t first_row_;
  std::uint64_t source_ = 0; ///< Hash of the source's name; set with the first claim.
  std::string key_;
  std::vector<unique_claim> claims_;
  std::vector<claimed> fields_; ///< Parallel to claims_.
};

} // namespace troupe::validator
