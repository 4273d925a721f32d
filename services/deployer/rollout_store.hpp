#pragma once

#include "services/deployer/rollout_machine.hpp"

#include "common/core/bytes.hpp"
#include "common/event/record.hpp"
#include "common/store/database.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::deployer {

/// One step of a rollout, to be written down as a whole.
struct commit {
  rollout next;
  std::vector<wire::DecisionT> decisions;
  bool publishes = false;                  ///< The routing table becomes that of `next`.
  std::optional<std::int64_t> counts_from; ///< The counts begin anew at this instant.
};

/// The routing table in force.
struct routing_state {
  std::uint64_t version = 0;
  routing says;
  chunk bytes; ///< A wire::RoutingTable.
};

/// Everything the deployer knows, in RocksDB: rollouts, their decisions, the routing table, and what was seen
/// of the step under way, each change in one atomic write with what makes it count once (number of a
/// gateway's report, offset of the log). One thread.
class rollout_store {
public:
  static expected<std::unique_ptr<rollout_store>> open(const std::filesystem::path& path);

  const routing_state& table() const noexcept { return table_; }

  /// Synced. Nothing changes where it fails.
  expected<void> write(const commit& what);

  /// By id; "current" is the newest. ec::not_found.
  expected<rollout> find(std::string_view id) const;
  /// As `find`, with its newest 1,000 decisions.
  expected<wire::RolloutT> show(std::string_view id) const;
  /// Newest first, those before `before`; without decisions.
  expected<wire::RolloutPageT> list(std::string_view before, std::uint32_t limit) const;
  std::optional<std::string> newest() const;

  const window& seen() const noexcept { return seen_; }

  /// Takes a report once; gives the number that the gateway's next report has. `again`: it was taken before.
  expected<std::uint64_t> count_report(const wire::ArmReport& report, std::int64_t now, bool& again);

  /// One past the last record taken, by partition.
  const std::map<std::uint32_t, std::uint64_t>& offsets() const noexcept { return offsets_; }
  /// Takes what is new in these batches, and `end` as the next offset. Gives how many counted.
  expected<std::uint64_t> count_records(std::uint32_t partition, std::span<const batch> batches,
                                        std::uint64_t end);

private:
  explicit rollout_store(std::unique_ptr<store::database> db) : db_{std::move(db)} {}
  expected<void> load();
  expected<std::uint64_t> next_decision(std::string_view id) const;

  /// What is known of the answer to a request: a click counts for the arm whose slate of this step it
  /// follows, whenever it comes, and waits for the slate where it is in the log first.
  struct answer {
    static constexpr std::uint8_t no_arm = 255;
    std::uint8_t arm = no_arm;
    std::uint8_t early_clicks = 0;
  };
  using answers = std::map<std::string, answer>; ///< By key of the family `answered`.
  expected<answer*> answer_to(std::string_view request, answers& fresh) const;
  expected<bool> count(const wire::Record& seen, window& into, answers& fresh);

  std::unique_ptr<store::database> db_;
  routing_state table_;
  window seen_;
  std::map<std::uint32_t, std::uint64_t> offsets_;
  std::size_t early_ = 0; ///< Requests of this step, in this life, whose clicks came first.
  std::map<std::uint32_t, std::uint32_t> unwritten_; ///< Batches since an offset was last written.
};

/// The bytes of a table.
chunk encode(const routing& from, std::uint64_t version);

} // namespace troupe::deployer
