#pragma once

#include <string_view>

namespace troupe {

/// Whether what users name (a model, an alias, a release, a run, an experiment, a training set, an API key),
/// and a file or folder that is called after it, may have this name: 1 to 128 letters, digits, -, _ and .,
/// the first of them no dot. Names stand in paths, in addresses and in words of a command such as
/// `ease:production=0.7`.
bool is_plain_name(std::string_view text) noexcept;

/// Whether a relative path leads to something below where it starts: no root, no `.` or `..` on the way.
bool stays_inside(std::string_view path);

} // namespace troupe
