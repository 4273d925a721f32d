#pragma once

#include "common/core/error.hpp"

#include <boost/json/value.hpp>

#include <cstddef>
#include <string_view>

namespace troupe {

/// Reads a text that is one JSON document. Each number with a fraction is the double nearest to it, so that
/// what is written, read and written again stays the same text: the parser of Boost.JSON 1.81 misses by one
/// unit in the last place in a few of a hundred. An object that has a key twice is refused: which one is
/// meant would be a guess. Fails with ec::invalid_argument, which says the byte; `deepest`: levels of arrays
/// and objects.
expected<boost::json::value> parse_json(std::string_view text, std::size_t deepest = 64);

} // namespace troupe
