#pragma once

#include "common/core/time.hpp"

#include <boost/json/value.hpp>

#include <cmath>

/// Numbers and instants of the wire as JSON, which has neither infinity nor an instant that is not set.
namespace troupe::cli {

inline boost::json::value json_number(double value) {
  return std::isfinite(value) ? boost::json::value(value) : boost::json::value(nullptr);
}

/// `micros`: 0 where there is none.
inline boost::json::value json_instant(std::int64_t micros) {
  return micros == 0 ? boost::json::value(nullptr) : boost::json::value(to_rfc3339(from_micros(micros)));
}

} // namespace troupe::cli
