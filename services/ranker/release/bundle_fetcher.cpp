#include "services/ranker/release/bundle_fetcher.hpp"

#include "services/ranker/release/manifest.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/file.hpp"
#include "common/core/file_hash.hpp"
#include "common/core/file_sync.hpp"
#include "common/core/hash.hpp"
#include "common/net/payload.hpp"

#include "schemas/registry_generated.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

namespace troupe::ranker {

namespace fs = std::filesystem;

namespace {

constexpr std::uint32_t part_bytes = 4 << 20;

/// Folder of every bundle in `local`, by id.
std::map<std::string, fs::path> bundles_in(const fs::path& local) {
  std::map<std::string, fs::path> out;
  std::error_code problem;
  if (!local.empty())
    for (auto& each : fs::directory_iterator{local, problem})
      if (auto text = read_file(each.path() / "release.json"))
        out.emplace(sha256_hex(as_bytes(*text)), each.path());
  return out;
}

} // namespace

bundle_fetcher::bundle_fetcher(fs::path data, fs::path local, std::shared_ptr<net::client> registry,
                               std::chrono::milliseconds part_timeout)
    : data_{std::move(data)}, local_{std::move(local)}, registry_{std::move(registry)}, part_timeout_{
                                                                                            part_timeout} {}

std::vector<std::string> bundle_fetcher::local() const {
  std::vector<std::pair<fs::file_time_type, std::string>> all;
  std::error_code ignored;
  for (auto& [id, folder] : bundles_in(local_))
    all.emplace_back(fs::last_write_time(folder / "release.json", ignored), id);
  std::sort(all.begin(), all.end());
  std::vector<std::string> out;
  for (auto& each : all)
    out.push_back(each.second);
  return out;
}

fs::path bundle_fetcher::blob(const std::string& sha256) const {
  return data_ / "blobs" / sha256;
}

expected<void> bundle_fetcher::fetch_blob(const std::string& sha, std::uint64_t bytes) {
  if (!artefact::is_sha256(sha))
    return fail(ec::corrupt, "{} is no SHA-256", sha);
  if (fs::exists(blob(sha)))
    return {};
  auto part = blob(sha);
  part += ".part";
  std::ofstream out{part, std::ios::binary | std::ios::trunc};
  sha256 sum;
  for (std::uint64_t at = 0; at < bytes;) {
    flatbuffers::FlatBufferBuilder ask;
    ask.Finish(wire::CreateBlobGetDirect(ask, sha.c_str(), at, part_bytes), "TRPR");
    TROUPE_TRY(got, registry_->call(wire::Kind::blob_get, net::bytes_of(ask), deadline::in(part_timeout_)));
    TROUPE_TRY(answer, net::read_as<wire::BlobPart>(got.payload, "TRPR", "BlobPart"));
    if (answer->offset() != at || !answer->bytes() || answer->bytes()->size() == 0 ||
        answer->bytes()->size() > bytes - at)
      return fail(ec::corrupt, "the registry gives another part of blob {} than asked for", sha);
    byte_view piece{reinterpret_cast<const std::byte*>(answer->bytes()->data()), answer->bytes()->size()};
    sum.add(piece);
    out.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(piece.size()));
    at += piece.size();
  }
  out.close();
  if (!out)
    return fail(ec::io_failed, "cannot write {}", part.string());
  auto digest = sum.finish();
  if (auto hash = to_hex(byte_view{digest}); hash != sha)
    return fail(ec::corrupt, "blob {} arrived with hash {}", sha, hash);
  TROUPE_CHECK(sync_file(part));
  std::error_code problem;
  fs::rename(part, blob(sha), problem);
  if (problem)
    return fail(ec::io_failed, "cannot rename {}: {}", part.string(), problem.message());
  return {};
}

void bundle_fetcher::forget(const std::string& id) {
  std::error_code ignored;
  fs::remove_all(data_ / "releases" / id, ignored);
  for (auto& each : fs::directory_iterator{data_ / "blobs", ignored}) {
    auto is = hash_file(each.path());
    if (!is || is->sha256 != each.path().filename().string())
      fs::remove(each.path(), ignored);
  }
}

void bundle_fetcher::keep_only(const std::vector<std::string>& ids) {
  std::error_code ignored;
  for (auto& each : fs::directory_iterator{data_ / "releases", ignored})
    if (auto name = each.path().filename().string();
        artefact::is_sha256(name) && std::ranges::find(ids, name) == ids.end())
      fs::remove_all(each.path(), ignored);
  for (auto& each : fs::directory_iterator{data_ / "blobs", ignored})
    if (fs::hard_link_count(each.path(), ignored) == 1 && !ignored)
      fs::remove(each.path(), ignored);
}

expected<fs::path> bundle_fetcher::fetch(const std::string& id) {
  auto near = bundles_in(local_);
  if (auto found = near.find(id); found != near.end())
    return found->second;
  if (!artefact::is_sha256(id))
    return fail(ec::invalid_argument, "{} is no release: a release is named by its SHA-256", id);
  auto folder = data_ / "releases" / id;
  if (fs::exists(folder / "release.json"))
    return folder;
  if (!registry_)
    return fail(ec::not_found, "release {} is not on this machine, and the catalog has no registry", id);
  flatbuffers::FlatBufferBuilder ask;
  ask.Finish(wire::CreateReleaseQueryDirect(ask, id.c_str()), "TRPR");
  TROUPE_TRY(got, registry_->call(wire::Kind::release_show, net::bytes_of(ask), deadline::in(part_timeout_)));
  TROUPE_TRY(answer, net::read_as<wire::Release>(got.payload, "TRPR", "Release"));
  std::string text = answer->manifest() ? answer->manifest()->str() : "";
  TROUPE_TRY(manifest, parse_manifest(text));
  if (manifest.id != id)
    return fail(ec::corrupt, "the registry gives a manifest with hash {} for release {}", manifest.id, id);
  auto fresh = data_ / "releases" / (id + ".part");
  std::error_code problem;
  fs::remove_all(fresh, problem);
  fs::create_directories(fresh, problem);
  fs::create_directories(data_ / "blobs", problem);
  for (auto& file : manifest.files) {
    TROUPE_CHECK(fetch_blob(file.sha256, file.bytes));
    auto to = fresh / file.path;
    fs::create_directories(to.parent_path(), problem);
    fs::create_hard_link(blob(file.sha256), to, problem);
    if (problem)
      return fail(ec::io_failed, "cannot link {}: {}", to.string(), problem.message());
  }
  std::ofstream{fresh / "release.json", std::ios::binary} << text;
  TROUPE_CHECK(sync_file(fresh / "release.json"));
  if (fs::file_size(fresh / "release.json", problem) != text.size())
    return fail(ec::io_failed, "cannot write {}", (fresh / "release.json").string());
  fs::rename(fresh, folder, problem);
  if (problem)
    return fail(ec::io_failed, "cannot rename {}: {}", fresh.string(), problem.message());
  return folder;
}

} // namespace troupe::ranker
