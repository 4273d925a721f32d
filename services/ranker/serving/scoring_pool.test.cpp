#include "services/ranker/serving/scoring_pool.hpp"

#include <doctest/doctest.h>

#include <future>
#include <string>

using namespace troupe;
using namespace troupe::ranker;
using namespace std::chrono_literals;

namespace {

/// A pool of one thread that is kept busy until `open`.
struct busy_pool {
  metrics::registry registry;
  scoring_pool pool;
  std::promise<void> started, open;

  explicit busy_pool(std::size_t bound) : pool{1, bound, registry} {
    pool.post(deadline::in(1h), [this](const error*) {
      started.set_value();
      open.get_future().wait();
    });
    started.get_future().wait();
  }
};

} // namespace

TEST_CASE("the job with the earliest deadline runs first, of equal ones the first that came") {
  busy_pool busy{10};
  std::string order;
  std::promise<void> last;
  auto now = deadline::clock::now();
  auto add = [&](char name, deadline::clock::duration span) {
    busy.pool.post(deadline{now + span}, [&, name](const error*) {
      order += name;
      if (order.size() == 4)
        last.set_value();
    });
  };
  add('d', 3h);
  add('b', 2h);
  add('c', 2h);
  add('a', 1h);

  busy.open.set_value();
  last.get_future().wait();

  CHECK(order == "abcd");
}

TEST_CASE("a job that finds the pool full, comes too late or meets the stop runs once, with the reason") {
  busy_pool busy{2};
  std::vector<ec> reasons;
  std::promise<void> late;
  busy.pool.post(deadline{deadline::clock::time_point{}}, [&](const error* refused) {
    reasons.push_back(refused ? refused->code : ec{});
    late.set_value();
  });
  busy.pool.post(deadline::in(1h), [](const error*) {});

  ec full{};
  busy.pool.post(deadline::in(1h), [&](const error* refused) { full = refused ? refused->code : ec{}; });
  CHECK(full == ec::overloaded);
  busy.open.set_value();
  late.get_future().wait();
  CHECK(reasons == std::vector<ec>{ec::too_late});

  busy.pool.stop();
  ec after{};
  busy.pool.post(deadline::in(1h), [&](const error* refused) { after = refused ? refused->code : ec{}; });
  CHECK(after == ec::stopping);
}

TEST_CASE("what waits when the pool stops is refused") {
  busy_pool busy{2};
  std::promise<ec> waiting;
  busy.pool.post(deadline::in(1h), [&](const error* refused) {
    waiting.set_value(refused ? refused->code : ec{});
    busy.open.set_value();
  });

  busy.pool.stop();

  CHECK(waiting.get_future().get() == ec::stopping);
}
