#include "common/security/keys.hpp"

#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <sodium/core.h>
#include <sodium/crypto_box.h>
#include <sodium/crypto_scalarmult.h>
#include <sodium/utils.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <optional>

namespace troupe::security {

namespace {

using raw_key = std::array<unsigned char, 32>;

// ZeroMQ RFC 32.
constexpr std::string_view z85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
constexpr std::size_t max_file = 1 << 20;

std::string encode(const raw_key& raw) {
  std::string text;
  text.reserve(40);
  for (std::size_t i = 0; i < raw.size(); i += 4) {
    std::uint32_t word = std::uint32_t{raw[i]} << 24 | std::uint32_t{raw[i + 1]} << 16 |
                         std::uint32_t{raw[i + 2]} << 8 | std::uint32_t{raw[i + 3]};
    for (std::uint32_t divisor = 85 * 85 * 85 * 85; divisor != 0; divisor /= 85)
      text += z85[word / divisor % 85];
  }
  return text;
}

std::optional<raw_key> decode(std::string_view text) noexcept {
  if (text.size() != 40)
    return std::nullopt;
  raw_key raw{};
  for (std::size_t i = 0; i < 8; ++i) {
    std::uint64_t word = 0;
    for (char c : text.substr(i * 5, 5)) {
      auto digit = z85.find(c);
      if (digit == std::string_view::npos)
        return std::nullopt;
      word = word * 85 + digit;
    }
    if (word > UINT32_MAX)
      return std::nullopt;
    for (std::size_t k = 0; k < 4; ++k)
      raw[i * 4 + k] = static_cast<unsigned char>(word >> (24 - 8 * k));
  }
  return raw;
}

void need_sodium() {
  if (sodium_init() < 0)
    std::abort(); // No source of random numbers: no key may be made.
}

/// Closes a file descriptor.
struct descriptor {
  int fd;
  ~descriptor() {
    if (fd >= 0)
      ::close(fd);
  }
};

expected<void> write_new(const std::filesystem::path& file, std::string text, mode_t mode) {
  descriptor out{::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)};
  auto failed = [&](int number) {
    return fail(number == EEXIST ? ec::already_exists : errno_code(number),
                "cannot write the key file {}: {}", file.string(), errno_text(number));
  };
  if (out.fd < 0)
    return failed(errno);
  text += '\n';
  // fchmod: the mask of the process must not decide who may read.
  if (::fchmod(out.fd, mode) != 0 ||
      ::write(out.fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || ::fsync(out.fd) != 0)
    return failed(errno);
  return {};
}

expected<std::string> read_all(const std::filesystem::path& file, bool secret) {
  auto failed = [&](int number) {
    return fail(errno_code(number), "cannot read the key file {}: {}", file.string(), errno_text(number));
  };
  TROUPE_TRY(opened, open_regular(file, O_RDONLY));
  descriptor in{opened};
  struct stat info {};
  if (::fstat(in.fd, &info) != 0)
    return failed(errno);
  // Secrets that Kubernetes mounts belong to root, and to the group of those that may read them.
  auto forbidden = info.st_uid == 0 && ::geteuid() != 0 ? 037u : 077u;
  if (secret && (info.st_mode & forbidden) != 0)
    return fail(ec::unauthorized, "the secret key {} may be read by others (mode {:o}): chmod 600 it",
                file.string(), info.st_mode & 0777);
  std::string text;
  char buffer[4096];
  for (;;) {
    auto got = ::read(in.fd, buffer, sizeof buffer);
    if (got < 0)
      return failed(errno);
    if (got == 0)
      return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > max_file)
      return fail(ec::invalid_argument, "{} is too long for a key file", file.string());
  }
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  auto first = text.find_first_not_of(blank);
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

expected<std::string> checked(std::string_view text, std::string_view where) {
  text = trimmed(text);
  if (!is_key(text))
    return fail(ec::invalid_argument, "{} does not hold a key (40 characters of Z85)", where);
  return std::string{text};
}

} // namespace

key_pair make_key_pair() {
  need_sodium();
  raw_key public_raw{}, secret_raw{};
  crypto_box_keypair(public_raw.data(), secret_raw.data());
  key_pair made{encode(public_raw), encode(secret_raw)};
  sodium_memzero(secret_raw.data(), secret_raw.size());
  return made;
}

expected<std::string> public_key_of(std::string_view secret_key) {
  need_sodium();
  auto raw = decode(secret_key);
  raw_key public_raw{};
  if (!raw || crypto_scalarmult_base(public_raw.data(), raw->data()) != 0)
    return fail(ec::invalid_argument, "this is not a secret key (40 characters of Z85)");
  sodium_memzero(raw->data(), raw->size());
  return encode(public_raw);
}

bool is_key(std::string_view text) noexcept {
  return decode(text).has_value();
}

expected<void> write_key_pair(const std::filesystem::path& stem, const key_pair& keys) {
  auto secret = stem, open = stem;
  secret += ".secret";
  open += ".public";
  std::error_code ignored;
  if (std::filesystem::exists(open, ignored))
    return fail(ec::already_exists, "{} exists and is not replaced", open.string());
  TROUPE_CHECK(write_new(secret, keys.secret_key, 0600));
  return write_new(open, keys.public_key, 0644);
}

expected<std::string> read_secret_key(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_all(file, true));
  return checked(text, file.string());
}

expected<std::string> read_public_key(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_all(file, false));
  return checked(text, file.string());
}

expected<std::vector<std::string>> read_allow_list(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_all(file, false));
  std::vector<std::string> keys;
  std::string_view rest = text;
  for (std::size_t line = 1; !rest.empty(); ++line) {
    auto end = rest.find('\n');
    auto each = trimmed(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    // A '#' is a digit of Z85 too: only the first one after a blank, or at the start, begins a comment.
    if (each.starts_with('#'))
      continue;
    each = each.substr(0, each.find_first_of(" \t"));
    if (each.empty())
      continue;
    TROUPE_TRY(key, checked(each, fmt::format("line {} of {}", line, file.string())));
    keys.push_back(std::move(key));
  }
  return keys;
}

expected<std::string> resolve_key(std::string_view reference, const std::filesystem::path& folder,
                                  key_kind kind) {
  if (reference.starts_with("file:")) {
    auto file = folder / std::filesystem::path{reference.substr(5)};
    return kind == key_kind::secret ? read_secret_key(file) : read_public_key(file);
  }
  if (reference.starts_with("env:")) {
    std::string name{reference.substr(4)};
    auto* value = std::getenv(name.c_str()); // NOLINT(concurrency-mt-unsafe): nobody sets variables
    if (value == nullptr)
      return fail(ec::not_found, "the environment variable {} with a key is not set", name);
    return checked(value, "the environment variable " + name);
  }
  if (kind == key_kind::secret)
    return fail(ec::invalid_argument, "a secret key is given as file:PATH or env:NAME, never as text");
  return checked(reference, fmt::format("'{}'", reference));
}

} // namespace troupe::security
