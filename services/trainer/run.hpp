#pragma once

#include "services/trainer/config.hpp"
#include "services/trainer/run_order.hpp"
#include "services/trainer/run_status.hpp"

#include "common/net/client.hpp"
#include "common/store/database.hpp"

#include <boost/json/value.hpp>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::trainer {

/// JSON with sorted keys and no blanks: what hashes are taken over.
std::string canonical(const boost::json::value& value);

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

/// What runs share. `log` and `registry` may be null: the catalog has no such service.
struct run_parts {
  std::filesystem::path folder; ///< A run lives in its sub-folder <id>.
  std::filesystem::path worker;
  std::shared_ptr<const config> settings;
  std::shared_ptr<net::client> log;
  std::shared_ptr<net::client> registry;
  std::shared_ptr<run_journal> journal;
};

enum class wish : std::uint8_t { go_on, cancel, stop };

/// Does all of a run: data, training, publishing. Goes on where an earlier life stopped. `tell` hears of
/// every change. Gives the last status; nothing when it was stopped by `wish::stop`, so that the next life
/// goes on.
std::optional<run_status> carry_out(const run_parts& parts, const run_order& order, run_status status,
                                    const std::atomic<wish>& wanted,
                                    const std::function<void(const run_status&)>& tell);

} // namespace troupe::trainer
