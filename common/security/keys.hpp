#pragma once

#include "common/core/error.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Curve25519 keys as files. Keys are Z85 text (ZeroMQ RFC 32), 40 characters.
namespace troupe::security {

struct key_pair {
  std::string public_key;
  std::string secret_key;
};

key_pair make_key_pair();

/// The public key that belongs to a secret one.
expected<std::string> public_key_of(std::string_view secret_key);

/// 40 characters of Z85 that decode to 32 bytes.
bool is_key(std::string_view text) noexcept;

/// Writes `<stem>.secret` (mode 0600) and `<stem>.public` (0644), the secret first, both synced. Refuses with
/// already_exists when either is there.
expected<void> write_key_pair(const std::filesystem::path& stem, const key_pair& keys);

/// Reads a key file. A secret whose file others may read or write is refused with ec::unauthorized; a file of
/// root's may be readable by its group, where we are not root.
expected<std::string> read_secret_key(const std::filesystem::path& file);
expected<std::string> read_public_key(const std::filesystem::path& file);

/// Reads public keys, one a line, what follows a blank is a remark; `#` begins a comment, an empty file lets
/// nobody in.
expected<std::vector<std::string>> read_allow_list(const std::filesystem::path& file);

enum class key_kind { secret, public_key };

/// A key by reference, as the catalog has it: `file:path` (relative to `folder`), `env:NAME`, or, public keys
/// only, the key itself.
expected<std::string> resolve_key(std::string_view reference, const std::filesystem::path& folder,
                                  key_kind kind);

} // namespace troupe::security
