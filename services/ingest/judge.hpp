#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::net {
class client;
} // namespace troupe::net

namespace troupe::ingest {

struct judge_question {
  std::string source;          ///< Stable name.
  std::uint64_t first_row = 0; ///< Position of the first record in the source.
  chunk batch;                 ///< A wire::Batch.
};

struct verdict {
  std::uint32_t record = 0;
  std::string rule;
  std::string field;
  std::string reason;
};

using judge_answer = std::function<void(expected<std::vector<verdict>>)>;

/// Judges a batch; the answer comes once, on any thread. Records that no verdict names are good.
using judge_function = std::function<void(judge_question, judge_answer)>;

/// The validator service. Its verdicts are checked: one for a record that was not asked about is ec::corrupt.
judge_function judge_by_validator(std::shared_ptr<net::client> validator, std::chrono::milliseconds timeout);

/// Takes everything.
judge_function judge_nothing();

/// Waits for the answer. Not on a thread that delivers answers.
expected<std::vector<verdict>> judge_now(const judge_function& judge, judge_question question);

} // namespace troupe::ingest
