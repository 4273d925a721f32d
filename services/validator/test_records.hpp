#pragma once

#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <string>
#include <vector>

/// Records for the tests of this folder.
namespace troupe::validator::testing {

inline record rating(std::uint64_t row, double value, std::vector<attribute> context = {}) {
  record rec;
  rec.id = "r" + std::to_string(row);
  rec.type = "rating";
  rec.user = std::to_string(row % 943);
  rec.item = std::to_string(row % 1682);
  rec.event_time = from_micros(1'588'327'200'000'000 + static_cast<std::int64_t>(row) * 1'000'000);
  rec.value = value;
  rec.attributes = std::move(context);
  normalise(rec);
  return rec;
}

inline batch batch_of(const std::vector<record>& records) {
  return batch::trusted(encode_batch(records));
}

} // namespace troupe::validator::testing
