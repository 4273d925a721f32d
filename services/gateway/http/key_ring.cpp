#include "services/gateway/http/key_ring.hpp"

#include "common/log/log.hpp"

#include <algorithm>

namespace troupe::gateway {

expected<std::unique_ptr<key_ring>> key_ring::open(std::filesystem::path file) {
  std::unique_ptr<key_ring> made{new key_ring{std::move(file)}};
  TROUPE_TRY(keys, security::read_api_keys(made->file_));
  made->keys_ = std::move(keys);
  made->guarded_ = !made->keys_.empty();
  return made;
}

void key_ring::refresh() {
  auto keys = security::read_api_keys(file_);
  if (!keys)
    return log::warn("keys-refused", "gateway goes on with the API keys it has: {}", render(keys.error()));
  std::lock_guard lock{keys_mutex_};
  keys_ = std::move(*keys);
  if (!keys_.empty() && !guarded_.exchange(true))
    log::info("api-keys",
              "gateway asks for API keys from now on; where it listens changes with its next start");
}

std::optional<security::api_key> key_ring::find(std::string_view given) const {
  std::lock_guard lock{keys_mutex_};
  const auto* found = security::find_api_key(keys_, given);
  return found ? std::optional{*found} : std::nullopt;
}

std::optional<std::chrono::duration<double>> key_ring::over_rate(const std::string& caller, double rate,
                                                                 deadline::clock::time_point now) {
  if (rate <= 0)
    return std::nullopt;
  std::lock_guard lock{buckets_mutex_};
  if (buckets_.size() > 100'000)
    buckets_.clear();
  auto most = std::max(1.0, rate);
  auto& own = buckets_.try_emplace(caller, bucket{most, now}).first->second;
  own.tokens = std::min(most, own.tokens + rate * std::chrono::duration<double>(now - own.at).count());
  own.at = now;
  if (own.tokens < 1)
    return std::chrono::duration<double>{(1 - own.tokens) / rate};
  own.tokens -= 1;
  return std::nullopt;
}

} // namespace troupe::gateway
