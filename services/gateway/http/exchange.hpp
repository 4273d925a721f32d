#pragma once

#include "services/gateway/http/consistency_token.hpp"

#include "common/http/router.hpp"
#include "common/http/server.hpp"
#include "common/net/envelope.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe::gateway {

struct gateway_deps;
struct route;

/// One HTTP request and the duty to answer it: the first answer counts. Destroyed unanswered it answers 503.
/// One thread at a time.
class exchange {
public:
  exchange(std::shared_ptr<gateway_deps> deps, http::request asked, http::responder respond);
  ~exchange();
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  void reply(http::response given);
  /// That of an error; what passes says when to come back.
  void reply_error(const error& err);

  bool answered() const noexcept { return !respond_; }

  gateway_deps& deps() const noexcept { return *deps_; }

  /// Since the last byte of the request.
  std::uint64_t us() const noexcept;

  http::request request;
  const route* to = nullptr;
  std::vector<std::string> parameters; ///< Of the path, decoded.
  http::query_values query;
  net::trace_context trace;
  bool counted = false;    ///< It is one of those in flight.
  consistency_token after; ///< What the answer must have seen.
  std::string token;       ///< Of a write: what a read takes to see it.
  std::string request_id;  ///< Of an answer with items.
  std::string arm;         ///< That answers.

private:
  std::shared_ptr<gateway_deps> deps_;
  http::responder respond_;
};

} // namespace troupe::gateway
