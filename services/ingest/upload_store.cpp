#include "services/ingest/upload_store.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/text_start.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <vector>

namespace troupe::ingest {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t digits = 16;
constexpr std::size_t longest_path = 2048;

bool is_upload(std::string_view name) {
  return name.size() == digits && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// A file below an upload: no way out.
bool is_inside(std::string_view file) {
  if (file.empty() || file.size() > longest_path || file.front() == '/' ||
      file.find('\0') != std::string_view::npos)
    return false;
  return std::ranges::none_of(
      fs::path{file}, [](const fs::path& part) { return part.empty() || part == "." || part == ".."; });
}

std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t sum = 0;
  std::error_code failed;
  for (auto& each : fs::recursive_directory_iterator{folder, failed})
    if (auto size = each.is_regular_file(failed) ? each.file_size(failed) : 0; !failed)
      sum += size;
  return sum;
}

} // namespace

expected<std::shared_ptr<upload_store>> upload_store::open(options options) {
  TROUPE_CHECK(make_folder(options.folder));
  std::shared_ptr<upload_store> made{new upload_store{std::move(options)}};
  std::error_code failed;
  for (auto& each : fs::directory_iterator{made->options_.folder, failed})
    if (auto name = each.path().filename().string(); is_upload(name))
      made->set_size(name, bytes_in(each.path()));
  return made;
}

expected<fs::path> upload_store::place(std::string_view what) const {
  auto slash = what.find('/');
  auto upload = what.substr(0, slash);
  if (!is_upload(upload) || (slash != what.npos && !is_inside(what.substr(slash + 1))))
    return fail(ec::invalid_argument,
                "'{}' names no file that can be sent: an upload is {} hexadecimal digits, a file in it has a "
                "relative path without . and .. of at most {} bytes",
                text_start(what, 200), digits, longest_path);
  auto files = options_.folder / upload / "files";
  return slash == what.npos ? files : files / what.substr(slash + 1);
}

expected<upload_store::progress> upload_store::put(const part& given) {
  TROUPE_TRY(to, place(fmt::format("{}/{}", given.upload, given.file)));
  if (given.size > given.total || given.offset > given.size || given.bytes.size() > given.size - given.offset)
    return fail(ec::invalid_argument,
                "a part of {} bytes at {} is beyond the {} bytes of {}, or these beyond {}",
                given.bytes.size(), given.offset, given.size, given.file, given.total);
  std::string upload{given.upload};
  TROUPE_CHECK(make_folder(options_.folder / upload));
  touch(upload);
  std::error_code missing;
  if (auto there = fs::file_size(to, missing); !missing) {
    if (there != given.size)
      return fail(ec::conflict, "{} of upload {} has {} bytes, not {}", given.file, upload, there,
                  given.size);
    return progress{given.size, true};
  }
  TROUPE_CHECK(make_room(given));
  auto part_path = options_.folder / upload / "arriving" / given.file;
  TROUPE_CHECK(make_folder(part_path.parent_path()));
  {
    TROUPE_TRY(file, raw_file::open(part_path, O_RDWR | O_CREAT));
    TROUPE_TRY(have, file.size());
    if (have > given.size && !given.more) {
      fs::remove(part_path, missing);
      return fail(ec::conflict,
                  "{} bytes of {} had arrived, which has {}: they were thrown away, send it again", have,
                  given.file, given.size);
    }
    if (given.offset > have)
      return progress{have, false};
    if (auto end = given.offset + given.bytes.size(); end > have) {
      TROUPE_CHECK(file.write(have, given.bytes.subspan(have - given.offset)));
      TROUPE_CHECK(file.sync());
      have = end;
    }
    if (have < given.size || given.more)
      return progress{have, false};
  }
  TROUPE_CHECK(complete(given, part_path, to));
  return progress{given.size, true};
}

expected<void> upload_store::make_room(const part& given) {
  std::string upload{given.upload};
  auto known = sizes_.find(upload);
  auto has = known == sizes_.end() ? 0 : known->second;
  if (given.total <= has)
    return {};
  if (given.total > options_.most_bytes)
    return fail(ec::invalid_argument,
                "the files have {} bytes, uploads may have {} (upload_bytes): raise that, or put them where "
                "ingest runs and read them with --in-place",
                given.total, options_.most_bytes);
  // What never became whole goes first, then what was kept for the longest time.
  using candidate = std::tuple<bool, std::chrono::nanoseconds, std::string>;
  std::vector<candidate> others;
  for (auto& [name, bytes] : sizes_)
    if (auto age = untouched(name); name != upload && age >= options_.idle && !is_held(name))
      others.emplace_back(fs::exists(options_.folder / name / "arriving"), age, name);
  std::ranges::sort(others, std::greater{});
  for (auto& [open, age, name] : others) {
    if (all_ - has + given.total <= options_.most_bytes)
      break;
    remove(name, "room was needed");
  }
  if (all_ - has + given.total > options_.most_bytes)
    return fail(ec::overloaded,
                "uploads have {} of {} bytes (upload_bytes), these files need {} more: imports are under way",
                bytes(), options_.most_bytes, given.total - has);
  set_size(upload, given.total);
  return {};
}

expected<void> upload_store::complete(const part& given, const fs::path& arrived, const fs::path& to) {
  TROUPE_CHECK(make_folder(to.parent_path()));
  auto seconds = given.modified / 1'000'000, rest = given.modified % 1'000'000;
  if (rest < 0) {
    rest += 1'000'000;
    --seconds;
  }
  timespec when{seconds, rest * 1'000};
  timespec times[2] = {when, when};
  if (::utimensat(AT_FDCWD, arrived.c_str(), times, 0) != 0 || ::rename(arrived.c_str(), to.c_str()) != 0) {
    int number = errno;
    return fail(errno_code(number), "cannot put {} into its place: {}", to.string(), errno_text(number));
  }
  // Empty folders go, so that what is whole has no `arriving`.
  std::error_code full;
  for (auto at = arrived.parent_path();
       at != options_.folder / given.upload && fs::remove(at, full) && !full;)
    at = at.parent_path();
  for (auto at = to.parent_path();; at = at.parent_path()) {
    TROUPE_CHECK(sync_file(at));
    if (at == options_.folder)
      return {};
  }
}

std::string upload_store::upload_of(const fs::path& path) const {
  auto inside = path.lexically_relative(options_.folder);
  auto first = inside.empty() ? std::string{} : inside.begin()->string();
  return is_upload(first) ? first : std::string{};
}

bool upload_store::is_held(const std::string& upload) const {
  std::lock_guard lock{mutex_};
  return held_.contains(upload);
}

void upload_store::hold(const fs::path& path) {
  if (auto upload = upload_of(path); !upload.empty()) {
    std::lock_guard lock{mutex_};
    ++held_[upload];
  }
}

void upload_store::release(const fs::path& path, bool done) {
  auto upload = upload_of(path);
  if (upload.empty())
    return;
  std::lock_guard lock{mutex_};
  if (auto found = held_.find(upload); found != held_.end() && --found->second == 0)
    held_.erase(found);
  if (done)
    done_.insert(upload);
}

/// The files have the times of their originals: the folder's says when somebody was last here.
void upload_store::touch(const std::string& upload) {
  std::error_code ignored;
  fs::last_write_time(options_.folder / upload, fs::file_time_type::clock::now(), ignored);
  std::lock_guard lock{mutex_};
  done_.erase(upload);
}

std::chrono::nanoseconds upload_store::untouched(const std::string& upload) const {
  std::error_code failed;
  auto last = fs::last_write_time(options_.folder / upload, failed);
  return failed ? std::chrono::nanoseconds::max() : fs::file_time_type::clock::now() - last;
}

expected<void> upload_store::sweep(const std::function<expected<std::set<std::string>>()>& waiting) {
  std::set<std::string> done;
  {
    std::lock_guard lock{mutex_};
    for (auto& each : done_)
      if (!held_.contains(each))
        done.insert(each);
  }
  if (!done.empty()) {
    TROUPE_TRY(needed, waiting());
    for (auto& each : done)
      if (!needed.contains(each) && !is_held(each))
        remove(each, {});
  }
  std::vector<std::string> old;
  for (auto& [name, bytes] : sizes_)
    if (!is_held(name) && untouched(name) >= options_.keep)
      old.push_back(name);
  for (auto& each : old)
    remove(each, "nobody needed it for long (upload_keep)");
  return {};
}

void upload_store::set_size(const std::string& upload, std::uint64_t bytes) {
  auto& now = sizes_[upload];
  all_ += bytes - now;
  now = bytes;
}

/// `why` where that is to be told.
void upload_store::remove(const std::string& upload, std::string_view why) {
  if (!why.empty())
    log::info("upload-removed", "ingest removes upload {}: {}", upload, why);
  std::error_code failed;
  fs::remove_all(options_.folder / upload, failed);
  if (failed)
    return log::warn("upload-stays", "ingest cannot remove upload {}: {}", upload, failed.message());
  set_size(upload, 0);
  sizes_.erase(upload);
  std::lock_guard lock{mutex_};
  done_.erase(upload);
}

} // namespace troupe::ingest
