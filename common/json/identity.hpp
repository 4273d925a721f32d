#pragma once

#include "common/json/exact.hpp"

namespace troupe {

/// The name of a user, an item or a record that a cell of a row gives, the same at every door: a text as it
/// is, of a whole number its digits as they are written, of a flag `true` or `false`; empty where it is null.
/// Fails with ec::invalid_argument for what has no exact text of its own: a number with a fraction or an
/// exponent
/// (`1e17` may be any of many whole numbers), an array, an object. Valid as long as `what`.
expected<std::string_view> identity_of(exact_value what);

} // namespace troupe
