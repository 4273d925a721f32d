#pragma once

#include "common/core/error.hpp"
#include "common/http/server.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace troupe::http {

/// The one place where our errors become HTTP: 400 for what the caller got wrong, 503 for what passes.
unsigned status_of(ec code) noexcept;

/// `Not Found`.
std::string_view reason_of(unsigned status) noexcept;

/// `text` as a JSON string, quotes included. Bytes that are no UTF-8 become U+FFFD.
std::string json_quoted(std::string_view text);

/// A problem document (RFC 9457): type, title, status, detail, and the stable name of the code as `code`.
response problem(unsigned status, std::string_view code, std::string_view detail);

/// That of an error; `retry_after` goes into its header where it is not zero.
response problem(const error& err, std::chrono::milliseconds retry_after = {});

} // namespace troupe::http
