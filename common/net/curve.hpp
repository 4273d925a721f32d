#pragma once

#include "common/core/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::net {

/// The server side of CURVE. Keys are Z85 text, 40 characters.
struct curve_server {
  std::string secret_key;
  std::vector<std::string> allow; ///< Public keys of the callers let in; others are refused and counted.
};

/// The client side of CURVE.
struct curve_client {
  std::string server_key; ///< Public key of the server.
  std::string public_key;
  std::string secret_key;
};

/// Fails for an address that leaves the machine without CURVE, and for one this layer cannot speak. Plain is
/// allowed on ipc://, inproc:// and tcp://127.x.y.z, tcp://[::1], tcp://localhost only.
expected<void> check_address(std::string_view address, bool encrypted);

} // namespace troupe::net
