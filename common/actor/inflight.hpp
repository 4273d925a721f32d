#pragma once

#include "common/actor/errors.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace troupe {

/// The requests an actor has taken and not yet answered, by id, so that each is answered exactly once.
///
/// `Promise` is caf::typed_response_promise<T>, or anything with `reply(value)` and `fail(error)` such as
/// net::responder. Lives in the state of one actor; lambdas carry the id only. Full: `admit` fails with
/// ec::overloaded. Destroyed with requests open it fails them with ec::stopping.
template <class Promise>
class inflight {
public:
  using id = std::uint64_t;
  using clock = deadline::clock;

  explicit inflight(std::size_t bound) : bound_{bound} {}
  inflight(const inflight&) = delete;
  inflight& operator=(const inflight&) = delete;
  ~inflight() { stop({ec::stopping, "the actor ended with this request open"}); }

  /// A place for one more request: overloaded, too_late or stopping before any promise exists. A place that
  /// is admitted must be kept.
  expected<id> admit(deadline until, clock::time_point now = clock::now()) {
    if (stopping_)
      return fail_with(ec::stopping, "no new requests are taken");
    if (until.passed(now))
      return fail_with(ec::too_late, "the deadline has passed already");
    if (open_.size() >= bound_)
      return fail_with(ec::overloaded, fmt::format("{} requests are under way", bound_));
    open_.emplace(next_, entry{std::nullopt, until});
    by_deadline_.insert({until.at(), next_});
    return next_++;
  }

  /// Puts the promise of an admitted request in its place; gives it back for CAF's handlers to return.
  Promise& keep(id which, Promise promise) {
    auto& kept = open_.at(which).promise.emplace(std::move(promise));
    return kept;
  }

  /// Answers, or says too_late when the deadline has passed. False when it was answered before.
  template <class Value>
  bool close(id which, Value&& value, clock::time_point now = clock::now()) {
    auto found = open_.find(which);
    if (found == open_.end())
      return false;
    if (found->second.until.passed(now))
      return fail(which, {ec::too_late, "the work was done after its deadline"});
    auto promise = take(found);
    if (promise) {
      if constexpr (requires { promise->reply(std::forward<Value>(value)); })
        promise->reply(std::forward<Value>(value));
      else
        promise->deliver(std::forward<Value>(value));
    }
    return true;
  }

  /// False when it was answered before.
  bool fail(id which, const error& err) {
    auto found = open_.find(which);
    if (found == open_.end())
      return false;
    auto promise = take(found);
    if (promise)
      deliver(*promise, err);
    return true;
  }

  /// Answers too_late to everything whose deadline has passed. Call it when `next_deadline` comes.
  std::size_t expire(clock::time_point now = clock::now()) {
    std::size_t count = 0;
    for (; !by_deadline_.empty() && by_deadline_.begin()->first <= now; ++count)
      fail(by_deadline_.begin()->second, {ec::too_late, "the deadline passed while the request waited"});
    return count;
  }

  std::optional<clock::time_point> next_deadline() const {
    if (by_deadline_.empty())
      return std::nullopt;
    return by_deadline_.begin()->first;
  }

  /// Admits nothing from now on; what is open may still be closed.
  void refuse_new() noexcept { stopping_ = true; }

  /// Admits nothing from now on and fails everything that is open.
  void stop(const error& err) {
    stopping_ = true;
    while (!open_.empty())
      fail(open_.begin()->first, err);
  }

  std::size_t size() const noexcept { return open_.size(); }
  bool empty() const noexcept { return open_.empty(); }

private:
  struct entry {
    std::optional<Promise> promise;
    deadline until;
  };
  using place = typename std::map<id, entry>::iterator;

  static unexpected<error> fail_with(ec code, std::string text) {
    return unexpected<error>{error{code, std::move(text)}};
  }

  static void deliver(Promise& promise, const error& err) {
    if constexpr (requires { promise.fail(err); })
      promise.fail(err);
    else
      promise.deliver(to_caf(err));
  }

  std::optional<Promise> take(place at) {
    auto promise = std::move(at->second.promise);
    by_deadline_.erase({at->second.until.at(), at->first});
    open_.erase(at);
    return promise;
  }

  std::size_t bound_;
  bool stopping_ = false;
  id next_ = 1;
  std::map<id, entry> open_;
  std::set<std::pair<clock::time_point, id>> by_deadline_;
};

} // namespace troupe
