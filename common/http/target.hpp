#pragma once

#include "common/http/server.hpp"

#include <optional>
#include <string_view>

namespace troupe::http {

/// Whether a text is the host of a URI with or without a port (RFC 3986, 3.2.2), without a user before it:
/// `localhost:8080`, `[::1]`. What a Host header may be, but for the empty one.
bool is_authority(std::string_view text) noexcept;

/// Reads the target of a request, whose method and headers are there, into its path and query (RFC
/// 9112, 3.2). In its absolute form, `http://host/path`, it names the host, which then stands in the header
/// Host: what that said does not count. `*` is the path of an OPTIONS that asks about the server as a whole.
/// Gives the answer where the target is none.
std::optional<response> read_target(std::string_view target, bool secure, request& into);

} // namespace troupe::http
