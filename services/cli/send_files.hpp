#pragma once

#include "services/cli/context.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::cli {

/// Files that are to be imported elsewhere.
struct outgoing_files {
  struct file {
    std::filesystem::path path; ///< Absolute.
    std::uint64_t bytes = 0;
    std::int64_t modified = 0; ///< Microseconds since 1970.
  };
  std::vector<file> files;
  std::uint64_t bytes = 0; ///< Of all of them.
  std::string id;          ///< The same where paths and content are the same, 16 hexadecimal digits.
  std::string upload;      ///< What is imported, as `ImportStart.upload` takes it.

  /// The files behind `path` (a file, a folder, a glob) that the mapping describes. Reads them whole.
  static expected<outgoing_files> find(const std::string& path, const std::string& mapping);
};

/// Sends them to the ingest service, which keeps them until they are imported: by their whole path, of which
/// mappings take folders and patterns. What is there already is not sent again. Shows how far it is where
/// `progress`.
expected<void> send_files(context& context, outgoing_files& files, bool progress);

/// Sends what comes on standard input, to its end, as one file of the format that `extension` names
/// (`jsonl`), and gives what was sent. Holds one part of it at a time, and nothing on our disk. The mapping
/// must describe such a file.
expected<outgoing_files> send_input(context& context, const std::string& extension,
                                    const std::string& mapping, bool progress);

} // namespace troupe::cli
