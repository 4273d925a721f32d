#include "common/ingest_format/readers/source.hpp"

#include "common/ingest_format/readers/byte_stream.hpp"
#include "common/ingest_format/readers/parquet_reader.hpp"
#include "common/ingest_format/readers/text_reader.hpp"

#include <glob.h>

#include <algorithm>
#include <array>

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

expected<std::unique_ptr<source_reader>> open_reader(const fs::path& path, const source_options& how,
                                                     source_position from) {
  auto format = how.format ? expected<file_format>{*how.format} : detect_format(path);
  if (!format)
    return unexpected<error>{format.error()};
  return *format == file_format::parquet ? open_parquet(path, how, from)
                                         : open_text(path, *format, how, from);
}

namespace {

bool hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

expected<void> add_files(const fs::path& path, std::vector<fs::path>& to) {
  std::error_code why;
  if (!fs::is_directory(path, why)) {
    to.push_back(path);
    return {};
  }
  auto all = fs::recursive_directory_iterator{path, why};
  for (; !why && all != fs::recursive_directory_iterator{}; all.increment(why)) {
    if (hidden(all->path()))
      all.disable_recursion_pending();
    else if (std::error_code other; all->is_regular_file(other))
      to.push_back(all->path());
  }
  if (why)
    return fail(errno_code(why.value()), "cannot read the folder {}: {}", path.string(), why.message());
  return {};
}

} // namespace

expected<std::vector<fs::path>> expand_paths(const std::string& path) {
  std::vector<fs::path> files;
  std::error_code why;
  if (fs::exists(path, why)) {
    TROUPE_CHECK(add_files(path, files));
  } else {
    ::glob_t found{};
    int code = ::glob(path.c_str(), GLOB_NOSORT, nullptr, &found);
    std::vector<fs::path> matches(found.gl_pathv, found.gl_pathv + (code == 0 ? found.gl_pathc : 0));
    ::globfree(&found);
    for (auto& each : matches)
      TROUPE_CHECK(add_files(each, files));
  }
  if (files.empty())
    return fail(ec::not_found, "there is no file at {}", path);
  std::sort(files.begin(), files.end());
  return files;
}

} // namespace troupe::ingest_format
