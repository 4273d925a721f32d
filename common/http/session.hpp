#pragma once

#include "common/http/server.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::http {

/// A socket that knows the type of its executor, and pays for no other.
using socket_type =
    boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

/// What the listener sees of a connection: it begins it, and its sweep and its drain end it.
class connection {
public:
  virtual ~connection() = default;
  /// Reads its first request; once. From then on it holds itself while it waits for bytes or an answer.
  virtual void begin() = 0;
  /// Instead of `begin`: says that the server is full and closes. Over TLS it closes alone.
  virtual void turn_away() = 0;
  /// Closes it, from any thread; where `only_idle`, unless it has begun a request by then.
  virtual void end(bool only_idle) = 0;
  /// Lets go of itself where no answer will come any more.
  virtual void forsake() = 0;
  /// Of the thread that it belongs to.
  virtual boost::asio::io_context::executor_type executor() = 0;

  std::atomic<deadline::clock::rep> expires{0}; ///< The sweep ends it then.
  std::atomic<bool> idle{true};
  /// Since when it waits for the first byte of a request; 0: it does not, as while it shakes hands or a
  /// header is under way, or it was chosen to make room.
  std::atomic<deadline::clock::rep> waits_since{0};
};

/// Everything connections share; outlives them all. Its members are safe from any thread; `open` under
/// `mutex`, `options` and `handle` are set before the first connection.
struct hub {
  server_options options;
  async_handler handle;
  std::atomic<bool> draining{false};
  std::mutex mutex;
  std::condition_variable emptied;
  std::unordered_map<connection*, std::weak_ptr<connection>> open;
  std::size_t looked_at = 0; ///< The bucket of `open` where `longest_idle` goes on.
  std::atomic<std::uint64_t> accepted{0}, refused_full{0}, made_room{0}, timed_out{0}, malformed{0},
      requests{0}, accept_failures{0};
  std::atomic<std::uint64_t> body_bytes{0}; ///< Of requests that are not answered yet.

  /// Of a connection that ends.
  void leave(connection* leaving);

  /// The open connections that are `wanted`, held.
  std::vector<std::shared_ptr<connection>> select(const std::function<bool(const connection&)>& wanted);

  /// Among some of the open connections the one that has waited for a request for the longest time; null
  /// where none does. Each wait is chosen once, as it ends only later. Looks at a few only, others each time:
  /// it is asked for every connection of a flood. Under `mutex`.
  std::shared_ptr<connection> longest_idle();
};

/// Of one thread of the server. Whoever answers from another thread holds it for as long as he holds the
/// connection; the server closes it before that thread and its connections go.
struct gate {
  std::shared_mutex mutex;
  bool open = true; ///< Under `mutex`.
};

/// A session speaks HTTP/1.1 over one connection: request by request it reads header and body within the
/// limits and times of the hub's options, hands over to its handler and writes the answer. What breaks a
/// limit or is ambiguous is answered here and ends the connection. Runs on the one thread of the socket's
/// executor; between two requests it holds no buffer.
std::shared_ptr<connection> plain_session(std::shared_ptr<hub> owner, std::shared_ptr<gate> answers,
                                          socket_type socket);

/// The same over TLS, whose handshake it begins with. `tls` outlives it.
std::shared_ptr<connection> secure_session(std::shared_ptr<hub> owner, std::shared_ptr<gate> answers,
                                           socket_type socket, boost::asio::ssl::context& tls);

} // namespace troupe::http
