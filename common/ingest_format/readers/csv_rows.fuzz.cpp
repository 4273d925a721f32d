#include "common/ingest_format/readers/row_text.hpp"

#include <cstdlib>

using namespace troupe::ingest_format;

/// The first byte picks the dialect; the rest is a file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0)
    return 0;
  csv_dialect dialect;
  if (data[0] & 1)
    dialect.delimiter = "::";
  if (data[0] & 2)
    dialect.quote.reset();
  row_decoder decoder{dialect, static_cast<text_encoding>((data[0] >> 2) % 3)};
  std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
  std::vector<std::string> columns(data[0] & 16 ? 3 : 0, "column");
  while (!text.empty()) {
    auto frame = find_row(text, dialect.quote, dialect.delimiter, true);
    if (frame.is == row_frame::state::open || frame.consumed == 0 || frame.length > frame.consumed ||
        frame.consumed > text.size())
      std::abort();
    std::vector<std::string_view> fields;
    std::deque<std::string> made;
    decoder.split(text.substr(0, frame.length), columns, fields, made);
    text.remove_prefix(frame.consumed);
  }
  return 0;
}
