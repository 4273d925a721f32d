#pragma once

#include <boost/json/value.hpp>

#include <string>

namespace troupe::cli {

/// `value` as a YAML 1.2 document in block style, two blanks a level, keys in the order they were put in. A
/// text is quoted where YAML 1.1 or 1.2 would read it as anything but a text.
std::string to_yaml(const boost::json::value& value);

} // namespace troupe::cli
