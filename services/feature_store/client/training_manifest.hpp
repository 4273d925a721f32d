#pragma once

#include "services/feature_store/client/training_columns.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace troupe::feature_store {

/// A folder is a training set when it has this file.
inline constexpr auto training_manifest_file = "manifest.json";

/// What the manifest.json of a finished training set says.
struct training_manifest {
  std::string text; ///< The file as it is.
  std::string name;
  std::string identity;       ///< What it was made by, see `training_set_identity`.
  std::string content_sha256; ///< Of the values, part by part. 64 hexadecimal digits.
  std::uint64_t rows = 0;
  std::uint64_t unmatched_rows = 0; ///< Those whose entities no view knew at their instant.
  std::vector<training_column> columns;
  std::vector<std::string> parts;         ///< Plain names of files, in the order of the rows.
  std::vector<std::uint64_t> log_offsets; ///< By partition, one past the last record used.
};

/// ec::corrupt where it is no manifest, or names a file outside of its folder; `origin` is for the error.
expected<training_manifest> parse_training_manifest(std::string text, const std::string& origin);

/// Reads `folder`/manifest.json; ec::not_found where the folder holds no finished training set.
expected<training_manifest> read_training_manifest(const std::filesystem::path& folder);

struct training_check {
  bool same = false;
  std::uint64_t rows = 0;
  std::string stated;   ///< SHA-256 in the manifest.
  std::string computed; ///< SHA-256 of what the parts hold.
};

/// Computes the content hash of a finished training set again from its Parquet parts. Blocks.
expected<training_check> verify_training_set(const std::filesystem::path& folder);

} // namespace troupe::feature_store
