#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <poll.h>
#include <zmq.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

/// What the threads that own sockets are made of. Included by common/net only.
namespace troupe::net::detail {

/// The ZeroMQ context that all plain sockets of this process share (inproc needs that). Ends with the last
/// holder.
std::shared_ptr<zmq::context_t> shared_context();

/// A message that keeps `bytes` alive until it is sent; small ones are copied.
zmq::message_t to_message(const chunk& bytes);

/// How many messages of one socket a pump takes before it looks at the others.
inline constexpr int messages_a_turn = 256;

/// The content of a message, 8-byte aligned; copied only when it is small or lies badly.
chunk to_chunk(zmq::message_t message);

/// Receives all frames of one message. Empty: there is none now. More than four frames: the rest is thrown
/// away and five empty ones are given, so that the count is wrong for everybody.
std::vector<zmq::message_t> receive(zmq::socket_t& socket);

enum class sent : std::uint8_t { yes, full, gone, failed };

/// Sends one frame without waiting.
sent send(zmq::socket_t& socket, zmq::message_t& frame, bool more);

/// Wakes a poll.
class wake_event {
public:
  wake_event();
  ~wake_event();
  wake_event(const wake_event&) = delete;
  wake_event& operator=(const wake_event&) = delete;

  int fd() const noexcept { return fd_; }
  void set() const noexcept;
  void clear() const noexcept;

private:
  int fd_;
};

/// Waits for sockets by their descriptors alone: ZeroMQ's own poll asks each of them for its events before
/// and after, a dozen calls of the system for a message. The descriptor of a ZeroMQ socket says once that
/// something came since the socket was last asked, so whoever finds it ready reads until there is nothing,
/// and whoever sends on it, or leaves messages unread, looks again before waiting. Of one thread.
class socket_poll {
public:
  /// Ready from the start. Gives its number: 0, 1, 2...
  std::size_t add(int fd);
  std::size_t add(zmq::socket_t& socket);

  /// Until one is ready, or for so long; negative: without end. False where the system cannot.
  bool wait(std::chrono::milliseconds longest);

  /// Whether there may be something; asked once after each wait.
  bool ready(std::size_t number) noexcept;

  void look_again(std::size_t number) noexcept { again_[number] = true; }

private:
  std::vector<pollfd> items_;
  std::vector<char> again_;
};

/// The bounded way to the thread that owns the sockets: any thread puts, one takes all.
template <class Item>
class outbox {
public:
  explicit outbox(std::size_t bound) : bound_{bound} {}

  /// False when full or closed; the item is then untouched.
  bool put(Item& item) {
    bool first = false;
    {
      std::lock_guard lock{mutex_};
      if (closed_ || items_.size() >= bound_)
        return false;
      first = items_.empty();
      items_.push_back(std::move(item));
    }
    if (first)
      wake_.set();
    return true;
  }

  /// Swaps what is there into `into` (emptied first).
  void take(std::vector<Item>& into) {
    into.clear();
    wake_.clear();
    std::lock_guard lock{mutex_};
    std::swap(items_, into);
  }

  /// Nothing can be put any more; wakes the taker.
  void close() {
    {
      std::lock_guard lock{mutex_};
      closed_ = true;
    }
    wake_.set();
  }

  bool closed() const {
    std::lock_guard lock{mutex_};
    return closed_;
  }

  void wake() const noexcept { wake_.set(); }
  int fd() const noexcept { return wake_.fd(); }

private:
  mutable std::mutex mutex_;
  std::vector<Item> items_;
  std::size_t bound_;
  bool closed_ = false;
  wake_event wake_;
};

/// Turns the exception of a ZeroMQ call into an error: `cannot bind ipc://x: address in use`.
unexpected<error> zmq_failure(std::string_view doing, std::string_view address, const zmq::error_t& err);

} // namespace troupe::net::detail
