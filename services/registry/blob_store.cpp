#include "services/registry/blob_store.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/file_sync.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/text_start.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace troupe::registry {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t most_arrivals = 64;
constexpr std::uint64_t read_step = 1 << 20;
constexpr std::uint64_t hashed_a_part = 32 << 20; ///< Of what had arrived before this life.
constexpr auto abandoned_after = std::chrono::hours{24};
constexpr auto look_every = std::chrono::hours{1};

unexpected<error> refused(std::string_view doing, const fs::path& path) {
  auto number = errno;
  return fail(errno_code(number), "cannot {} {}: {}", doing, path.string(), errno_text(number));
}

expected<void> check_name(std::string_view sha256) {
  if (!artefact::is_sha256(sha256))
    return fail(ec::invalid_argument, "'{}' is not a SHA-256 (64 lower-case hexadecimal digits)",
                text_start(sha256, 80));
  return {};
}

} // namespace

expected<blob_store> blob_store::open(fs::path folder, std::uint64_t largest, metrics::counter taken) {
  TROUPE_CHECK(make_folder(folder / "arriving"));
  blob_store made{std::move(folder), largest, taken};
  made.drop_abandoned();
  return made;
}

fs::path blob_store::place(std::string_view sha256) const {
  return folder_ / sha256.substr(0, 2) / sha256.substr(2);
}

expected<std::uint64_t> blob_store::size_of(std::string_view sha256) const {
  TROUPE_CHECK(check_name(sha256));
  std::error_code failed;
  auto size = fs::file_size(place(sha256), failed);
  if (failed)
    return fail(ec::not_found, "there is no blob {}", sha256);
  return size;
}

expected<blob_store::progress> blob_store::put(std::string_view sha256, std::uint64_t size,
                                               std::uint64_t offset, byte_view bytes) {
  TROUPE_CHECK(check_name(sha256));
  if (size > largest_)
    return fail(ec::invalid_argument, "blob {} of {} bytes is above the limit of {} (max_blob_bytes)", sha256,
                size, largest_);
  if (offset > size || bytes.size() > size - offset)
    return fail(ec::invalid_argument, "a part of {} bytes at {} is beyond the {} bytes of blob {}",
                bytes.size(), offset, size, sha256);
  if (auto there = size_of(sha256)) {
    if (*there != size)
      return fail(ec::conflict, "blob {} has {} bytes, not {}", sha256, *there, size);
    return progress{size, size, true};
  }
  drop_abandoned();
  // The size is part of the name: two ideas of it cannot mix.
  auto name = fmt::format("{}.{}", sha256, size);
  auto path = folder_ / "arriving" / name;
  std::string is;
  {
    TROUPE_TRY(file, raw_file::open(path, O_RDWR | O_CREAT));
    TROUPE_TRY(have, file.size());
    if (offset > have)
      return progress{size, have, false};
    if (arrivals_.size() >= most_arrivals && !arrivals_.contains(name))
      arrivals_.erase(arrivals_.begin());
    auto& arrived = arrivals_[name];
    if (arrived.bytes > have) // the file was removed under us: from its beginning again
      arrived = {};
    auto end = offset + bytes.size();
    if (end > have) {
      auto fresh = bytes.subspan(have - offset);
      TROUPE_CHECK(file.write(have, fresh));
      TROUPE_CHECK(file.sync());
      if (arrived.bytes == have) {
        arrived.hash.add(fresh);
        arrived.bytes = end;
      }
      have = end;
    }
    auto until = have < size ? std::min(have, arrived.bytes + hashed_a_part) : size;
    while (arrived.bytes < until) {
      TROUPE_TRY(part, file.read(arrived.bytes, std::min<std::uint64_t>(until - arrived.bytes, read_step)));
      if (part.empty())
        return fail(ec::corrupt, "{} has become shorter than the {} bytes that arrived", path.string(), have);
      arrived.hash.add(as_bytes(part));
      arrived.bytes += part.size();
    }
    if (have < size)
      return progress{size, have, false};
    auto digest = arrived.hash.finish();
    is = to_hex(byte_view{digest});
    arrivals_.erase(name);
  }
  TROUPE_CHECK(complete(path, sha256, is));
  taken_.add(static_cast<double>(size));
  return progress{size, size, true};
}

void blob_store::drop_abandoned() {
  auto now = std::chrono::steady_clock::now();
  if (now < next_look_)
    return;
  next_look_ = now + look_every;
  std::error_code failed;
  for (auto& each : fs::directory_iterator{folder_ / "arriving", failed}) {
    auto touched = each.last_write_time(failed);
    if (failed || fs::file_time_type::clock::now() - touched < abandoned_after)
      continue;
    arrivals_.erase(each.path().filename().string());
    fs::remove(each.path(), failed);
    log::info("blob-abandoned",
              "the registry removed what had arrived as {}: nobody went on with it for a day",
              each.path().filename().string());
  }
}

expected<void> blob_store::complete(const fs::path& arrived, std::string_view sha256, const std::string& is) {
  if (is != sha256) {
    std::error_code ignored;
    fs::remove(arrived, ignored);
    return fail(ec::corrupt, "what arrived as blob {} has the hash {}; it was thrown away, send it again",
                sha256, is);
  }
  auto to = place(sha256);
  TROUPE_CHECK(make_folder(to.parent_path()));
  if (::rename(arrived.c_str(), to.c_str()) != 0)
    return refused("rename", arrived);
  TROUPE_CHECK(sync_file(to.parent_path()));
  return sync_file(folder_);
}

expected<blob_store::part> blob_store::read(std::string_view sha256, std::uint64_t offset,
                                            std::uint64_t limit) const {
  TROUPE_TRY(size, size_of(sha256));
  if (offset > size)
    return fail(ec::invalid_argument, "offset {} is beyond the {} bytes of blob {}", offset, size, sha256);
  auto path = place(sha256);
  TROUPE_TRY(file, raw_file::open(path, O_RDONLY));
  TROUPE_TRY(bytes,
             file.read(offset, static_cast<std::size_t>(std::min<std::uint64_t>(limit, size - offset))));
  if (bytes.size() < std::min<std::uint64_t>(limit, size - offset))
    return fail(ec::corrupt, "blob {} has become shorter than its {} bytes", sha256, size);
  return part{size, std::move(bytes)};
}

} // namespace troupe::registry
