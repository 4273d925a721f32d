#pragma once

#include "services/trainer/run_order.hpp"
#include "services/trainer/run_status.hpp"

#include "common/store/database.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::trainer {

/// Orders and states of runs, on disk. Any thread.
class run_journal {
public:
  struct entry {
    run_order order;
    run_status status;
  };

  static expected<std::shared_ptr<run_journal>> open(const std::filesystem::path& folder);

  /// Durable when it returns.
  expected<void> save(const run_order& order, const run_status& status);
  expected<std::optional<entry>> find(const std::string& id) const;
  expected<std::vector<entry>> all() const;

private:
  std::unique_ptr<store::database> db_;
};

} // namespace troupe::trainer
