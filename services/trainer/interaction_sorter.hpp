#pragma once

#include "common/core/error.hpp"
#include "common/table/connection.hpp"

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::trainer {

/// Brings interactions into the order of their time, those of one instant into the order in which they were
/// added. In memory as long as they fit, 33 bytes each and every name once; else by DuckDB, in a file of its
/// own. One thread.
class interaction_sorter {
public:
  /// `work`: a folder for what does not fit into `memory_bytes`.
  interaction_sorter(std::filesystem::path work, std::uint64_t memory_bytes)
      : work_{std::move(work)}, memory_bytes_{memory_bytes} {}

  /// The number of a user or an item, for `add`; valid until `add` has to go to the disk: number anew what is
  /// added after `generation` has changed.
  std::uint32_t number(std::string_view name);
  std::uint32_t generation() const noexcept { return generation_; }

  expected<void> add(std::uint32_t user, std::uint32_t item, std::int64_t event_time,
                     std::optional<double> value);

  /// Writes them as Parquet, `user, item, event_time, value`; gives how many there are. Once, at the end.
  expected<std::uint64_t> write(const std::filesystem::path& file);

private:
  std::uint64_t held_bytes() const noexcept;
  expected<void> spill();
  std::vector<std::uint64_t> order() const;

  std::filesystem::path work_;
  std::uint64_t memory_bytes_;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;
  std::deque<std::string> names_;
  std::uint64_t name_bytes_ = 0;
  std::uint32_t generation_ = 0;
  std::vector<std::int64_t> times_;
  std::vector<std::uint32_t> users_, items_;
  std::vector<double> values_;
  std::vector<std::uint8_t> has_value_;
  std::optional<table::connection> db_;
  std::uint64_t spilled_ = 0;
};

} // namespace troupe::trainer
