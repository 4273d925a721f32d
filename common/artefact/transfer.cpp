#include "common/artefact/transfer.hpp"

#include "common/core/raw_file.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/registry_generated.h"

#include <fcntl.h>

#include <fstream>

namespace troupe::artefact {

namespace fs = std::filesystem;

namespace {

using namespace std::chrono_literals;

constexpr std::size_t part_bytes = std::size_t{4} << 20;
constexpr auto part_timeout = 30s;
constexpr auto identifier = "TRPR";

struct position {
  std::uint64_t next_offset;
  bool complete;
};

expected<position> put(net::client& registry, const file_hash& of, std::uint64_t offset,
                       std::string_view bytes) {
  flatbuffers::FlatBufferBuilder out{bytes.size() + 256};
  auto data = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  auto hash = out.CreateString(of.sha256);
  out.Finish(wire::CreateBlobPut(out, hash, of.bytes, offset, data), identifier);
  TROUPE_TRY(got, registry.call(wire::Kind::blob_put, net::bytes_of(out), deadline::in(part_timeout)));
  TROUPE_TRY(status, net::read_as<wire::BlobStatus>(got.payload, identifier, "BlobStatus"));
  return position{status->next_offset(), status->complete()};
}

} // namespace

expected<file_hash> upload(net::client& registry, const fs::path& file, const on_progress& progress) {
  TROUPE_TRY(of, hash_file(file));
  TROUPE_TRY(in, raw_file::open(file, O_RDONLY));
  TROUPE_TRY(at, put(registry, of, 0, {})); // Where an earlier attempt ended.
  while (!at.complete) {
    if (progress)
      progress(at.next_offset, of.bytes);
    TROUPE_TRY(part, in.read(at.next_offset, part_bytes));
    if (part.empty())
      return fail(ec::conflict, "{} became shorter while it was sent", file.string());
    TROUPE_TRY(next, put(registry, of, at.next_offset, part));
    at = next;
  }
  if (progress)
    progress(of.bytes, of.bytes);
  return std::move(of);
}

expected<void> download(net::client& registry, std::string_view sha256, const fs::path& to,
                        const on_progress& progress) {
  auto part = to;
  part += ".part";
  std::error_code failed;
  if (to.has_parent_path())
    fs::create_directories(to.parent_path(), failed);
  std::uint64_t have = fs::exists(part, failed) ? fs::file_size(part, failed) : 0;
  std::ofstream file{part, std::ios::binary | std::ios::app};
  if (!file)
    return fail(errno_code(errno), "cannot write {}: {}", part.string(), errno_text(errno));
  for (std::uint64_t size = have + 1; have < size;) {
    flatbuffers::FlatBufferBuilder out;
    auto hash = out.CreateString(sha256);
    out.Finish(wire::CreateBlobGet(out, hash, have, part_bytes), identifier);
    TROUPE_TRY(got, registry.call(wire::Kind::blob_get, net::bytes_of(out), deadline::in(part_timeout)));
    TROUPE_TRY(reply, net::read_as<wire::BlobPart>(got.payload, identifier, "BlobPart"));
    auto* bytes = reply->bytes();
    size = reply->size();
    if (reply->offset() != have || (have < size && (bytes == nullptr || bytes->size() == 0)))
      return fail(ec::corrupt, "the registry's answer is not the part of blob {} at {}", sha256, have);
    if (bytes != nullptr) {
      file.write(reinterpret_cast<const char*>(bytes->data()), static_cast<std::streamsize>(bytes->size()));
      have += bytes->size();
    }
    if (progress)
      progress(have, size);
  }
  file.close();
  if (!file)
    return fail(ec::disk_full, "cannot write {}: {}", part.string(), errno_text(errno));
  TROUPE_TRY(is, hash_file(part));
  if (is.sha256 != sha256) {
    fs::remove(part, failed);
    return fail(ec::corrupt, "what came as blob {} has the hash {}; it was thrown away", sha256, is.sha256);
  }
  fs::rename(part, to, failed);
  if (failed)
    return fail(errno_code(failed.value()), "cannot rename {}: {}", part.string(), failed.message());
  return {};
}

} // namespace troupe::artefact
