#include "common/core/hash.hpp"

#include <fmt/format.h>
#include <sodium/crypto_hash_sha256.h>
#include <xxhash.h>

namespace troupe {

std::uint64_t hash64(byte_view bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t hash64(std::string_view text, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

hash128 hash_wide(byte_view bytes) noexcept {
  auto hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

hash128 hash_wide(std::string_view text) noexcept {
  return hash_wide(as_bytes(text));
}

std::string to_hex(hash128 hash) {
  return fmt::format("{:016x}{:016x}", hash.high, hash.low);
}

std::string to_hex(byte_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (auto each : bytes)
    fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned>(each));
  return text;
}

std::uint32_t rendezvous(std::string_view key, std::uint32_t count) noexcept {
  std::uint32_t best = 0;
  std::uint64_t best_score = 0;
  for (std::uint32_t replica = 0; replica < count; ++replica) {
    auto score = hash64(key, replica + 1);
    if (replica == 0 || score > best_score) {
      best = replica;
      best_score = score;
    }
  }
  return best;
}

struct sha256::state {
  crypto_hash_sha256_state inner;
};

sha256::sha256() : state_{std::make_unique<state>()} {
  crypto_hash_sha256_init(&state_->inner);
}
sha256::~sha256() = default;
sha256::sha256(sha256&&) noexcept = default;
sha256& sha256::operator=(sha256&&) noexcept = default;

void sha256::add(byte_view bytes) {
  crypto_hash_sha256_update(&state_->inner, reinterpret_cast<const unsigned char*>(bytes.data()),
                            bytes.size());
}

sha256_digest sha256::finish() {
  sha256_digest digest{};
  crypto_hash_sha256_final(&state_->inner, reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string sha256_hex(byte_view bytes) {
  sha256 hash;
  hash.add(bytes);
  return to_hex(hash.finish());
}

} // namespace troupe
