#pragma once

#include "services/cli/context.hpp"

#include <string>

namespace troupe::cli {

/// Sends the files behind `path` (a file, a folder, a glob) that the mapping describes to the ingest service,
/// which keeps them until they are imported. What is there already is not sent again. Gives the name of the
/// upload, as `ImportStart.upload` takes it. Shows how far it is where `progress`.
expected<std::string> send_files(context& context, const std::string& path, const std::string& mapping,
                                 bool progress);

} // namespace troupe::cli
