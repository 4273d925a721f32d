#pragma once

#include <boost/json/value.hpp>

#include <string>
#include <string_view>

/// Manifests and blobs: what models and releases are made of, as the registry knows it.
namespace troupe::artefact {

/// JSON as the one text it is hashed in: keys in byte order, no blanks, numbers in their shortest form (the
/// idea of RFC 8785, with numbers as Boost.JSON writes them).
std::string canonical(const boost::json::value& from);

/// Whether `text` is 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text) noexcept;

} // namespace troupe::artefact
