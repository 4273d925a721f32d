#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/store/database.hpp"

#include <filesystem>
#include <memory>
#include <string>

namespace troupe::gateway {

/// The key spaces of the gateway's database, each written by one class of this folder; `expiry` says when
/// keys of `requests` and `row_times` end.
enum family : store::family_id { slates, requests, expiry, row_times, state };

expected<std::shared_ptr<store::database>> open_state_database(const std::filesystem::path& path);

/// The key of a number, in numeric order.
std::string number_key(std::uint64_t number);

/// The key in `expiry` after which `key` of `family` is forgotten.
std::string expiry_key(timestamp when, family of, std::string_view key);

/// Forgets requests and row times whose time is over, at most 100,000 at once. Blocks.
expected<void> forget_expired(store::database& in, timestamp now);

} // namespace troupe::gateway
