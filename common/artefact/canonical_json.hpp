#pragma once

#include "common/core/error.hpp"

#include <boost/json/value.hpp>

#include <string>
#include <string_view>

namespace troupe::artefact {

/// The one text of a JSON value that hashes are taken over: keys sorted by bytes, no blanks, numbers in their
/// shortest form that reads back the same. `canonical(parse(canonical(x)))` is `canonical(x)`.
std::string canonical(const boost::json::value& of);

/// Reads JSON (RFC 8259, at most 32 deep). `what` names it in errors: "the manifest". Of a key given
/// twice in one object the last counts, for the hash too.
expected<boost::json::value> parse_json(std::string_view text, std::string_view what);

} // namespace troupe::artefact
