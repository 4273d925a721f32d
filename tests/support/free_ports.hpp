#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

namespace troupe::testing {

/// Free ports of the loopback interface, each held open until the end, so that no two calls give the same; a
/// listener with SO_REUSEADDR, as ZeroMQ sets it, may bind it all the same.
class free_ports {
public:
  ~free_ports() { release(); }
  std::uint16_t next() {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    held_.push_back(fd);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin_port);
  }
  void release() {
    for (int fd : held_)
      ::close(fd);
    held_.clear();
  }

private:
  std::vector<int> held_;
};

} // namespace troupe::testing
