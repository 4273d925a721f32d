#include "services/validator/schema_folder.hpp"

#include "common/core/file.hpp"

#include <algorithm>

namespace troupe::validator {

expected<std::vector<schema_folder::stamp>> schema_folder::look() const {
  std::vector<stamp> found;
  std::error_code err;
  if (!std::filesystem::exists(folder_, err) && !err)
    return found;
  for (std::filesystem::directory_iterator at{folder_, err}, end; !err && at != end; at.increment(err)) {
    if (at->path().extension() != ".toml" || at->path().filename().string().starts_with("."))
      continue;
    std::error_code gone, sizeless; // A file may go while we look; what is none is refused when it is read.
    stamp each{at->path(), at->last_write_time(gone), at->file_size(sizeless)};
    if (!gone)
      found.push_back(std::move(each));
  }
  if (err)
    return fail(errno_code(err.value()), "cannot read the schema folder {}: {}", folder_.string(),
                err.message());
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.file < b.file; });
  return found;
}

expected<bool> schema_folder::refresh() {
  TROUPE_TRY(found, look());
  if (found == seen_)
    return false;
  seen_ = found;
  std::vector<schema> all;
  std::vector<schema_file> files;
  for (auto& each : found) {
    auto text = read_file(each.file);
    if (!text)
      return with_context("reading a schema file", text.error());
    TROUPE_TRY(schemas, parse_schemas(*text, each.file.string()));
    std::move(schemas.begin(), schemas.end(), std::back_inserter(all));
    files.push_back({each.file.filename().string(), std::move(*text)});
  }
  auto book = rule_book::compile(std::move(all));
  if (!book)
    return with_context(fmt::format("reading the schema folder {}", folder_.string()),
                        std::move(book).error());
  rules_ = std::make_shared<const rule_book>(std::move(*book));
  files_ = std::move(files);
  return true;
}

} // namespace troupe::validator
