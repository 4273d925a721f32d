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
    std::string allow; ///< The methods that the path has, where it has others only.
  };

  /// Gives the number of the route: 0, 1, 2...
  std::size_t add(std::string method, std::string_view pattern);

  /// HEAD is looked up as GET.
  outcome find(std::string_view method, std::string_view path) const;

private:
  struct route {
    std::string method;
    std::vector<std::string> segments;
  };
  std::vector<route> routes_;
};

} // namespace troupe::http
