#pragma once

#include "services/trainer/run.hpp"

#include <boost/json/object.hpp>

#include <filesystem>
#include <functional>

namespace troupe::trainer {

/// The run that asks for its data. `report` hears of every change of `status`.
struct data_request {
  const run_deps& deps;
  const run_order& order;
  const std::filesystem::path& folder; ///< Of the run.
  run_status& status;
  const std::function<void(const run_status&)>& report;
  const std::atomic<requested_state>& requested;
};

/// What a run trains on.
struct run_data {
  std::filesystem::path file; ///< Interactions, or the folder of a training set.
  boost::json::object known;  ///< `data` of the model's manifest: source, sha256, rows...
};

/// Brings the data of a run here: a snapshot of the log, a file, or a training set, which is fetched from the
/// feature store where the order says its name. What an earlier life of the run brought is used again. Fails
/// with ec::conflict where they are not those that the order asks for (`data_sha256`). Blocks.
expected<run_data> prepare_data(const data_request& of);

} // namespace troupe::trainer
