#pragma once

#include "common/core/bytes.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>

namespace troupe {

/// 128 bits; wide enough that two different inputs never meet by accident.
struct hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend auto operator<=>(const hash128&, const hash128&) = default;
};

/// XXH3, 64 bits: the same on every machine and release. Not for secrets.
std::uint64_t hash64(byte_view bytes, std::uint64_t seed = 0) noexcept;
std::uint64_t hash64(std::string_view text, std::uint64_t seed = 0) noexcept;

/// XXH3, 128 bits.
hash128 hash_wide(byte_view bytes) noexcept;
hash128 hash_wide(std::string_view text) noexcept;

/// 32 lower-case hexadecimal digits.
std::string to_hex(hash128 hash);
std::string to_hex(byte_view bytes);

/// Which of `count` replicas owns `key`: rendezvous hashing (Thaler and Ravishankar, 1998), so that adding a
/// replica moves only the keys it takes over. `count` must be positive.
std::uint32_t rendezvous(std::string_view key, std::uint32_t count) noexcept;

using sha256_digest = std::array<std::byte, 32>;

/// SHA-256 over bytes that arrive in pieces.
class sha256 {
public:
  sha256();
  ~sha256();
  sha256(sha256&&) noexcept;
  sha256& operator=(sha256&&) noexcept;

  void add(byte_view bytes);

  /// Ends the computation; the object must not be used afterwards.
  sha256_digest finish();

private:
  struct state;
  std::unique_ptr<state> state_;
};

/// SHA-256 of a whole piece, as 64 hexadecimal digits.
std::string sha256_hex(byte_view bytes);

} // namespace troupe
