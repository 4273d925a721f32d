#include "common/core/file_hash.hpp"

#include "common/core/hash.hpp"

#include <cerrno>
#include <fstream>

namespace troupe {

expected<file_hash> hash_file(const std::filesystem::path& file) {
  std::ifstream in{file, std::ios::binary};
  if (!in)
    return fail(errno_code(errno), "cannot read {}: {}", file.string(), errno_text(errno));
  sha256 hash;
  std::string buffer(1 << 20, '\0');
  file_hash out;
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    auto got = static_cast<std::size_t>(in.gcount());
    hash.add(as_bytes(std::string_view{buffer}.substr(0, got)));
    out.bytes += got;
  }
  if (in.bad())
    return fail(ec::io_failed, "cannot read {} to its end", file.string());
  out.sha256 = to_hex(byte_view{hash.finish()});
  return out;
}

} // namespace troupe
