#include "common/ingest_format/mapping/mapping.hpp"

#include "common/ingest_format/mapping/bound.hpp"
#include "common/ingest_format/mapping/shipped.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace troupe::ingest_format {

namespace {

/// Compares the file's name, and as many folders above it as the pattern has.
bool matches(const std::filesystem::path& path, const std::string& pattern) {
  auto depth = static_cast<std::size_t>(std::count(pattern.begin(), pattern.end(), '/'));
  std::string tail = without_compression(path);
  auto folder = path.parent_path();
  for (std::size_t i = 0; i < depth; ++i) {
    if (folder.filename().empty())
      return false;
    tail.insert(0, folder.filename().string() + '/');
    folder = folder.parent_path();
  }
  return ::fnmatch(pattern.c_str(), tail.c_str(), FNM_PATHNAME) == 0;
}

} // namespace

expected<std::shared_ptr<const mapping>> mapping::parse(std::string_view toml, std::string_view name) {
  TROUPE_TRY(files, parse_rules(toml, name));
  auto made = std::make_shared<mapping>();
  made->name_ = name;
  made->files_ = std::move(files);
  return std::shared_ptr<const mapping>{std::move(made)};
}

std::shared_ptr<const mapping> mapping::native() {
  static const auto made = parse(find_shipped_mapping("native").value_or(""), "native").value();
  return made;
}

std::optional<std::size_t> mapping::match(const std::filesystem::path& path, bool named) const {
  for (std::size_t i = 0; i < files_.size(); ++i)
    for (auto& pattern : files_[i].patterns)
      if (matches(path, pattern))
        return i;
  return named && files_.size() == 1 ? std::optional<std::size_t>{0} : std::nullopt;
}

std::string mapping::patterns() const {
  std::string text;
  for (auto& file : files_)
    for (auto& pattern : file.patterns)
      text += (text.empty() ? "" : ", ") + pattern;
  return text;
}

expected<row_mapper> mapping::bind(std::size_t file, const std::filesystem::path& path,
                                   const source_reader& reader) const {
  return bind(file, path, reader.format(), reader.columns(), reader.content());
}

expected<row_mapper> mapping::bind(std::size_t file, const std::filesystem::path& path, file_format format,
                                   const std::vector<std::string>& columns,
                                   std::optional<hash128> content) const {
  if (file >= files_.size())
    return fail(ec::internal, "mapping {} has no [[file]] {}", name_, file);
  TROUPE_TRY(bound, rules::bind_rules(files_[file], name_, path, format, columns));
  bound.content = content;
  return row_mapper{std::move(bound)};
}

} // namespace troupe::ingest_format
