#pragma once

#include "services/ingest/client/log_fetch.hpp"

#include "common/core/time.hpp"
#include "common/net/client.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>

namespace troupe::ingest {

/// Reads the event log for an actor that works its records off: several places (cursors) side by side, one
/// fetch per cursor at a time.
///
/// Operation: `begin` asks where the partitions end; `read` asks for the records from an offset on, waits
/// until there are some, and gives them to `records` once. The next `read` of that cursor is the credit for
/// more. What fails, also while what came is worked off (`failed`), is asked for again after a wait that
/// grows to two seconds, from the same place. Concurrency: one thread at a time.
/// Limits: `fetch_bytes` per cursor are under way. A log that ends before a cursor's offset was replaced: it
/// fails, as ec::conflict, until it is as long again. One that is another than at first fails for good.
class log_reader {
public:
  using cursor_id = std::uint64_t; ///< From 1. Tag 0 is the question where the partitions end.

  struct hooks {
    /// Calls the ingest service; what the call ends with must go to `on_reply` with the same tag.
    std::function<void(std::uint64_t tag, wire::Kind, chunk payload, deadline until)> call;
    /// Must call `on_wait_over` with the same tag after so long.
    std::function<void(std::uint64_t tag, std::chrono::milliseconds)> wait;
    /// By partition, one past the last record.
    std::function<expected<void>(const std::vector<std::uint64_t>&)> ends;
    /// At least one record. Another `read` of this cursor must follow, or `failed`.
    std::function<expected<void>(cursor_id, log_records)> records;
    /// The log could not be read for the n-th time in a row.
    std::function<void(const error&, unsigned in_a_row)> failing;
    /// Nothing fails any more.
    std::function<void()> recovered;
  };

  struct options {
    std::uint32_t fetch_bytes = 1 << 20;
    std::chrono::milliseconds fetch_wait{1'000}; ///< At the service, for a first record.
  };

  log_reader(options options, hooks to) : options_{options}, hooks_{std::move(to)} {}

  void begin();

  /// Sets a cursor, one of its own where there is none, and asks nothing yet.
  void place(cursor_id cursor, std::uint32_t partition, std::uint64_t offset);

  void read(cursor_id cursor, std::uint32_t partition, std::uint64_t offset);

  /// What came for this tag could not be worked off: asks for it again after a wait.
  void failed(std::uint64_t tag, const error& why);

  /// The cursor is not needed any more; what is under way for it is dropped.
  void forget(cursor_id cursor);

  void on_reply(std::uint64_t tag, const expected<net::reply>& reply);
  void on_wait_over(std::uint64_t tag);

private:
  struct position {
    std::uint32_t partition = 0;
    std::uint64_t offset = 0;
    unsigned failures = 0;
  };

  void ask(std::uint64_t tag, const position& at);
  expected<void> on_ends(const chunk& payload);
  expected<void> on_records(cursor_id cursor, const chunk& payload);
  void worked(position& at);

  options options_;
  hooks hooks_;
  std::map<std::uint64_t, position> positions_; ///< By tag.
  std::uint64_t log_ = 0;                       ///< Which log is read; 0: not known yet.
};

} // namespace troupe::ingest
