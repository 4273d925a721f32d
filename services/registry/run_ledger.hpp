#pragma once

#include "services/registry/stored.hpp"

#include <vector>

namespace troupe::registry {

/// Runs: what was tried with which parameters, and how it went. Every function that changes something is
/// durable when it returns, all of it or nothing. One thread.
class run_ledger {
public:
  explicit run_ledger(std::shared_ptr<store::database> db) : db_{std::move(db)} {}

  /// A new run, or the one with this id; other parameters under the same id are a conflict.
  expected<wire::RunT> create(const wire::RunCreate& ask);

  /// Takes update `number` = last + 1; one that was taken already changes nothing, a later one is a conflict
  /// that names the next.
  expected<wire::RunT> update(const wire::RunUpdate& ask);

  expected<wire::RunT> find(std::string_view run_id) const;

  /// Newest first, those older than run `before` where given.
  expected<wire::RunPageT> list(std::string_view experiment, std::string_view before,
                                std::uint32_t limit) const;

  /// Points of one series by step; `every` = k keeps those whose position in the page's range is a multiple
  /// of k.
  expected<wire::MetricPageT> metric(const wire::MetricQuery& ask) const;

private:
  expected<void> take_points(wire::RunT& run, const wire::RunUpdate& ask, store::write_batch& batch) const;

  std::shared_ptr<store::database> db_;
};

} // namespace troupe::registry
