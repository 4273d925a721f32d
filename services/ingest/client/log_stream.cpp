#include "services/ingest/client/log_stream.hpp"

#include "services/ingest/client/log_fetch.hpp"

#include <thread>

namespace troupe::ingest {

using namespace std::chrono_literals;

expected<net::reply> log_stream::ask(wire::Kind kind, const chunk& payload) {
  auto give_up = deadline::in(patience_);
  for (;;) {
    auto got = log_->call(kind, payload, deadline::in(10s));
    if (got || give_up.passed() || disposition_of(got.error().code) != error_disposition::retry_later)
      return got;
    std::this_thread::sleep_for(200ms);
  }
}

expected<std::vector<std::uint64_t>> log_stream::ends() {
  TROUPE_TRY(got, ask(wire::Kind::log_info, log_info_query()));
  return read_log_ends(got.payload);
}

expected<std::vector<batch>> log_stream::read(std::uint32_t partition, std::uint64_t offset,
                                              std::uint32_t max_bytes) {
  TROUPE_TRY(got, ask(wire::Kind::fetch, fetch_query(partition, offset, max_bytes, 0us)));
  TROUPE_TRY(found, read_log_records(got.payload, partition, offset));
  return std::move(found.batches);
}

expected<log_columns> log_stream::read_columns(const column_query& query) {
  TROUPE_TRY(got, ask(wire::Kind::fetch_columns, columns_query(query)));
  return read_log_columns(got.payload, query);
}

} // namespace troupe::ingest
