#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What callers send, read without trust: no CAF, no ZeroMQ, no Beast.
namespace troupe::gateway {

/// One row of a body: a record, or why it is none.
struct row {
  record what;
  bool timed = true; ///< The caller gave the event time.
  bool named = true; ///< The id stays the same when the request is sent again.
  std::string refused;
};

struct row_rules {
  record_kind kind = record_kind::event;
  std::string idempotency_key;
  std::size_t max_rows = 10'000;
  timestamp now{};
};

/// Reads a JSON array of objects, one object, or JSON lines. A row that is wrong is a row that says so; a
/// body that is no JSON at all is an error (in JSON lines a broken line is a row).
///
/// Ids: the one given; else a hash of the content with the Idempotency-Key and the row's number, or of the
/// content with its event time. Without all three a row is new each time it is sent. Attributes records
/// (users, items) need a key or an id to be known again, so that a value may be set back to what it was.
expected<std::vector<row>> parse_rows(std::string_view body, const row_rules& rules);

/// The attributes of one entity: the body of a PUT.
expected<row> parse_entity(std::string_view body, std::string_view id, const row_rules& rules);

struct filter {
  std::string attribute;
  std::uint8_t op = 0; ///< As wire::FilterOp.
  bool negated = false;
  std::string text;
  double number = 0;
  std::vector<std::string> list;
};

/// A request for recommendations.
struct recommend_request {
  std::string user;
  std::vector<std::string> session;
  std::vector<attribute> context;
  std::vector<filter> filters;
  std::vector<std::string> exclude;
  std::vector<std::string> candidates;
  std::uint32_t n = 10;
  bool explain = false;
};

/// The body of POST /v1/recommendations.
expected<recommend_request> parse_recommend_request(std::string_view body);

/// A filter in an address: `genres:contains:Comedy`, `not:genres:one_of:Horror,Thriller`,
/// `year:at_least:1990`. An attribute with a colon in its name can be filtered by in a body only.
expected<filter> parse_filter(std::string_view text);

/// `n` as a text: 1 to 1,000.
expected<std::uint32_t> parse_n(std::string_view text);

/// The reason of a rollout change: `{"reason": "..."}` or nothing.
expected<std::string> parse_reason(std::string_view body);

} // namespace troupe::gateway
