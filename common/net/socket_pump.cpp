#include "common/net/socket_pump.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <tuple>
#include <utility>

namespace troupe::net::detail {

namespace {

constexpr std::size_t copy_below = 2048;
constexpr std::size_t max_frames = 4;

} // namespace

std::shared_ptr<zmq::context_t> shared_context() {
  static std::mutex mutex;
  static std::weak_ptr<zmq::context_t> current;
  std::lock_guard lock{mutex};
  auto held = current.lock();
  if (!held) {
    held = std::make_shared<zmq::context_t>(1);
    current = held;
  }
  return held;
}

zmq::message_t to_message(const chunk& bytes) {
  if (bytes.size() < copy_below)
    return {bytes.data(), bytes.size()};
  auto holder = std::make_unique<chunk>(bytes);
  zmq::message_t message{const_cast<std::byte*>(bytes.data()), bytes.size(),
                         [](void*, void* hint) { delete static_cast<chunk*>(hint); }, holder.get()};
  std::ignore = holder.release();
  return message;
}

chunk to_chunk(zmq::message_t message) {
  bool aligned = reinterpret_cast<std::uintptr_t>(message.data()) % alignof(std::uint64_t) == 0;
  if (!aligned || message.size() < copy_below)
    return chunk::copy({message.data<std::byte>(), message.size()});
  auto holder = std::make_shared<zmq::message_t>(std::move(message));
  byte_view view{holder->data<std::byte>(), holder->size()};
  return {std::move(holder), view};
}

std::vector<zmq::message_t> receive(zmq::socket_t& socket) {
  std::vector<zmq::message_t> frames;
  bool more = true;
  bool too_many = false;
  while (more) {
    zmq::message_t frame;
    if (zmq_msg_recv(frame.handle(), socket.handle(), ZMQ_DONTWAIT) < 0) {
      if (errno == EINTR)
        continue;
      return {};
    }
    more = frame.more();
    if (frames.size() < max_frames)
      frames.push_back(std::move(frame));
    else
      too_many = true;
  }
  if (too_many) {
    frames.clear();
    frames.resize(max_frames + 1);
  }
  return frames;
}

sent send(zmq::socket_t& socket, zmq::message_t& frame, bool more) {
  for (;;) {
    if (zmq_msg_send(frame.handle(), socket.handle(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0)
      return sent::yes;
    switch (errno) {
    case EINTR:
      continue;
    case EAGAIN:
      return sent::full;
    case EHOSTUNREACH:
      return sent::gone;
    default:
      return sent::failed;
    }
  }
}

wake_event::wake_event() : fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
  if (fd_ < 0)
    std::abort(); // Out of file descriptors at start: nothing can work.
}

wake_event::~wake_event() {
  ::close(fd_);
}

void wake_event::set() const noexcept {
  std::uint64_t one = 1;
  [[maybe_unused]] auto written = ::write(fd_, &one, sizeof one);
}

void wake_event::clear() const noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] auto read = ::read(fd_, &count, sizeof count);
}

std::size_t socket_poll::add(int fd) {
  items_.push_back({fd, POLLIN, 0});
  again_.push_back(true);
  return items_.size() - 1;
}

std::size_t socket_poll::add(zmq::socket_t& socket) {
  return add(socket.get(zmq::sockopt::fd));
}

bool socket_poll::wait(std::chrono::milliseconds longest) {
  bool known = std::ranges::find(again_, char{true}) != again_.end();
  for (auto& each : items_)
    each.revents = 0;
  return ::poll(items_.data(), items_.size(), known ? 0 : static_cast<int>(longest.count())) >= 0 ||
         errno == EINTR;
}

bool socket_poll::ready(std::size_t number) noexcept {
  return std::exchange(again_[number], false) || items_[number].revents != 0;
}

unexpected<error> zmq_failure(std::string_view doing, std::string_view address, const zmq::error_t& err) {
  auto code = err.num() == EADDRINUSE ? ec::already_exists
              : err.num() == EINVAL || err.num() == EPROTONOSUPPORT || err.num() == ENODEV
                  ? ec::invalid_argument
                  : ec::io_failed;
  return fail(code, "cannot {} {}: {}", doing, address, err.what());
}

} // namespace troupe::net::detail
