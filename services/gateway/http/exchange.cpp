#include "services/gateway/http/exchange.hpp"

#include "services/gateway/gateway_deps.hpp"

#include "common/http/problem.hpp"

#include <algorithm>

namespace troupe::gateway {

using namespace std::chrono_literals;

exchange::exchange(std::shared_ptr<gateway_deps> deps, http::request asked, http::responder respond)
    : request{std::move(asked)}, deps_{std::move(deps)}, respond_{std::move(respond)} {}

exchange::~exchange() {
  if (!answered())
    reply_error({ec::stopping, "the gateway stops"});
}

std::uint64_t exchange::us() const noexcept {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, (deadline::clock::now() - request.arrived) / 1us));
}

void exchange::reply(http::response given) {
  if (answered())
    return;
  given.headers.emplace_back("traceparent", fmt::format("00-{:016x}{:016x}-{:016x}-{:02x}", trace.trace_high,
                                                        trace.trace_low, trace.span, trace.flags));
  if (!request_id.empty())
    given.headers.emplace_back("X-Request-Id", request_id);
  if (!token.empty())
    given.headers.emplace_back("X-Consistency-Token", token);
  deps_->seen->answered(to, given.status, arm, us());
  if (counted)
    --deps_->in_flight;
  respond_.reply(std::move(given));
}

void exchange::reply_error(const error& err) {
  // Where a service behind us does not know our key, the caller's is not the one at fault.
  if (err.code == ec::unauthorized)
    return reply_error({ec::unavailable, "a service behind the gateway refuses it: " + err.text});
  bool later = err.code == ec::overloaded || err.code == ec::unavailable || err.code == ec::stopping;
  reply(http::problem(err, later ? 1000ms : 0ms));
}

} // namespace troupe::gateway
