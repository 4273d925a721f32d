#include "services/cli/send_files.hpp"

#include "services/cli/ask_ingest.hpp"
#include "services/cli/ingest_progress.hpp"
#include "services/cli/record_files.hpp"

#include "common/core/file_hash.hpp"
#include "common/core/hash.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/time.hpp"
#include "common/ingest_format/readers/source.hpp"

#include "schemas/ingest_generated.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::size_t part_bytes = std::size_t{4} << 20;

using file = outgoing_files::file;

/// The file's name within the upload.
std::string name_of(const file& from) {
  return from.path.relative_path().generic_string();
}

/// Fills in size and time; false when they were others before.
expected<bool> look(file& at) {
  struct stat about {};
  if (::stat(at.path.c_str(), &about) != 0)
    return fail(errno_code(errno), "cannot read {}: {}", at.path.string(), errno_text(errno));
  auto size = static_cast<std::uint64_t>(about.st_size);
  auto time = std::int64_t{about.st_mtim.tv_sec} * 1'000'000 + about.st_mtim.tv_nsec / 1'000;
  bool same = size == at.bytes && time == at.modified;
  at.bytes = size;
  at.modified = time;
  return same;
}

/// The deepest folder that all of them are in.
fs::path common_folder(const std::vector<file>& files) {
  auto folder = files.front().path.parent_path();
  for (auto& each : files)
    while (*each.path.lexically_relative(folder).begin() == "..")
      folder = folder.parent_path();
  return folder;
}

struct position {
  std::uint64_t next_offset = 0;
  bool complete = false;
};

expected<position> put(context& context, const outgoing_files& all, const file& from, std::uint64_t offset,
                       std::string_view bytes, bool more = false) {
  auto request = ingest::build_message(
      [&](auto& out) {
        auto data = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
        return wire::CreateUploadPut(out, out.CreateString(all.id), out.CreateString(name_of(from)),
                                     from.bytes, all.bytes, from.modified, offset, data, more);
      },
      ingest::ingest_identifier, bytes.size() + 1024);
  TROUPE_TRY(status, ask_ingest<wire::UploadStatus>(context, wire::Kind::upload_put, request, 30s, true));
  return position{status->next_offset(), status->complete()};
}

expected<void> send(context& context, const outgoing_files& all, file& from,
                    const std::function<void(std::uint64_t)>& sent) {
  TROUPE_TRY(in, raw_file::open(from.path, O_RDONLY));
  TROUPE_TRY(at, put(context, all, from, 0, {})); // Where an earlier attempt ended.
  while (!at.complete) {
    if (context::interrupted())
      return fail(ec::canceled, "{} of {} bytes of {} are sent; the same command goes on there",
                  at.next_offset, from.bytes, from.path.string());
    TROUPE_TRY(bytes, in.read(at.next_offset, part_bytes));
    TROUPE_TRY(same, look(from));
    if (!same || (bytes.empty() && at.next_offset < from.bytes))
      return fail(ec::conflict, "{} has changed while it was sent; start again", from.path.string());
    TROUPE_TRY(next, put(context, all, from, at.next_offset, bytes));
    at = next;
    sent(at.next_offset);
  }
  sent(from.bytes);
  return {};
}

/// Sends `bytes`, which lie behind the `before` that were sent.
expected<void> put_more(context& context, const outgoing_files& all, std::uint64_t before,
                        std::string_view bytes) {
  for (position at{before, false};;) {
    TROUPE_TRY(next, put(context, all, all.files.front(), at.next_offset,
                         bytes.substr(at.next_offset - before), true));
    if (next.next_offset < before || next.next_offset > before + bytes.size())
      return fail(ec::conflict, "of what came on standard input ingest has {} bytes, not {}: start again",
                  next.next_offset, before);
    at = next;
    if (at.next_offset == before + bytes.size())
      return {};
  }
}

} // namespace

expected<outgoing_files> send_input(context& context, const std::string& extension,
                                    const std::string& mapping, bool progress) {
  TROUPE_TRY(by, open_mapping(mapping));
  outgoing_files all;
  auto& input = all.files.emplace_back(file{"/stdin." + extension, 0, micros_of(wall_now())});
  if (!by->match(input.path, true))
    return fail(ec::not_found,
                "standard input is taken as {}, which the mapping {} does not describe: it wants {}",
                input.path.filename().string(), by->name(), by->patterns());
  std::random_device random;
  all.id = fmt::format("{:08x}{:08x}", random(), random());
  all.upload = all.id + "/" + name_of(input);
  if (::isatty(STDIN_FILENO) != 0)
    fmt::print(stderr, "reading standard input, to its end (Ctrl-D)\n");
  byte_progress bar{progress, "reading standard input:", 0};
  std::string part(part_bytes, '\0');
  std::size_t filled = 0;
  auto sent_at = deadline::clock::now();
  for (bool end = false; !end;) {
    pollfd in{STDIN_FILENO, POLLIN, 0};
    auto ready = ::poll(&in, 1, 1'000);
    if (context::interrupted())
      return fail(ec::canceled, "{} bytes were sent and none imported: start again", input.bytes);
    if (ready > 0) {
      auto got = ::read(STDIN_FILENO, part.data() + filled, part.size() - filled);
      if (got < 0 && errno != EINTR && errno != EAGAIN)
        return fail(errno_code(errno), "cannot read standard input: {}", errno_text(errno));
      end = got == 0;
      filled += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    }
    // Also when little comes: ingest may throw away what nobody touches, to make room.
    if (filled == part.size() || end || deadline::clock::now() - sent_at >= 10s) {
      auto before = input.bytes;
      all.bytes = input.bytes = before + filled;
      TROUPE_CHECK(put_more(context, all, before, std::string_view{part}.substr(0, filled)));
      filled = 0;
      sent_at = deadline::clock::now();
    }
    bar.show(input.bytes + filled);
  }
  TROUPE_TRY(whole, put(context, all, input, input.bytes, {}));
  if (!whole.complete)
    return fail(ec::conflict, "of what came on standard input ingest has {} bytes, not {}: start again",
                whole.next_offset, input.bytes);
  return all;
}

expected<outgoing_files> outgoing_files::find(const std::string& path, const std::string& mapping) {
  TROUPE_TRY(by, open_mapping(mapping));
  TROUPE_TRY(paths, ingest_format::expand_paths(path));
  bool named = paths.size() == 1 && paths.front() == fs::path{path};
  outgoing_files all;
  std::string content;
  for (auto& each : paths) {
    file one{fs::absolute(each).lexically_normal()};
    if (!by->match(one.path, named))
      continue;
    TROUPE_TRY(hash, hash_file(one.path));
    TROUPE_CHECK(look(one));
    if (one.bytes != hash.bytes)
      return fail(ec::conflict, "{} has changed while it was read; start again", one.path.string());
    content += fmt::format("{}\n{}\n", one.path.string(), hash.sha256);
    all.bytes += one.bytes;
    all.files.push_back(std::move(one));
  }
  if (all.files.empty())
    return fail(ec::not_found, "none of the {} files at {} is described by the mapping {}: it wants {}",
                paths.size(), path, by->name(), by->patterns());
  all.id = to_hex(hash_wide(content)).substr(0, 16);
  auto top = named                    ? all.files.front().path
             : fs::is_directory(path) ? fs::absolute(path).lexically_normal()
                                      : common_folder(all.files);
  auto below = top.relative_path().generic_string();
  while (below.ends_with('/'))
    below.pop_back();
  all.upload = below.empty() ? all.id : all.id + "/" + below;
  return all;
}

expected<void> send_files(context& context, outgoing_files& all, bool progress) {
  std::uint64_t before = 0;
  byte_progress bar{progress, "sending", all.bytes};
  for (auto& each : all.files) {
    TROUPE_CHECK(send(context, all, each, [&](std::uint64_t bytes) { bar.show(before + bytes); }));
    before += each.bytes;
  }
  return {};
}

} // namespace troupe::cli
