#include "services/gateway/metrics.hpp"

#include "services/gateway/http/routes.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace troupe::gateway {

request_metrics::request_metrics(metrics::registry& in) : registry_{in}, by_route_(routes().size() + 1) {
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
  auto hundreds = std::min<unsigned>(status / 100, statuses - 1);
  if (!arm.empty())
    return latency_of(to, hundreds, arm).observe(static_cast<double>(us) / 1e6);
  auto& known = by_route_[to ? static_cast<std::size_t>(to - routes().data()) : routes().size()][hundreds];
  auto into = known.load(std::memory_order_relaxed);
  if (!into)
    known = into = latency_of(to, hundreds, arm);
  into.observe(static_cast<double>(us) / 1e6);
}

metrics::histogram request_metrics::latency_of(const route* to, unsigned hundreds, const std::string& arm) {
  std::lock_guard lock{mutex_};
  auto [at, fresh] = latencies_.try_emplace({to, hundreds, arm});
  if (fresh)
    at->second = registry_.histogram("troupe_gateway_request_seconds",
                                     "Time from the last byte of a request to its answer.",
                                     {{"route", to ? fmt::format("{} {}", to->method, to->pattern) : "none"},
                                      {"status", fmt::format("{}xx", hundreds)},
                                      {"arm", arm}});
  return at->second;
}

} // namespace troupe::gateway
