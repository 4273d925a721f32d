#pragma once

#include "tests/bench/report.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

/// What one run of load saw.
struct load_result {
  double rate = 0; ///< Answers with status 200, per second.
  samples answers;
  std::uint64_t good = 0, bad = 0; ///< Status 200, and any other.
  double seconds = 0;
};

/// A client for load: one thread, epoll, keep-alive connections to 127.0.0.1, answers with a Content-Length.
///
/// Closed loop: each connection asks again as soon as it has its answer. Open loop: requests arrive by a
/// Poisson process at a given rate whether or not answers come; the latency counts from the arrival, also
/// while no connection is free, so a server that stalls is charged for everybody who would have come
/// meanwhile.
class http_load {
public:
  using next_request = std::function<std::string()>; ///< The bytes of a request.

  http_load(std::uint16_t port, std::size_t connections, next_request next)
      : next_{std::move(next)}, epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
    all_.resize(connections);
    for (std::size_t i = 0; i < connections; ++i)
      open(i, port);
  }
  ~http_load() {
    for (auto& each : all_)
      ::close(each.fd);
    ::close(epoll_);
  }
  http_load(const http_load&) = delete;

  load_result closed(std::chrono::milliseconds span) {
    load_result out;
    auto begin = clock::now(), end = begin + span;
    for (auto& each : all_)
      ask(each, clock::now());
    while (busy_ > 0) {
      auto more = clock::now() < end;
      turn(100, out, [&](connection& free) {
        if (more)
          ask(free, clock::now());
      });
    }
    return close(out, begin);
  }

  load_result open(std::chrono::milliseconds span, double rate) {
    load_result out;
    std::mt19937_64 source{7};
    std::exponential_distribution<double> gap{rate};
    std::deque<clock::time_point> waiting;
    std::vector<std::size_t> free(all_.size());
    for (std::size_t i = 0; i < free.size(); ++i)
      free[i] = i;
    auto begin = clock::now(), end = begin + span, next = begin;
    auto limit = end + std::chrono::seconds{5}; // A server far behind is not waited for.
    while ((clock::now() < end || busy_ > 0 || !waiting.empty()) && clock::now() < limit) {
      for (auto now = clock::now(); next <= now && next < end;) {
        waiting.push_back(next);
        next += std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(gap(source)));
      }
      while (!waiting.empty() && !free.empty()) {
        ask(all_[free.back()], waiting.front());
        free.pop_back();
        waiting.pop_front();
      }
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - clock::now()).count();
      turn(next < end ? static_cast<int>(std::max<std::int64_t>(0, left)) : 10, out,
           [&](connection& one) { free.push_back(static_cast<std::size_t>(&one - all_.data())); });
    }
    out.bad += waiting.size();
    return close(out, begin);
  }

private:
  struct connection {
    int fd = -1;
    clock::time_point since;
    std::string got;
    std::size_t wanted = 0; ///< Bytes of the whole answer; 0: its header is not here yet.
  };

  void open(std::size_t i, std::uint16_t port) {
    auto& each = all_[i];
    each.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    ::setsockopt(each.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_event wants{EPOLLIN, {.u64 = i}};
    if (::connect(each.fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 ||
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, each.fd, &wants) != 0)
      throw std::runtime_error{"cannot connect to port " + std::to_string(port)};
  }

  void ask(connection& by, clock::time_point since) {
    auto text = next_();
    by.since = since;
    by.got.clear();
    by.wanted = 0;
    if (::send(by.fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error{"the server closed a connection under load"};
    ++busy_;
  }

  template <class Freed>
  void turn(int wait_ms, load_result& out, Freed freed) {
    epoll_event ready[64];
    auto count = ::epoll_wait(epoll_, ready, 64, wait_ms);
    for (int i = 0; i < count; ++i) {
      auto& each = all_[ready[i].data.u64];
      char part[65'536];
      auto n = ::recv(each.fd, part, sizeof part, 0);
      if (n <= 0)
        throw std::runtime_error{"the server closed a connection under load"};
      each.got.append(part, static_cast<std::size_t>(n));
      if (each.wanted == 0)
        if (auto end = each.got.find("\r\n\r\n"); end != std::string::npos) {
          auto length = each.got.find("Content-Length: ");
          each.wanted = end + 4 + (length < end ? std::stoul(each.got.substr(length + 16)) : 0);
        }
      if (each.wanted == 0 || each.got.size() < each.wanted)
        continue;
      out.answers.add(clock::now() - each.since);
      ++(each.got.compare(9, 3, "200") == 0 ? out.good : out.bad);
      --busy_;
      freed(each);
    }
  }

  load_result close(load_result& out, clock::time_point begin) {
    out.seconds = std::chrono::duration<double>(clock::now() - begin).count();
    out.rate = static_cast<double>(out.good) / out.seconds;
    return std::move(out);
  }

  next_request next_;
  int epoll_;
  std::vector<connection> all_;
  std::size_t busy_ = 0;
};

} // namespace bench
