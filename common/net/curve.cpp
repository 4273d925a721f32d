#include "common/net/curve.hpp"

namespace troupe::net {

expected<void> check_address(std::string_view address, bool encrypted) {
  if (address.starts_with("ipc://") || address.starts_with("inproc://")) {
    if (encrypted)
      return fail(ec::invalid_argument, "{}: CURVE is for tcp only", address);
    // sun_path of unix(7) has 108 bytes with its end.
    if (address.starts_with("ipc://") && address.size() - 6 > 107)
      return fail(ec::invalid_argument,
                  "{}: the path has {} bytes, a socket may have 107: use a shorter data folder", address,
                  address.size() - 6);
    return {};
  }
  if (!address.starts_with("tcp://"))
    return fail(ec::invalid_argument, "'{}' is not an address: ipc://path, tcp://host:port or inproc://name",
                address);
  auto host = address.substr(6);
  bool loopback = host.starts_with("127.") || host.starts_with("[::1]:") || host.starts_with("localhost:");
  if (!encrypted && !loopback)
    return fail(ec::unauthorized,
                "{} leaves this machine and has no CURVE keys: give keys (troupe keys) or use ipc", address);
  return {};
}

} // namespace troupe::net
