#include "services/cli/send_files.hpp"

#include "services/cli/ask_ingest.hpp"
#include "services/cli/ingest_progress.hpp"
#include "services/cli/record_files.hpp"
#include "services/ingest/readers/source.hpp"

#include "common/core/hash.hpp"
#include "common/core/raw_file.hpp"

#include "schemas/ingest_generated.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::size_t part_bytes = std::size_t{4} << 20;

/// A file as it was when the sending began.
struct original {
  fs::path path;
  std::string name; ///< Within the upload.
  std::uint64_t bytes = 0;
  std::int64_t modified = 0; ///< Microseconds since 1970.

  /// Fills in size and time; false when they were others before.
  expected<bool> look() {
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0)
      return fail(errno_code(errno), "cannot read {}: {}", path.string(), errno_text(errno));
    auto size = static_cast<std::uint64_t>(about.st_size);
    auto time = std::int64_t{about.st_mtim.tv_sec} * 1'000'000 + about.st_mtim.tv_nsec / 1'000;
    bool same = size == bytes && time == modified;
    bytes = size;
    modified = time;
    return same;
  }
};

/// The deepest folder that all of them are in.
fs::path common_folder(const std::vector<fs::path>& files) {
  auto folder = files.front().parent_path();
  for (auto& each : files)
    while (!each.lexically_relative(folder).empty() && *each.lexically_relative(folder).begin() == "..")
      folder = folder.parent_path();
  return folder;
}

expected<std::vector<original>> find_files(const std::string& path, const std::string& mapping) {
  TROUPE_TRY(by, open_mapping(mapping));
  TROUPE_TRY(files, ingest::expand_sources(path));
  bool named = files.size() == 1 && files.front() == fs::path{path};
  for (auto& each : files)
    each = fs::absolute(each).lexically_normal();
  auto total = files.size();
  std::erase_if(files, [&](auto& each) { return !by->match(each, named); });
  if (files.empty())
    return fail(ec::not_found, "none of the {} files at {} is described by the mapping {}: it wants {}",
                total, path, by->name(), by->patterns());
  auto folder = fs::is_directory(path) ? fs::absolute(path).lexically_normal() : common_folder(files);
  std::vector<original> found;
  for (auto& each : files) {
    auto& one = found.emplace_back(original{each, each.lexically_relative(folder).generic_string()});
    TROUPE_CHECK(one.look());
  }
  return found;
}

/// The same files as they are now have the same name.
std::string upload_name(const std::vector<original>& files) {
  std::string all;
  for (auto& each : files)
    all += fmt::format("{}\n{}\n{} {}\n", each.path.string(), each.name, each.bytes, each.modified);
  return to_hex(hash_wide(all)).substr(0, 16);
}

struct position {
  std::uint64_t next_offset = 0;
  bool complete = false;
};

expected<position> put(context& context, const std::string& upload, const original& file,
                       std::uint64_t offset, std::string_view bytes) {
  auto request = ingest::build_message(
      [&](auto& out) {
        auto data = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
        return wire::CreateUploadPut(out, out.CreateString(upload), out.CreateString(file.name), file.bytes,
                                     file.modified, offset, data);
      },
      ingest::ingest_identifier, bytes.size() + 1024);
  TROUPE_TRY(status, ask_ingest<wire::UploadStatus>(context, wire::Kind::upload_put, request, 30s, true));
  return position{status->next_offset(), status->complete()};
}

expected<void> send(context& context, const std::string& upload, original& file,
                    const std::function<void(std::uint64_t)>& sent) {
  TROUPE_TRY(in, raw_file::open(file.path, O_RDONLY));
  TROUPE_TRY(at, put(context, upload, file, 0, {})); // Where an earlier attempt ended.
  while (!at.complete) {
    if (context::interrupted())
      return fail(ec::canceled, "{} of {} bytes of {} are sent; the same command goes on there",
                  at.next_offset, file.bytes, file.path.string());
    TROUPE_TRY(bytes, in.read(at.next_offset, part_bytes));
    TROUPE_TRY(same, file.look());
    if (!same || (bytes.empty() && at.next_offset < file.bytes))
      return fail(ec::conflict, "{} has changed while it was sent; start again", file.path.string());
    TROUPE_TRY(next, put(context, upload, file, at.next_offset, bytes));
    at = next;
    sent(at.next_offset);
  }
  sent(file.bytes);
  return {};
}

} // namespace

expected<std::string> send_files(context& context, const std::string& path, const std::string& mapping,
                                 bool progress) {
  TROUPE_TRY(files, find_files(path, mapping));
  auto upload = upload_name(files);
  std::uint64_t total = 0, before = 0;
  for (auto& each : files)
    total += each.bytes;
  byte_progress bar{progress, "sending", total};
  for (auto& each : files) {
    TROUPE_CHECK(send(context, upload, each, [&](std::uint64_t bytes) { bar.show(before + bytes); }));
    before += each.bytes;
  }
  bool one = fs::is_regular_file(path);
  return one ? upload + "/" + files.front().name : upload;
}

} // namespace troupe::cli
