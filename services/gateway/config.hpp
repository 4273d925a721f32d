#pragma once

#include "common/config/keys.hpp"
#include "common/core/resource_limits.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

namespace troupe::gateway {

/// The settings of the gateway: `[gateway.settings]` of the catalog.
struct config {
  std::string http_address = "127.0.0.1";
  std::uint32_t http_port = 8080;
  std::uint32_t http_threads = std::clamp(std::thread::hardware_concurrency(), 2u, 8u);
  std::uint32_t max_connections = 12'000;
  std::uint64_t max_body = std::uint64_t{8} << 20;
  std::uint64_t max_bodies = std::uint64_t{256} << 20;
  std::uint64_t max_header = 16 << 10;
  std::chrono::milliseconds idle_timeout{60'000};
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::string api_keys;
  std::string tls_certificate;
  std::string tls_key;
  std::uint32_t max_rows = 10'000;
  std::uint32_t max_in_flight = 512;
  double rate = 0;
  std::chrono::milliseconds rank_timeout{500};
  std::chrono::milliseconds read_timeout{2'000};
  std::chrono::milliseconds write_timeout{15'000};
  std::uint32_t shadow_in_flight = 64;
  std::uint32_t queue_answers = 100'000;
  bool sync_impressions = true;
  double inspect_detail = 1.0;
  std::uint32_t inspect_recent = 1'000;
  std::chrono::seconds inspect_ttl{3'600};
  std::string trending_feature = "item_trend.decayed";
  std::chrono::milliseconds trending_refresh{30'000};

  void bind(config_keys& keys);
  resource_bounds holds() const { return {max_bodies, 0}; }
  expected<void> validate() const;
};

} // namespace troupe::gateway
