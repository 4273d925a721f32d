#include "common/security/api_keys.hpp"

#include "common/core/bytes.hpp"
#include "common/core/file.hpp"
#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"

#include <fcntl.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>

namespace troupe::security {

namespace {

constexpr std::size_t id_digits = 8, secret_digits = 64;

std::string random_hex(std::size_t bytes) {
  std::array<std::byte, 32> raw{};
  randombytes_buf(raw.data(), bytes);
  return to_hex(byte_view{raw.data(), bytes});
}

std::string hash_of(std::string_view secret) {
  std::array<std::byte, 32> out{};
  crypto_generichash(reinterpret_cast<unsigned char*>(out.data()), out.size(),
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), nullptr, 0);
  return to_hex(byte_view{out});
}

/// One writer at a time, over read, change and replace.
class file_lock {
public:
  explicit file_lock(const std::filesystem::path& file)
      : fd_{::open((file.string() + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)} {
    if (fd_ >= 0)
      ::flock(fd_, LOCK_EX);
  }
  ~file_lock() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  file_lock(const file_lock&) = delete;
  file_lock& operator=(const file_lock&) = delete;

private:
  int fd_;
};

expected<void> write_api_keys(const std::filesystem::path& file, const std::vector<api_key>& keys) {
  std::string text = "# API keys of the gateway: hashes only. `troupe api-keys` changes this file.\n";
  for (const auto& key : keys)
    text += fmt::format(
        "\n[[key]]\nid = \"{}\"\nname = \"{}\"\nhash = \"{}\"\nscopes = \"{}\"\nrate = {}\ncreated = "
        "\"{}\"\nrevoked = {}\n",
        key.id, key.name, key.hash, scopes_text(key.scopes), key.rate, to_rfc3339(key.created), key.revoked);
  auto fresh = file.string() + ".new";
  int fd = ::open(fresh.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(errno_code(errno), "cannot create {}: {}", fresh, errno_text(errno));
  bool good = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  auto number = errno;
  ::close(fd);
  if (!good)
    return fail(errno_code(number), "cannot write {}: {}", fresh, errno_text(number));
  if (::rename(fresh.c_str(), file.c_str()) != 0)
    return fail(errno_code(errno), "cannot replace {}: {}", file.string(), errno_text(errno));
  return {};
}

} // namespace

std::string scopes_text(std::uint8_t scopes) {
  std::string out;
  for (auto [bit, name] : {std::pair{1, "read"}, std::pair{2, "write"}, std::pair{4, "admin"}})
    if ((scopes & bit) != 0)
      out += (out.empty() ? "" : ",") + std::string{name};
  return out;
}

expected<std::uint8_t> parse_scopes(std::string_view text) {
  std::uint8_t out = 0;
  while (!text.empty()) {
    auto end = text.find(',');
    auto word = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (word == "read")
      out |= 1;
    else if (word == "write")
      out |= 2;
    else if (word == "admin")
      out |= 4;
    else
      return fail(ec::invalid_argument, "there is no scope '{}': read, write and admin are", word);
  }
  if (out == 0)
    return fail(ec::invalid_argument, "a key needs a scope: read, write or admin");
  return out;
}

expected<std::vector<api_key>> read_api_keys(const std::filesystem::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    if (errno == ENOENT)
      return std::vector<api_key>{};
    return fail(errno_code(errno), "cannot read {}: {}", file.string(), errno_text(errno));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(ec::unauthorized, "{} may be written by others: chmod 600 it", file.string());
  TROUPE_TRY(text, read_file(file));
  std::istringstream in{std::move(text)};
  std::vector<api_key> out;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#')
      continue;
    if (line == "[[key]]") {
      out.emplace_back();
      continue;
    }
    auto equals = line.find(" = ");
    auto bad = [&](std::string_view why) {
      return fail(ec::invalid_argument, "{}:{}: {}", file.string(), number, why);
    };
    if (equals == std::string::npos || out.empty())
      return bad("not a line of `troupe api-keys`");
    auto name = line.substr(0, equals), value = line.substr(equals + 3);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    auto& key = out.back();
    if (name == "id")
      key.id = value;
    else if (name == "name")
      key.name = value;
    else if (name == "hash")
      key.hash = value;
    else if (name == "scopes") {
      auto scopes = parse_scopes(value);
      if (!scopes)
        return bad(scopes.error().text);
      key.scopes = *scopes;
    } else if (name == "rate")
      key.rate = std::strtod(value.c_str(), nullptr);
    else if (name == "created") {
      auto at = parse_rfc3339(value);
      if (!at)
        return bad(at.error().text);
      key.created = *at;
    } else if (name == "revoked")
      key.revoked = value != "false";
    else
      return bad("unknown key " + name);
  }
  for (const auto& key : out)
    if (key.id.size() != id_digits || key.hash.size() != 64)
      return fail(ec::invalid_argument, "{}: key '{}' has no id of {} or no hash of 64 digits", file.string(),
                  key.name, id_digits);
  return out;
}

expected<std::string> create_api_key(const std::filesystem::path& file, std::string name, std::uint8_t scopes,
                                     double rate) {
  if (::sodium_init() < 0)
    return fail(ec::internal, "libsodium does not start");
  if (!is_plain_name(name) || name.size() > 64)
    return fail(ec::invalid_argument, "'{}' is no name of a key: 1 to 64 letters, digits, - _ .", name);
  if (!(rate >= 0 && rate <= 1e9))
    return fail(ec::invalid_argument, "a rate is 0 to 1000000000 requests a second");
  std::error_code err;
  std::filesystem::create_directories(file.parent_path(), err);
  file_lock lock{file};
  TROUPE_TRY(keys, read_api_keys(file));
  for (const auto& each : keys)
    if (each.name == name && !each.revoked)
      return fail(ec::already_exists, "there is a key '{}' already: revoke it first, or take another name",
                  name);
  api_key made;
  made.id = random_hex(id_digits / 2);
  auto secret = random_hex(secret_digits / 2);
  made.name = std::move(name);
  made.hash = hash_of(secret);
  made.scopes = scopes;
  made.rate = rate;
  made.created = wall_now();
  keys.push_back(made);
  TROUPE_CHECK(write_api_keys(file, keys));
  return "trp_" + made.id + "_" + secret;
}

expected<void> revoke_api_key(const std::filesystem::path& file, std::string_view id_or_name) {
  file_lock lock{file};
  TROUPE_TRY(keys, read_api_keys(file));
  bool found = false;
  for (auto& each : keys)
    if (!each.revoked && (each.id == id_or_name || each.name == id_or_name)) {
      each.revoked = true;
      found = true;
    }
  if (!found)
    return fail(ec::not_found, "there is no key '{}' in {}", id_or_name, file.string());
  return write_api_keys(file, keys);
}

const api_key* find_api_key(const std::vector<api_key>& keys, std::string_view given) noexcept {
  if (given.size() != 4 + id_digits + 1 + secret_digits || !given.starts_with("trp_") ||
      given[4 + id_digits] != '_')
    return nullptr;
  auto id = given.substr(4, id_digits);
  auto hash = hash_of(given.substr(4 + id_digits + 1));
  const api_key* found = nullptr;
  for (const auto& each : keys)
    if (each.id == id && each.hash.size() == hash.size() &&
        sodium_memcmp(each.hash.data(), hash.data(), hash.size()) == 0 && !each.revoked)
      found = &each;
  return found;
}

} // namespace troupe::security
