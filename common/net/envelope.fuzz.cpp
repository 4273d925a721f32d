#include "common/net/envelope.hpp"

#include <cstdlib>

/// Any bytes are an envelope or an error; what was read is written and read back the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  byte_view bytes{reinterpret_cast<const std::byte*>(data), size};
  (void)net::request_id_of(bytes);
  if (auto read = net::decode_envelope(bytes)) {
    auto again = net::decode_envelope(net::encode(*read).view());
    if (!again || again->request_id != read->request_id || again->kind != read->kind)
      std::abort();
  }
  return 0;
}
