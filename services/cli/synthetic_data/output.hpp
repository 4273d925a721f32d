#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <filesystem>
#include <memory>

namespace troupe::synthetic_data {

/// Appends the native JSON line of a record, with its line feed.
void append_json_line(std::string& to, const record& rec);

/// The attributes as a JSON object, as the Parquet layout keeps them.
std::string attributes_json(const std::vector<attribute>& attributes);

/// A file that takes records one by one.
class record_file {
public:
  virtual ~record_file() = default;

  virtual expected<void> write(const record& rec) = 0;

  /// Must be called; before it the file is not complete.
  virtual expected<void> close() = 0;
};

/// Its name decides how a file is written: .parquet, .gz, .zst, and plain JSON lines otherwise.
expected<std::unique_ptr<record_file>> create_record_file(const std::filesystem::path& path);

expected<std::unique_ptr<record_file>> create_json_lines(const std::filesystem::path& path);

} // namespace troupe::synthetic_data
