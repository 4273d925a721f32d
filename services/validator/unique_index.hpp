#pragma once

#include "common/core/error.hpp"
#include "common/core/hash.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace troupe::validator {

/// Who holds a unique value: one row of one source, and the record that stood there.
struct unique_holder {
  std::uint64_t source = 0; ///< hash64 of the source's name.
  std::uint64_t row = 0;
  std::uint64_t record = 0; ///< hash64 of the record's id.

  friend bool operator==(const unique_holder&, const unique_holder&) = default;

  /// The same row judged again, or the same record from a copy of its source: not a second holder.
  bool same_as(const unique_holder& other) const noexcept {
    return (source == other.source && row == other.row) || record == other.record;
  }
};

/// One value of one unique field, and who asks for it.
struct unique_claim {
  hash128 value;
  unique_holder by;
};

/// Remembers for each value who held it first, so that judging the same row again gives the same violation.
class unique_index {
public:
  virtual ~unique_index() = default;

  /// For each claim the holder that stands in its way, or nothing when the value is now the claimer's. Claims
  /// are taken in order. What is answered is durable.
  virtual expected<std::vector<std::optional<unique_holder>>> claim(std::span<const unique_claim> claims) = 0;
};

/// In memory, for one run of the command line and for tests. Not thread-safe.
class unique_memory final : public unique_index {
public:
  expected<std::vector<std::optional<unique_holder>>> claim(std::span<const unique_claim> claims) override {
    std::vector<std::optional<unique_holder>> answers;
    answers.reserve(claims.size());
    for (auto& each : claims) {
      auto [at, taken] = held_.emplace(each.value, each.by);
      answers.push_back(taken || at->second.same_as(each.by) ? std::nullopt : std::optional{at->second});
    }
    return answers;
  }

private:
  std::map<hash128, unique_holder> held_;
};

} // namespace troupe::validator
