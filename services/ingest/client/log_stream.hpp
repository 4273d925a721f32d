#pragma once

#include "services/ingest/client/record_stream.hpp"

#include "common/net/client.hpp"

#include <memory>

namespace troupe::ingest {

/// The log of the ingest service, for a thread that may block; the checks of `log_reader`. Tries again for
/// `patience` while the service cannot be reached.
class log_stream final : public record_stream {
public:
  explicit log_stream(std::shared_ptr<net::client> log,
                      std::chrono::seconds patience = std::chrono::seconds{60})
      : log_{std::move(log)}, patience_{patience} {}

  expected<std::vector<std::uint64_t>> ends() override;
  expected<std::vector<batch>> read(std::uint32_t partition, std::uint64_t offset,
                                    std::uint32_t max_bytes) override;
  expected<log_columns> read_columns(const column_query& query) override;

private:
  expected<net::reply> ask(wire::Kind kind, const chunk& payload);

  std::shared_ptr<net::client> log_;
  std::chrono::seconds patience_;
};

} // namespace troupe::ingest
