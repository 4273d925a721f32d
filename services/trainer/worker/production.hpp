#pragma once

#include "services/trainer/engine/train_config.hpp"

#include <boost/json/object.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace troupe::trainer {

/// A version that is in production.
struct in_production {
  std::string model; ///< "name:version".
  /// How it was trained, to be trained again beside `ours`; the error says why it cannot be.
  expected<train_config> config;
};

/// What the trainer noted in `file` (a list of {model, config}); empty where there is no file, ec::corrupt
/// where it holds no list. What is trained again keeps to `ours` where that is not of the model: the memory
/// cap and the device, and for a DCN the training set, its label and the rows that are held back.
expected<std::vector<in_production>> read_production(const std::filesystem::path& file,
                                                     const train_config& ours);

/// What was measured of production: its best model, or why there is none.
class measured_production {
public:
  void leave_out(const std::string& model, const std::string& why);

  /// Keeps these metrics where their `decisive` one is above that of the models before.
  void add(const std::string& model, std::map<std::string, double> metrics, const std::string& decisive);

  /// Puts the metrics of the best one beside others, as `production_*`.
  void put_into(std::map<std::string, double>& metrics) const;

  /// {"model": NAME} or {"reason": TEXT}; empty where nothing is in production.
  boost::json::object record() const;

private:
  std::string model_;
  std::map<std::string, double> best_;
  std::string reasons_;
};

/// The error of a model of production that could not be trained again, with what to do; a run that was
/// stopped or lost a peer stays that.
error not_measured(const std::string& model, error why);

} // namespace troupe::trainer
