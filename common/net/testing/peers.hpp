#pragma once

#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

/// Two ends of a connection, for tests.
namespace troupe::net::testing {

using namespace std::chrono_literals;

/// Keeps requests until the test answers them.
class parking {
public:
  handler take() {
    return [this](request req) {
      std::lock_guard lock{mutex_};
      parked_.push_back(std::move(req));
      arrived_.notify_all();
    };
  }
  request next() {
    std::unique_lock lock{mutex_};
    REQUIRE(arrived_.wait_for(lock, 10s, [this] { return !parked_.empty(); }));
    auto first = std::move(parked_.front());
    parked_.erase(parked_.begin());
    return first;
  }

private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<request> parked_;
};

inline handler echo() {
  return [](request req) { req.respond.reply(std::move(req.payload)); };
}

inline endpoint_options at(std::string address) {
  endpoint_options options;
  options.address = std::move(address);
  options.identity = "echo/0";
  return options;
}

inline std::string ipc(const troupe::testing::temp_dir& dir, const std::string& name = "s") {
  return "ipc://" + (dir / name).string();
}

inline client_options towards(std::vector<std::string> addresses) {
  client_options options;
  options.service = "echo";
  options.addresses = std::move(addresses);
  options.caller = "test";
  return options;
}

struct pending_answer {
  client::done then() {
    return [told = promise](expected<reply> result) { told->set_value(std::move(result)); };
  }
  expected<reply> wait() {
    auto future = promise->get_future();
    REQUIRE(future.wait_for(20s) == std::future_status::ready);
    return future.get();
  }
  std::shared_ptr<std::promise<expected<reply>>> promise = std::make_shared<std::promise<expected<reply>>>();
};

template <class Condition>
bool soon(Condition met) {
  for (auto until = deadline::in(10s); !until.passed(); std::this_thread::yield())
    if (met())
      return true;
  return false;
}

} // namespace troupe::net::testing
