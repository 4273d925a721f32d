#pragma once

#include "services/cli/context.hpp"
#include "services/ingest/wire.hpp"

#include "common/net/client.hpp"

#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

namespace troupe::cli {

/// One call to the ingest service. `patient`: asked again while the answer is "retry later", for two minutes:
/// a service may be away while it is restarted. What is waited for is said once.
template <class Table>
expected<ingest::message<Table>> ask_ingest(context& context, wire::Kind kind, const chunk& payload,
                                            std::chrono::seconds limit = std::chrono::seconds{30},
                                            bool patient = false) {
  TROUPE_TRY(client, context.client("ingest"));
  auto give_up = deadline::in(std::chrono::seconds{120});
  for (bool said = false;;) {
    auto reply = client->call(kind, payload, deadline::in(limit));
    if (reply)
      return ingest::message<Table>::open(reply->payload);
    if (!patient || disposition_of(reply.error().code) != error_disposition::retry_later ||
        give_up.passed() || context::interrupted())
      return unexpected{reply.error()};
    if (!std::exchange(said, true))
      fmt::print(stderr, "{}asking ingest again for two minutes: {}\n",
                 stderr_is_terminal() ? "\r\033[K" : "", reply.error().text);
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
  }
}

} // namespace troupe::cli
