#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::net {
class client;
} // namespace troupe::net

namespace troupe::ingest {

struct validation_request {
  std::string source;             ///< Stable name.
  std::uint64_t first_record = 0; ///< Position of the first record in the source.
  chunk batch;                    ///< A wire::Batch.
  timestamp accepted{};           ///< The clock when the rows came: none may be dated much further ahead...
  std::optional<std::chrono::microseconds> max_ahead{}; ///< ...than so, where their mapping says it.
};

/// What a record breaks.
struct row_violation {
  std::uint32_t record = 0; ///< In the batch.
  std::string rule;
  std::string field;
  std::string reason;
};

using validation_result = expected<std::vector<row_violation>>;
using validation_done = std::function<void(validation_result)>;

/// Validates a batch; the answer comes once, on any thread. Records that no violation names are good.
using validate_function = std::function<void(validation_request, validation_done)>;

/// The validator service. Its answer is checked: a violation of a record that was not asked about is
/// ec::corrupt.
validate_function validate_by_service(std::shared_ptr<net::client> validator,
                                      std::chrono::milliseconds timeout);

/// Without a validator: refuses what is dated too far ahead of the clock (rule `max_ahead`), and takes the
/// rest.
validate_function validate_alone();

/// Waits for the answer. Not on a thread that delivers answers.
validation_result validate_now(const validate_function& validate, validation_request request);

} // namespace troupe::ingest
