#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// A file of a release: its place in the bundle and what its bytes must hash to.
struct release_file {
  std::string path, sha256;
  std::uint64_t bytes = 0;
};

/// What `release.json` says, checked.
struct release_manifest {
  struct model_entry {
    std::string name, kind, path;
    double weight = 1;
    bool scores = true, retrieves = true;
  };
  std::string id; ///< SHA-256 of the manifest.
  std::string name;
  std::vector<model_entry> models;
  std::vector<release_file> files;
};

/// Reads a manifest. Fails with ec::corrupt on what is none, with a path that leaves the bundle or a model
/// without its files, and with ec::unsupported_version on a format or signature that this program does not
/// serve.
expected<release_manifest> parse_manifest(std::string_view json);

/// A request that a release must be able to answer before it serves.
struct warmup_request {
  std::string user;
  std::vector<std::string> history;
  std::uint32_t n = 10;
};

/// Reads `warmup.jsonl`: a request a line.
expected<std::vector<warmup_request>> parse_warmup(std::string_view text);

} // namespace troupe::ranker
