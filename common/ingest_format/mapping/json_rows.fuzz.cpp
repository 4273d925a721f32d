#include "common/ingest_format/mapping/mapping.hpp"

using namespace troupe::ingest_format;

/// Any bytes are a row of the native layout or are refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static auto mapper = mapping::native()->bind(0, "events.jsonl", file_format::json_lines, {}).value();
  std::vector<troupe::record> records;
  std::vector<refused_row> refused;
  mapper.replay({reinterpret_cast<const char*>(data), size}, 1, records, refused);
  for (auto& each : records)
    (void)troupe::check(each);
  return 0;
}
