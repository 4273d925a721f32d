#pragma once

#include "services/validator/rule_book.hpp"

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace troupe::validator {

/// A schema file in force.
struct schema_file {
  std::string name;
  std::string toml;
};

/// The rules of a folder of TOML files, and of its changes. One caller at a time.
class schema_folder {
public:
  /// Nothing is read before the first `refresh`. A folder that does not exist holds no schemas.
  explicit schema_folder(std::filesystem::path folder) : folder_{std::move(folder)} {}

  /// Looks for changes: true when the rules in force are new. With an error the rules before it stay in
  /// force, and the same broken files are not reported again.
  expected<bool> refresh();

  const std::shared_ptr<const rule_book>& rules() const noexcept { return rules_; }
  const std::vector<schema_file>& files() const noexcept { return files_; }
  const std::filesystem::path& path() const noexcept { return folder_; }

private:
  struct stamp {
    std::filesystem::path file;
    std::filesystem::file_time_type changed;
    std::uintmax_t size = 0;
    friend bool operator==(const stamp&, const stamp&) = default;
  };

  expected<std::vector<stamp>> look() const;

  std::filesystem::path folder_;
  std::vector<stamp> seen_;
  std::shared_ptr<const rule_book> rules_ = std::make_shared<const rule_book>();
  std::vector<schema_file> files_;
};

} // namespace troupe::validator
