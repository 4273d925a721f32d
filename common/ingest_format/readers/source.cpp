#include "common/ingest_format/readers/source.hpp"

#include "common/core/regular_file.hpp"
#include "common/ingest_format/readers/byte_stream.hpp"
#include "common/ingest_format/readers/parquet_reader.hpp"
#include "common/ingest_format/readers/text_reader.hpp"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace troupe::ingest_format {

namespace fs = std::filesystem;

std::string_view to_string(file_format format) noexcept {
  switch (format) {
  case file_format::csv:
    return "csv";
  case file_format::json_lines:
    return "jsonl";
  case file_format::parquet:
    return "parquet";
  }
  return "unknown";
}

std::string_view to_string(text_encoding encoding) noexcept {
  switch (encoding) {
  case text_encoding::utf8:
    return "utf-8";
  case text_encoding::latin1:
    return "iso-8859-1";
  case text_encoding::windows1252:
    return "windows-1252";
  }
  return "unknown";
}

bool wants(const source_options& options, std::string_view column) noexcept {
  return !options.wanted ||
         std::any_of(options.wanted->begin(), options.wanted->end(), [&](const std::string& each) {
           return each == column || std::string_view{each}.substr(0, each.find('.')) == column;
         });
}

std::string without_compression(const fs::path& path) {
  auto extension = path.extension();
  return (extension == ".gz" || extension == ".zst" ? path.stem() : path.filename()).string();
}

expected<file_format> detect_format(const fs::path& path) {
  auto extension = fs::path{without_compression(path)}.extension();
  if (extension == ".parquet")
    return file_format::parquet;
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json")
    return file_format::json_lines;
  if (extension == ".csv" || extension == ".tsv")
    return file_format::csv;
  TROUPE_TRY(stream, open_stream(path));
  std::array<char, 256> first{};
  TROUPE_TRY(got, stream->read(first));
  std::string_view text{first.data(), got};
  if (text.starts_with("PAR1"))
    return file_format::parquet;
  auto at = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  return at != std::string_view::npos && text[at] == '{' ? file_format::json_lines : file_format::csv;
}

expected<std::unique_ptr<source_reader>> open_reader(const fs::path& path, const source_options& options,
                                                     source_position from) {
  auto format = options.format ? expected<file_format>{*options.format} : detect_format(path);
  if (!format)
    return unexpected<error>{format.error()};
  return *format == file_format::parquet ? open_parquet(path, options, from)
                                         : open_text(path, *format, options, from);
}

namespace {

bool hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

unexpected<error> too_many(const std::string& path) {
  return fail(ec::too_late, "{} holds too much to look through in time: name a smaller part of it", path);
}

expected<void> add_folder(const fs::path& path, deadline until, std::vector<fs::path>& to) {
  std::error_code why;
  auto all = fs::recursive_directory_iterator{path, why};
  for (; !why && all != fs::recursive_directory_iterator{}; all.increment(why)) {
    if (until.passed())
      return too_many(path.string());
    if (hidden(all->path()))
      all.disable_recursion_pending();
    else if (std::error_code other; all->is_regular_file(other))
      to.push_back(all->path());
  }
  if (why)
    return fail(errno_code(why.value()), "cannot read the folder {}: {}", path.string(), why.message());
  return {};
}

/// Until when the glob of this thread may look: glob(3) hands nothing on to what it calls.
thread_local deadline glob_until{deadline::clock::time_point::max()};

/// What a glob matches. It ends early, with what it has, when the time is over: every folder on its way is
/// opened by us.
std::vector<fs::path> matches_of(const std::string& pattern, deadline until) {
  ::glob_t found{};
  found.gl_opendir = [](const char* folder) -> void* {
    if (glob_until.passed()) {
      errno = ETIME;
      return nullptr;
    }
    return ::opendir(folder);
  };
  found.gl_readdir = [](void* folder) {
    return glob_until.passed() ? nullptr : ::readdir(static_cast<DIR*>(folder));
  };
  found.gl_closedir = [](void* folder) { ::closedir(static_cast<DIR*>(folder)); };
  found.gl_lstat = [](const char* path, struct stat* into) { return ::lstat(path, into); };
  found.gl_stat = [](const char* path, struct stat* into) { return ::stat(path, into); };
  glob_until = until;
  int code = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_ALTDIRFUNC, nullptr, &found);
  std::vector<fs::path> matches(found.gl_pathv, found.gl_pathv + (code == 0 ? found.gl_pathc : 0));
  ::globfree(&found);
  return matches;
}

} // namespace

expected<std::vector<fs::path>> expand_paths(const std::string& path, deadline until) {
  std::vector<fs::path> files;
  std::error_code why;
  auto is = fs::status(path, why);
  if (is.type() == fs::file_type::directory) {
    TROUPE_CHECK(add_folder(path, until, files));
  } else if (is.type() == fs::file_type::not_found) {
    for (auto& each : matches_of(path, until)) {
      if (fs::is_directory(each, why))
        TROUPE_CHECK(add_folder(each, until, files));
      else if (fs::is_regular_file(each, why))
        files.push_back(each);
    }
    if (until.passed())
      return too_many(path);
  } else {
    TROUPE_CHECK(check_regular(path)); // It may also be that we may not look there.
    files.emplace_back(path);
  }
  if (files.empty())
    return fail(ec::not_found, "there is no file at {}", path);
  std::sort(files.begin(), files.end());
  return files;
}

std::string bytes_of(const raw_row& row) {
  if (!row.object)
    return std::string{row.bytes};
  std::string text;
  append_json(text, *row.object);
  return text;
}

namespace {

struct kept_texts final : kept_rows {
  std::string all;
  std::vector<std::size_t> ends;

  std::string bytes(std::size_t row) const override {
    auto first = row == 0 ? 0 : ends[row - 1];
    return all.substr(first, ends[row] - first);
  }
};

struct kept_objects final : kept_rows {
  std::shared_ptr<const exact_objects> memory;
  std::vector<std::optional<exact_value>> objects;

  std::string bytes(std::size_t row) const override {
    std::string text;
    if (objects[row])
      append_json(text, *objects[row]);
    return text;
  }
};

} // namespace

std::shared_ptr<const kept_rows> row_batch::keep() const {
  if (objects) {
    auto kept = std::make_shared<kept_objects>();
    kept->memory = objects;
    for (auto& each : rows)
      kept->objects.push_back(each.object);
    return kept;
  }
  auto kept = std::make_shared<kept_texts>();
  std::size_t bytes = 0;
  for (auto& each : rows)
    bytes += each.refused ? 0 : each.bytes.size();
  kept->all.reserve(bytes);
  kept->ends.reserve(rows.size());
  for (auto& each : rows) {
    if (!each.refused)
      kept->all += each.bytes;
    kept->ends.push_back(kept->all.size());
  }
  return kept;
}

} // namespace troupe::ingest_format
