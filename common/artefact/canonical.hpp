#pragma once

#include "common/core/error.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <string>
#include <string_view>

/// Manifests and blobs: what models and releases are made of, as the registry knows it.
namespace troupe::artefact {

/// JSON as the one text it is hashed in: keys in byte order, no blanks, numbers in their shortest form (the
/// idea of RFC 8785, with numbers as Boost.JSON writes them).
std::string canonical(const boost::json::value& from);

/// A member that is a text; empty where there is none, or where it is no text.
std::string text_at(const boost::json::object& in, std::string_view key);

/// Whether `text` is 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text) noexcept;

} // namespace troupe::artefact
