#pragma once

#include "common/model/scorer.hpp"

#include <boost/json/object.hpp>

#include <string_view>

namespace troupe::model {

/// The scorer of a trained model: `kind` and `config` as model.json has them. A setting stands in a table
/// named like the kind, under "kind.setting" or by itself. Fails with ec::unsupported_version on a kind that
/// is not served and with ec::corrupt on settings or weights that do not fit.
expected<std::unique_ptr<scorer>> load_scorer(std::string_view kind, const boost::json::object& config,
                                              tensor_file weights);

} // namespace troupe::model
