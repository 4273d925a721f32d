#pragma once

#include <array>
#include <string_view>

namespace troupe::model {

/// The kinds of models that can be served, as `kind` of model.json names them.
inline constexpr std::array<std::string_view, 8> kinds{"bpr",      "dcn",        "ease",   "ials",
                                                       "item_knn", "popularity", "sasrec", "two_tower"};

} // namespace troupe::model
