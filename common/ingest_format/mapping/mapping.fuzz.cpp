#include "common/ingest_format/mapping/mapping.hpp"

using namespace troupe::ingest_format;

/// Any text is a mapping or an error; one that is a mapping can be used.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto made = mapping::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!made)
    return 0;
  auto mapper = (*made)->bind(0, "folder/file.csv", file_format::json_lines, {});
  if (!mapper)
    return 0;
  std::vector<troupe::record> records;
  std::vector<refused_row> refused;
  raw_row row;
  row.bytes = row.text = R"({"a":1,"b":"x","c":[1,"y"],"d":{"e":true}})";
  mapper->apply(row, records, refused);
  return 0;
}
