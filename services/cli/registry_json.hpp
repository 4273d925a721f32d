#pragma once

#include "schemas/registry_generated.h"

#include <boost/json/value.hpp>

#include <string>

/// The registry's answers as JSON documents, for --json and for people.
namespace troupe::cli {

boost::json::object to_json(const wire::RunT& run);
boost::json::object to_json(const wire::MetricPointT& point);
boost::json::object to_json(const wire::ModelVersionT& version);
boost::json::object to_json(const wire::ReleaseT& release);

/// Indented by two blanks, one member a line.
std::string pretty(const boost::json::value& from, int indent = 0);

} // namespace troupe::cli
