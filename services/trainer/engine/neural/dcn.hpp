#pragma once

#include "services/trainer/engine/dcn_config.hpp"
#include "services/trainer/engine/labelled_rows.hpp"
#include "services/trainer/engine/neural/task.hpp"

#include <memory>
#include <string>

namespace troupe::trainer::neural {

/// What a DCN is trained from.
struct dcn_input {
  dcn_config config;
  std::string config_json = "{}"; ///< What model.json shall say of it, beside its features.
  std::uint64_t seed = 1;
  const labelled_rows& data; ///< Must outlive the task.
};

/// A task over labelled rows: it can also be asked what it says of them.
class dcn_task : public task {
public:
  /// The logit of each of the rows [begin, end).
  virtual std::vector<float> logits(std::uint64_t begin, std::uint64_t end) = 0;

  /// Rows [0, trained_on) are trained on, [trained_on, tested_on) stop early, the rest measures.
  virtual std::uint64_t trained_on() const = 0;
  virtual std::uint64_t tested_on() const = 0;
};

/// Deep and cross network, version 2 (Wang et al., "DCN V2", 2021): x' = x0 * (W x + b) + x, a deep part
/// beside it or behind it, binary cross-entropy. Numbers come as deviations from the mean of the rows trained
/// on (of their logarithm, where none is below 0 and their deviation is above their mean), words as rows of a
/// table by hash; what is missing has inputs of its own. Fails with ec::invalid_argument where the
/// rows trained on do not have labels of both kinds.
expected<std::unique_ptr<dcn_task>> make_dcn(const dcn_input& from);

} // namespace troupe::trainer::neural
