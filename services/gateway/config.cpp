#include "services/gateway/config.hpp"

namespace troupe::gateway {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("http_address", http_address,
           "IP address of the HTTP API. Without API keys it is loopback, whatever stands here.");
  keys.add("http_port", http_port,
           "Port of the HTTP API; replica n has http_port + n on a host they share. 0: any free one.",
           between(0, 65'535));
  keys.add(
      "http_threads", http_threads,
      "Threads that read and write HTTP, each its own connections; as many actors hold the requests that "
      "wait.",
      between(1, 256));
  keys.add("max_connections", max_connections, "Connections at a time; an idle one is closed for one more.",
           between(1, 1'000'000));
  keys.add("max_body", max_body, "A larger body is answered 413.", between(1'024, 1 << 30), "bytes");
  keys.add("max_bodies", max_bodies, "All bodies at work together; of more a request is answered 503.",
           between(1'024, std::int64_t{1} << 40), "bytes");
  keys.add("max_header", max_header, "A larger header is answered 431.", between(1'024, 1 << 20), "bytes");
  keys.add("idle_timeout", idle_timeout, "A connection without a request for so long is closed.",
           between(100ms, 1h));
  keys.add("header_timeout", header_timeout, "How long a header may take to arrive.", between(10ms, 1h));
  keys.add("body_timeout", body_timeout, "How long a body may take to arrive.", between(10ms, 1h));
  keys.add(
      "api_keys", api_keys,
      "File of the API keys, relative to the catalog. Empty: api-keys.toml in the data folder of the fleet.");
  keys.add("tls_certificate", tls_certificate, "PEM file of the certificate chain. Empty: plain HTTP.");
  keys.add("tls_key", tls_key, "PEM file of its private key.");
  keys.add("max_rows", max_rows, "Rows of one bulk request; more are answered 413.", between(1, 1'000'000));
  keys.add("max_in_flight", max_in_flight, "Requests at work at a time; one more is answered 503.",
           between(1, 1'000'000));
  keys.add(
      "rate", rate,
      "Requests a second of one key (without keys: of one address) that has no rate of its own. 0: no limit.",
      between(0, 1e9));
  keys.add("rank_timeout", rank_timeout, "How long a ranker may take before the fallback answers.",
           between(1ms, 1min));
  keys.add("read_timeout", read_timeout, "How long reading features, runs, models and rollouts may take.",
           between(1ms, 10min));
  keys.add("write_timeout", write_timeout, "How long making rows durable may take.", between(1ms, 10min));
  keys.add("shadow_in_flight", shadow_in_flight, "Shadow calls at a time; more are left out.",
           between(0, 100'000));
  keys.add("queue_answers", queue_answers,
           "Answers whose slates wait for the log; of more the slates are dropped, and the answer "
           "says so.",
           between(1, 100'000'000));
  keys.add(
      "sync_impressions", sync_impressions,
      "Sync the queue before answering, many answers together. Off: it survives kill -9, not power loss.");
  keys.add("inspect_detail", inspect_detail,
           "Share of the requests for which the inspector gets features and model scores too.",
           between(0, 1));
  keys.add("inspect_recent", inspect_recent, "Requests that the inspector has in memory.",
           between(0, 1'000'000));
  keys.add("inspect_ttl", inspect_ttl, "How long the inspector knows a request.", between(1s, 30 * 24h));
  keys.add("trending_feature", trending_feature, "Number of items by which the fallback list is ordered.");
  keys.add("trending_refresh", trending_refresh, "How often that list is read.", between(100ms, 24h));
}

expected<void> config::validate() const {
  if (tls_certificate.empty() != tls_key.empty())
    return fail(ec::invalid_argument, "tls_certificate and tls_key are given together or not at all");
  return {};
}

} // namespace troupe::gateway
