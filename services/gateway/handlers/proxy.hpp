#pragma once

#include "services/gateway/handlers/handler.hpp"

#include <boost/json.hpp>
#include <flatbuffers/flatbuffers.h>

#include <string>

namespace troupe::gateway {

/// A message that a service behind us answers, made of an HTTP request, and its answer as JSON.
struct proxied {
  backend backends::*to;
  wire::Kind kind;
  /// The finished message; ec::invalid_argument.
  expected<chunk> (*encode)(const exchange& from);
  expected<boost::json::value> (*decode)(const chunk& payload);
};

/// Passes a request on and translates: nothing of it is decided here.
class proxy final : public handler {
public:
  proxy(request_context& in, const proxied* what) : handler{in}, what_{*what} {}

  void begin() override;
  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;

private:
  const proxied& what_;
};

// Of the registry.
extern const proxied list_runs, show_run, list_models, show_model, list_releases, show_release;
// Of the deployer.
extern const proxied list_rollouts, show_rollout, promote_rollout, abort_rollout;

} // namespace troupe::gateway
