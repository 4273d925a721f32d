#pragma once

#include "services/trainer/run_order.hpp"

#include "common/core/error.hpp"

#include <boost/json/object.hpp>

#include <filesystem>
#include <string>

namespace troupe::trainer {

/// What a manifest is made of.
struct manifest_source {
  const run_order& order;
  const boost::json::object& data;     ///< What the run was trained on: source, sha256, rows...
  const boost::json::object& result;   ///< The last line of rank 0: metrics, beside.
  const std::string& not_measured;     ///< Why production was not measured beside; may be empty.
  const std::filesystem::path& worker; ///< The program that trained it.
  const std::filesystem::path& model;  ///< The folder it wrote.
};

/// The manifest of a trained model, canonical JSON: all that another training needs to make the same bytes,
/// the hashes of these, and what was measured. Reads and hashes every file of the folder; ec::corrupt where
/// it is empty.
expected<std::string> model_manifest(const manifest_source& from);

} // namespace troupe::trainer
