#include "services/ingest/upload_store.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/raw_file.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace troupe::ingest {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t digits = 16;
constexpr std::size_t longest_path = 1024;
constexpr auto look_every = std::chrono::minutes{10};
/// Its time says when somebody was last at the upload: the files have the times of their originals.
constexpr auto touched = ".touched";

bool is_upload(std::string_view name) {
  return name.size() == digits && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// A file below an upload: no way out, nothing hidden.
bool is_inside(std::string_view file) {
  if (file.empty() || file.size() > longest_path || file.front() == '/' ||
      file.find('\0') != std::string_view::npos)
    return false;
  return std::ranges::none_of(fs::path{file},
                              [](const fs::path& part) { return part.empty() || part.native()[0] == '.'; });
}

std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t sum = 0;
  std::error_code failed;
  for (auto& each : fs::recursive_directory_iterator{folder, failed})
    if (auto size = each.is_regular_file(failed) ? each.file_size(failed) : 0; !failed)
      sum += size;
  return sum;
}

expected<void> make_folder(const fs::path& path) {
  std::error_code failed;
  fs::create_directories(path, failed);
  if (failed)
    return fail(errno_code(failed.value()), "cannot make the folder {}: {}", path.string(), failed.message());
  return {};
}

fs::path arriving(const fs::path& to) {
  return to.parent_path() / ("." + to.filename().string() + ".part");
}

void touch(const fs::path& upload) {
  std::ofstream{upload / touched, std::ios::trunc};
  std::error_code ignored;
  fs::last_write_time(upload / touched, fs::file_time_type::clock::now(), ignored);
}

} // namespace

expected<std::shared_ptr<upload_store>> upload_store::open(options how) {
  TROUPE_CHECK(make_folder(how.folder));
  std::shared_ptr<upload_store> made{new upload_store{std::move(how)}};
  made->bytes_ = bytes_in(made->how_.folder);
  return made;
}

expected<fs::path> upload_store::place(std::string_view what) const {
  auto slash = what.find('/');
  auto upload = what.substr(0, slash);
  if (!is_upload(upload) || (slash != what.npos && !is_inside(what.substr(slash + 1))))
    return fail(ec::invalid_argument, "'{}' is no upload: it is {} hexadecimal digits, a slash and a file",
                what.substr(0, 80), digits);
  return how_.folder / what;
}

expected<upload_store::progress> upload_store::put(const part& given) {
  TROUPE_TRY(to, place(fmt::format("{}/{}", given.upload, given.file)));
  if (given.size > how_.most_bytes)
    return fail(ec::invalid_argument,
                "{} has {} bytes, uploads may have {} (upload_bytes): raise that, or put the file where "
                "ingest runs and read it with --in-place",
                given.file, given.size, how_.most_bytes);
  if (given.offset > given.size || given.bytes.size() > given.size - given.offset)
    return fail(ec::invalid_argument, "a part of {} bytes at {} is beyond the {} bytes of {}",
                given.bytes.size(), given.offset, given.size, given.file);
  std::lock_guard lock{mutex_};
  sweep_locked();
  std::error_code missing;
  if (auto there = fs::file_size(to, missing); !missing) {
    if (there != given.size)
      return fail(ec::conflict, "{} of upload {} has {} bytes, not {}", given.file, given.upload, there,
                  given.size);
    return progress{given.size, true};
  }
  TROUPE_CHECK(make_folder(to.parent_path()));
  touch(how_.folder / given.upload);
  auto part_path = arriving(to);
  {
    TROUPE_TRY(file, raw_file::open(part_path, O_RDWR | O_CREAT));
    TROUPE_TRY(have, file.size());
    if (given.offset > have)
      return progress{have, false};
    if (bytes_ + given.size - std::min(have, given.size) > how_.most_bytes)
      return fail(ec::overloaded,
                  "uploads hold {} of {} bytes (upload_bytes), {} needs {} more: wait for running imports, "
                  "raise that, or put the file where ingest runs and read it with --in-place",
                  bytes_, how_.most_bytes, given.file, given.size - std::min(have, given.size));
    if (auto end = given.offset + given.bytes.size(); end > have) {
      TROUPE_CHECK(file.write(have, given.bytes.subspan(have - given.offset)));
      bytes_ += end - have;
      have = end;
    }
    if (have < given.size)
      return progress{have, false};
    TROUPE_CHECK(file.sync());
  }
  TROUPE_CHECK(complete(given, part_path, to));
  return progress{given.size, true};
}

expected<void> upload_store::complete(const part& given, const fs::path& arrived, const fs::path& to) {
  timespec when{given.modified / 1'000'000, given.modified % 1'000'000 * 1'000};
  if (when.tv_nsec < 0) {
    when.tv_nsec += 1'000'000'000;
    --when.tv_sec;
  }
  timespec times[2] = {when, when};
  if (::utimensat(AT_FDCWD, arrived.c_str(), times, 0) != 0 || ::rename(arrived.c_str(), to.c_str()) != 0) {
    int number = errno;
    return fail(errno_code(number), "cannot put {} into its place: {}", to.string(), errno_text(number));
  }
  return sync_file(to.parent_path());
}

std::string upload_store::upload_of(const fs::path& path) const {
  auto inside = path.lexically_relative(how_.folder);
  auto first = inside.empty() ? std::string{} : inside.begin()->string();
  return is_upload(first) ? first : std::string{};
}

void upload_store::hold(const fs::path& path) {
  if (auto upload = upload_of(path); !upload.empty()) {
    std::lock_guard lock{mutex_};
    ++held_[upload];
  }
}

void upload_store::release(const fs::path& path, bool needless) {
  auto upload = upload_of(path);
  if (upload.empty())
    return;
  std::lock_guard lock{mutex_};
  auto found = held_.find(upload);
  if (found != held_.end() && --found->second > 0)
    return;
  held_.erase(upload);
  if (needless)
    remove(upload);
  else
    touch(how_.folder / upload);
}

void upload_store::sweep() {
  std::lock_guard lock{mutex_};
  next_look_ = {};
  sweep_locked();
}

void upload_store::sweep_locked() {
  auto now = std::chrono::steady_clock::now();
  if (now < next_look_)
    return;
  next_look_ = now + look_every;
  std::error_code failed;
  std::vector<std::string> old;
  for (auto& each : fs::directory_iterator{how_.folder, failed}) {
    auto name = each.path().filename().string();
    if (!is_upload(name) || held_.contains(name))
      continue;
    auto last = fs::last_write_time(each.path() / touched, failed);
    if (failed || fs::file_time_type::clock::now() - last >= how_.keep)
      old.push_back(std::move(name));
  }
  for (auto& each : old) {
    log::info("upload-removed", "ingest removes upload {}: nobody needed it for {} h", each,
              std::chrono::duration_cast<std::chrono::hours>(how_.keep).count());
    remove(each);
  }
}

void upload_store::remove(const std::string& upload) {
  auto gone = bytes_in(how_.folder / upload);
  std::error_code failed;
  fs::remove_all(how_.folder / upload, failed);
  if (failed)
    log::warn("upload-stays", "ingest cannot remove upload {}: {}", upload, failed.message());
  else
    bytes_ -= std::min(bytes_, gone);
}

std::uint64_t upload_store::bytes() const {
  std::lock_guard lock{mutex_};
  return bytes_;
}

} // namespace troupe::ingest
