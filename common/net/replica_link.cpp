#include "common/net/replica_link.hpp"

#include "common/net/socket_pump.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>

namespace troupe::net::detail {

namespace {

namespace fs = std::filesystem;

std::string name_of(uid_t user) {
  std::array<char, 4096> room;
  passwd about{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &about, room.data(), room.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("number {}", user);
}

/// Why the system lets us not connect to this address; empty where it does.
std::string why_denied(const std::string& address) {
  if (!address.starts_with("ipc://"))
    return {};
  fs::path at{address.substr(6)};
  if (::faccessat(AT_FDCWD, at.c_str(), R_OK | W_OK, AT_EACCESS) == 0 || errno != EACCES)
    return {};
  // The folder that hides it, or the socket itself.
  struct stat about {};
  while (::stat(at.c_str(), &about) != 0 && at.has_relative_path())
    at = at.parent_path();
  return fmt::format("permission denied: {} belongs to the user {} (mode {:o}), and this is {}", at.string(),
                     name_of(about.st_uid), about.st_mode & 07777, name_of(::geteuid()));
}

} // namespace

replica_link::~replica_link() {
  if (monitor_.handle() != nullptr)
    zmq_socket_monitor(socket_.handle(), nullptr, 0);
}

expected<void> replica_link::connect(zmq::context_t& context, const client_options& options,
                                     const std::string& watch) {
  TROUPE_CHECK(check_address(address_, options.curve.has_value()));
  try {
    socket_ = zmq::socket_t{context, zmq::socket_type::dealer};
    auto& s = socket_;
    auto most = static_cast<int>(std::min<std::size_t>(options.max_in_flight * 2 + 16, 1 << 20));
    s.set(zmq::sockopt::linger, 0);
    s.set(zmq::sockopt::sndhwm, most);
    s.set(zmq::sockopt::rcvhwm, most);
    if (options.curve) {
      s.set(zmq::sockopt::curve_serverkey, options.curve->server_key);
      s.set(zmq::sockopt::curve_publickey, options.curve->public_key);
      s.set(zmq::sockopt::curve_secretkey, options.curve->secret_key);
    }
    if (address_.starts_with("inproc://")) { // Has no connection events: taken as there always.
      connected_ = true;
    } else {
      s.set(zmq::sockopt::immediate, true);
      s.set(zmq::sockopt::reconnect_ivl, 50);
      s.set(zmq::sockopt::reconnect_ivl_max, 500);
      s.set(zmq::sockopt::handshake_ivl, 5000);
      s.set(zmq::sockopt::heartbeat_ivl, 2000);
      s.set(zmq::sockopt::heartbeat_timeout, 10000);
      zmq_socket_monitor(s.handle(), watch.c_str(),
                         ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |
                             ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                             ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
      monitor_ = zmq::socket_t{context, zmq::socket_type::pair};
      monitor_.set(zmq::sockopt::linger, 0);
      monitor_.connect(watch);
    }
    s.connect(address_);
  } catch (const zmq::error_t& err) {
    return zmq_failure("connect to", address_, err);
  }
  return {};
}

bool replica_link::next(link_change& change) {
  change = link_change::none;
  auto frames = receive(monitor_);
  if (frames.size() != 2 || frames[0].size() < 6)
    return false;
  std::uint16_t event = 0;
  std::memcpy(&event, frames[0].data(), sizeof event);
  switch (event) {
  case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
    std::ignore = socket_.get(zmq::sockopt::events); // Brings the connection into the socket.
    connected_ = true;
    refused_ = unauthorized_ = denied_ = false;
    change = link_change::up;
    break;
  case ZMQ_EVENT_DISCONNECTED:
    why_ = "the connection was lost";
    if (std::exchange(connected_, false))
      change = link_change::lost;
    break;
  case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
    unauthorized_ = true;
    change = link_change::unauthorized;
    break;
  case ZMQ_EVENT_CLOSED:
    if (!connected_) {
      why_ = why_denied(address_);
      denied_ = !why_.empty();
      if (!denied_)
        why_ = "nobody listens there";
    }
    if (!connected_ && !std::exchange(refused_, true))
      change = link_change::refused;
    break;
  default:
    why_ = "the handshake failed";
  }
  return true;
}

} // namespace troupe::net::detail
