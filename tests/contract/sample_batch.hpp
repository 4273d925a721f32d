#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <vector>

namespace troupe::contract {

/// A record with every field set.
record sample();

/// A slate with every field set.
record sample_slate();

/// The sample alone, in a batch of partition 7 at offset 42.
chunk sample_batch();

/// The same bytes, as messages hold a batch.
std::vector<std::uint8_t> sample_batch_bytes();

/// False where there are no bytes, no batch in them, or another record.
bool is_sample_batch(const flatbuffers::Vector<std::uint8_t>* bytes);

} // namespace troupe::contract
