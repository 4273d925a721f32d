#pragma once

#include "services/gateway/handlers/handler.hpp"

#include "common/http/server.hpp"
#include "common/security/api_keys.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::gateway {

struct gateway_deps;

/// A route: how it is found, who may use it, what serves it and what the OpenAPI document says of it.
struct route {
  const char* method;
  const char* pattern;
  std::uint8_t scope; ///< 0: anybody.
  /// Answers at once, on the connection's thread: must be quick. nullptr: `handle` does it.
  http::response (*answer)(const gateway_deps&, const http::request&);
  /// Makes what serves the request in an actor of its own.
  handler_ptr (*handle)(request_context&);
  const char* summary;
  const char* parameters; ///< Of the query: names parted by blanks; a name ending in [] may repeat.
  const char* headers;    ///< Of the request, parted by blanks.
  const char* body;       ///< Schema of the body; nullptr: none.
  const char* result;     ///< Schema of the answer.
  bool get_only = false; ///< Not for HEAD: an answer that nobody sees would be an impression that nobody had.
};

/// Every route the gateway has: it serves these, and describes these.
std::span<const route> routes() noexcept;

/// Tells the words of a route's `parameters` or `headers`, one by one.
template <class Tell>
void for_each_word(std::string_view text, Tell tell) {
  while (!text.empty()) {
    auto word = text.substr(0, text.find(' '));
    tell(word);
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
}

/// The words of a route's `parameters` or `headers`.
std::vector<std::string_view> words_in(std::string_view text);

/// The OpenAPI 3.1 document of them, as they are where `keys` are needed or where there are none.
std::string openapi(bool keys);

} // namespace troupe::gateway
