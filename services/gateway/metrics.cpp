#include "services/gateway/metrics.hpp"

#include "services/gateway/http/routes.hpp"

#include <fmt/format.h>

namespace troupe::gateway {

request_metrics::request_metrics(metrics::registry& in) : registry_{in} {
  auto degraded = [&](const char* kind) {
    return in.counter("troupe_gateway_degraded_answers_total",
                      "Answers with items that say `degraded`: of the fallback list, or of a ranker that "
                      "lacked something.",
                      {{"how", kind}});
  };
  fallback_answers = degraded("fallback");
  degraded_answers = degraded("ranked");
}

void request_metrics::answered(const route* to, unsigned status, const std::string& arm, std::uint64_t us) {
  metrics::histogram into;
  {
    std::lock_guard lock{mutex_};
    auto [at, fresh] = latencies_.try_emplace({to, status / 100, arm});
    if (fresh)
      at->second = registry_.histogram(
          "troupe_gateway_request_seconds", "Time from the last byte of a request to its answer.",
          {{"route", to ? fmt::format("{} {}", to->method, to->pattern) : "none"},
           {"status", fmt::format("{}xx", status / 100)},
           {"arm", arm}});
    into = at->second;
  }
  into.observe(static_cast<double>(us) / 1e6);
}

} // namespace troupe::gateway
