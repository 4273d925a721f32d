#include "common/core/file_hash.hpp"

#include "common/core/hash.hpp"
#include "common/core/raw_file.hpp"

#include <fcntl.h>

namespace troupe {

expected<file_hash> hash_file(const std::filesystem::path& file) {
  TROUPE_TRY(in, raw_file::open(file, O_RDONLY));
  sha256 hash;
  file_hash out;
  for (;;) {
    TROUPE_TRY(part, in.read(out.bytes, std::size_t{1} << 20));
    if (part.empty())
      break;
    hash.add(as_bytes(part));
    out.bytes += part.size();
  }
  out.sha256 = to_hex(byte_view{hash.finish()});
  return out;
}

} // namespace troupe
