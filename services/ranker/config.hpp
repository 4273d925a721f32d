#pragma once

#include "common/config/keys.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::ranker {

/// The settings of the ranker: `[ranker.settings]` of the catalog.
struct config {
  std::string release_folder;
  std::uint32_t workers = 2;
  std::uint32_t max_queued = 1024;
  std::uint32_t dispatchers = 2;
  std::uint32_t max_waiting = 1024;
  std::chrono::milliseconds item_changes{200};
  std::chrono::milliseconds item_trends{5000};
  std::chrono::milliseconds item_refresh{60'000};
  std::chrono::milliseconds item_stale{60'000};
  std::uint32_t item_page = 5000;
  std::chrono::milliseconds page_timeout{5000};
  std::chrono::milliseconds feature_timeout{200};
  std::chrono::milliseconds answer_reserve{10};
  std::chrono::milliseconds near_cache_ttl{200};
  std::uint32_t near_cache_users = 50'000;
  std::vector<std::string> user_features;
  std::vector<std::string> item_features;
  std::uint32_t flat_up_to = 100'000;
  std::chrono::milliseconds fetch_timeout{30'000};
  std::chrono::milliseconds load_retry{5000};

  void bind(config_keys& keys);
};

} // namespace troupe::ranker
