#pragma once

#include "common/core/error.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::http {

/// `%41+b` read as a path segment (`A+b`) or, with `form`, as a part of a query (`A b`). Fails on a broken
/// escape.
expected<std::string> percent_decode(std::string_view text, bool form = false);
/// The other way: everything but unreserved characters is escaped.
std::string percent_encode(std::string_view text);

/// The names and values of a query, decoded, in order.
class query_values {
public:
  static expected<query_values> parse(std::string_view query);

  std::optional<std::string_view> find(std::string_view name) const noexcept;
  const std::vector<std::pair<std::string, std::string>>& all() const noexcept { return values_; }

private:
  std::vector<std::pair<std::string, std::string>> values_;
};

/// Finds the route of a path. Patterns are segments, `{}` standing for any one that is not empty:
/// `/v1/users/{id}/recommendations`; a fixed segment is preferred to a parameter.
class router {
public:
  struct match {
    std::size_t route = 0;
    std::vector<std::string> parameters; ///< Decoded, in order.
  };
  struct outcome {
    std::optional<match> found;
    /// Where nothing is found: the methods that the path has, as the header Allow lists them, OPTIONS among
    /// them; empty where there is no such path. `*` is a path that has the methods of all.
    std::string allow;
  };

  /// Gives the number of the route: 0, 1, 2... A GET answers HEAD too, unless it must not.
  std::size_t add(std::string method, std::string_view pattern, bool head = true);

  outcome find(std::string_view method, std::string_view path) const;

private:
  struct route {
    std::string method;
    std::vector<std::string> segments;
    bool head = false;

    bool takes(std::string_view asked) const { return asked == method || (head && asked == "HEAD"); }
  };
  std::vector<route> routes_;
};

} // namespace troupe::http
