#include "tests/support/raw_socket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace troupe::testing {

raw_socket::raw_socket(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

raw_socket::~raw_socket() {
  if (fd_ >= 0)
    ::close(fd_);
}

bool raw_socket::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0)
      return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool raw_socket::greet() const {
  std::string greeting("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16);
  greeting.resize(64, '\0');
  std::string ready("\x05READY\x0bSocket-Type\0\0\0\6DEALER", 28);
  return send(greeting) && send(std::string{'\4', static_cast<char>(ready.size())} + ready);
}

bool raw_socket::send_frames(const std::vector<std::string>& frames) const {
  std::string out;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    out += static_cast<char>((i + 1 < frames.size() ? 1 : 0) | 2);
    for (int shift = 56; shift >= 0; shift -= 8)
      out += static_cast<char>(static_cast<std::uint64_t>(frames[i].size()) >> shift);
    out += frames[i];
  }
  return send(out);
}

std::string raw_socket::receive(int limit_ms) const {
  pollfd ready{fd_, POLLIN, 0};
  if (::poll(&ready, 1, limit_ms) <= 0)
    return {};
  std::string out(65'536, '\0');
  auto got = ::recv(fd_, out.data(), out.size(), 0);
  out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return out;
}

} // namespace troupe::testing
