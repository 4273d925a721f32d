#pragma once

#include "services/validator/profile.hpp"
#include "services/validator/schema.hpp"

namespace troupe::validator {

/// A first schema from what a profile has seen, to be read and tightened by a person: the type of each field,
/// required where nothing was missing, the range of numbers, the set where at most 16 values (each seen ten
/// times on average) occur. Times, lengths, patterns and uniqueness are left open, because what comes later
/// will lie outside of what was seen.
std::vector<schema> infer_schemas(const profile& seen);

} // namespace troupe::validator
