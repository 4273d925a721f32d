#pragma once

#include "common/core/error.hpp"
#include "common/net/client.hpp"

#include <zmq.hpp>

#include <string>

/// The connection to one replica. Included by common/net only.
namespace troupe::net::detail {

/// What became of a connection.
enum class link_change : std::uint8_t {
  none,
  up,           ///< The handshake is done: messages go.
  lost,         ///< It was up.
  refused,      ///< Nobody listens there, for the first time since it was up.
  unauthorized, ///< The replica does not take our key.
};

/// A DEALER socket towards one replica, which ZeroMQ connects again and again, and what its monitor says of
/// it. Of one thread at a time.
class replica_link {
public:
  explicit replica_link(std::string address) : address_{std::move(address)} {}
  ~replica_link();
  replica_link(const replica_link&) = delete;
  replica_link& operator=(const replica_link&) = delete;

  /// Begins to connect. `watch` is the inproc name of the monitor, of this link alone.
  expected<void> connect(zmq::context_t& context, const client_options& options, const std::string& watch);

  /// Reads one event of the monitor; false: there is none now.
  bool next(link_change& change);

  const std::string& address() const noexcept { return address_; }
  zmq::socket_t& socket() noexcept { return socket_; }
  /// Without a handle for inproc, which has no events.
  zmq::socket_t& monitor() noexcept { return monitor_; }
  bool connected() const noexcept { return connected_; }
  bool refused() const noexcept { return refused_; }
  bool unauthorized() const noexcept { return unauthorized_; }
  /// The system does not let us connect: the socket is another user's.
  bool denied() const noexcept { return denied_; }
  /// Why it is not connected.
  const std::string& why() const noexcept { return why_; }

private:
  std::string address_;
  zmq::socket_t socket_, monitor_;
  bool connected_ = false;
  bool refused_ = false;
  bool unauthorized_ = false;
  bool denied_ = false;
  std::string why_ = "not connected yet";
};

} // namespace troupe::net::detail
