#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Keys of HTTP callers. A key is `trp_<id>_<secret>`: 8 and 64 hexadecimal digits. The file holds
/// BLAKE2b-256 of the secret, which has 256 random bits: a slow hash would add nothing.
namespace troupe::security {

enum class scope : std::uint8_t { read = 1, write = 2, admin = 4 };

struct api_key {
  std::string id;
  std::string name;
  std::string hash;        ///< Hexadecimal.
  std::uint8_t scopes = 0; ///< Bits of `scope`; admin includes the others.
  double rate = 0;         ///< Requests a second; 0: that of the service.
  timestamp created{};
  bool revoked = false;

  bool may(scope what) const noexcept {
    return ((scopes | ((scopes & 4) != 0 ? 7 : 0)) & static_cast<std::uint8_t>(what)) != 0;
  }
};

std::string scopes_text(std::uint8_t scopes);
/// Reads `read,write,admin`.
expected<std::uint8_t> parse_scopes(std::string_view text);

/// The keys in a file; no file is no key. Refuses a file that others may write.
expected<std::vector<api_key>> read_api_keys(const std::filesystem::path& file);

/// A new key, added to the file in one step; gives the key itself, which is stored nowhere.
expected<std::string> create_api_key(const std::filesystem::path& file, std::string name, std::uint8_t scopes,
                                     double rate);
expected<void> revoke_api_key(const std::filesystem::path& file, std::string_view id_or_name);

/// The key that `given` is, nullptr for none. Takes the same time for every wrong secret.
const api_key* find_api_key(const std::vector<api_key>& keys, std::string_view given) noexcept;

} // namespace troupe::security
