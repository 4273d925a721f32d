#include "services/ranker/serving/scoring_pool.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

using namespace troupe;
using namespace troupe::ranker;
using namespace std::chrono_literals;

namespace {

/// Work that tells how it ended: with null, or with the reason why it was refused.
class told_work final : public scoring_work {
public:
  using told = std::function<void(const error* refused)>;
  explicit told_work(told then, const void* kind = nullptr) : then_{std::move(then)}, kind_{kind} {}

  void run(std::span<const scoring_work_ptr> others) override {
    then_(nullptr);
    for (auto& each : others)
      static_cast<told_work&>(*each).then_(nullptr);
  }
  void refuse(error why) override { then_(&why); }
  const void* kind() const noexcept override { return kind_; }

private:
  told then_;
  const void* kind_;
};

scoring_work_ptr work(told_work::told then, const void* kind = nullptr) {
  return std::make_shared<told_work>(std::move(then), kind);
}

/// Notes how many were done with it.
class counted final : public scoring_work {
public:
  counted(std::vector<std::size_t>& calls, const void* kind, std::promise<void>* last)
      : calls_{calls}, kind_{kind}, last_{last} {}
  void run(std::span<const scoring_work_ptr> others) override {
    calls_.push_back(others.size() + 1);
    end();
  }
  void refuse(error) override { end(); }
  const void* kind() const noexcept override { return kind_; }

private:
  void end() {
    if (last_)
      last_->set_value();
  }

  std::vector<std::size_t>& calls_;
  const void* kind_;
  std::promise<void>* last_;
};

/// A pool of one thread that is kept busy until `open`.
struct busy_pool {
  metrics::registry registry;
  scoring_pool pool;
  std::promise<void> started, open;

  explicit busy_pool(std::size_t bound) : pool{1, bound, 3, registry} {
    pool.post(deadline::in(1h), work([this](const error*) {
                started.set_value();
                open.get_future().wait();
              }));
    started.get_future().wait();
  }
};

} // namespace

TEST_CASE("the work with the earliest deadline is done first, of equal ones the first that came") {
  busy_pool busy{10};
  std::string order;
  std::promise<void> last;
  auto now = deadline::clock::now();
  auto add = [&](char name, deadline::clock::duration span) {
    busy.pool.post(deadline{now + span}, work([&, name](const error*) {
                     order += name;
                     if (order.size() == 4)
                       last.set_value();
                   }));
  };
  add('d', 3h);
  add('b', 2h);
  add('c', 2h);
  add('a', 1h);

  busy.open.set_value();
  last.get_future().wait();

  CHECK(order == "abcd");
}

TEST_CASE("work of one kind that waits is done together, up to so many, the earliest deadlines first") {
  busy_pool busy{10};
  std::vector<std::size_t> calls;
  std::promise<void> last;
  int one = 0, other = 0;
  auto add = [&](const void* kind, deadline::clock::duration span, bool is_last = false) {
    busy.pool.post(deadline::in(span), std::make_shared<counted>(calls, kind, is_last ? &last : nullptr));
  };
  add(&one, 1h);
  add(&other, 2h);
  add(nullptr, 3h);
  for (int i = 0; i < 3; ++i)
    add(&one, 4h);
  add(nullptr, 5h, true);

  busy.open.set_value();
  last.get_future().wait();

  // Three of the first kind, the other one, one alone, the fourth of the first kind, the last.
  CHECK(calls == std::vector<std::size_t>{3, 1, 1, 1, 1});
}

TEST_CASE("work whose deadline is near takes no other with it") {
  busy_pool busy{10};
  std::vector<std::size_t> calls;
  std::promise<void> last;
  int kind = 0;
  // All that the pool has to go by is the work under way, which takes a second: two would take two.
  for (int i = 0; i < 3; ++i)
    busy.pool.post(deadline::in(5s), std::make_shared<counted>(calls, &kind, i == 2 ? &last : nullptr));
  std::this_thread::sleep_for(1s);

  busy.open.set_value();
  last.get_future().wait();

  CHECK(calls == std::vector<std::size_t>{1, 1, 1});
}

TEST_CASE("work that finds the pool full, comes too late or meets the stop ends once, with the reason") {
  busy_pool busy{2};
  std::vector<ec> reasons;
  std::promise<void> late;
  busy.pool.post(deadline{deadline::clock::time_point{}}, work([&](const error* refused) {
                   reasons.push_back(refused ? refused->code : ec{});
                   late.set_value();
                 }));
  busy.pool.post(deadline::in(1h), work([](const error*) {}));

  ec full{};
  busy.pool.post(deadline::in(1h),
                 work([&](const error* refused) { full = refused ? refused->code : ec{}; }));
  CHECK(full == ec::overloaded);
  busy.open.set_value();
  late.get_future().wait();
  CHECK(reasons == std::vector<ec>{ec::too_late});

  busy.pool.stop();
  ec after{};
  busy.pool.post(deadline::in(1h),
                 work([&](const error* refused) { after = refused ? refused->code : ec{}; }));
  CHECK(after == ec::stopping);
}

TEST_CASE("what waits when the pool stops is refused") {
  busy_pool busy{2};
  std::promise<ec> waiting;
  busy.pool.post(deadline::in(1h), work([&](const error* refused) {
                   waiting.set_value(refused ? refused->code : ec{});
                   busy.open.set_value();
                 }));

  busy.pool.stop();

  CHECK(waiting.get_future().get() == ec::stopping);
}
