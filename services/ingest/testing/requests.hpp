#pragma once

#include "services/ingest/wire.hpp"

#include "common/event/record.hpp"
#include "common/net/request.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>

/// Requests without a socket, for tests.
namespace troupe::ingest::testing {

using namespace std::chrono_literals;

inline record event(int number, const std::string& user = "u") {
  record rec;
  rec.id = "e" + std::to_string(number);
  rec.type = "view";
  rec.user = user;
  rec.item = "i";
  rec.event_time = from_micros(1'700'000'000'000'000 + number);
  return rec;
}

/// The answer to a request, when it comes.
class pending {
public:
  net::request request(wire::Kind kind, chunk payload, deadline until = deadline::in(20s)) {
    net::request made;
    made.info.kind = kind;
    made.payload = std::move(payload);
    made.until = until;
    made.respond =
        net::responder::to([told = promise_](expected<chunk> got) { told->set_value(std::move(got)); });
    return made;
  }
  bool answered() { return future_.wait_for(0s) == std::future_status::ready; }
  expected<chunk> wait() {
    REQUIRE(future_.wait_for(20s) == std::future_status::ready);
    return future_.get();
  }
  template <class Table>
  message<Table> read() {
    auto got = wait();
    REQUIRE_MESSAGE(got, got.error().text);
    auto opened = message<Table>::open(*got);
    REQUIRE(opened);
    return *opened;
  }
  ec failure() {
    auto got = wait();
    REQUIRE_FALSE(got);
    return got.error().code;
  }

private:
  std::shared_ptr<std::promise<expected<chunk>>> promise_ = std::make_shared<std::promise<expected<chunk>>>();
  std::future<expected<chunk>> future_ = promise_->get_future();
};

} // namespace troupe::ingest::testing
