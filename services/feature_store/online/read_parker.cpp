#include "services/feature_store/online/read_parker.hpp"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::feature_store {

namespace {

class read_parker_state {
public:
  using pointer = read_parker_actor::stateful_pointer<read_parker_state>;
  explicit read_parker_state(pointer self) : self_{self} {}

  read_parker_actor::behavior_type make_behavior(read_parker_deps deps) {
    deps_ = std::move(deps);
    self_->set_exit_handler([this](caf::exit_msg& message) {
      drain();
      self_->quit(std::move(message.reason));
    });
    return {[this](park_atom, const net::request_ptr& asked) { park(asked); },
            [this](advance_atom) { advance(); }, [this](expire_atom) { expire(); },
            [this](drain_atom) { drain(); }};
  }

  const char* name = "read_parker";

private:
  deadline::clock::time_point now() const { return self_->home_system().clock().now(); }

  void refuse(net::request& asked, error why) {
    deps_.metrics->read_failures.add();
    asked.respond.fail(std::move(why));
  }

  void park(const net::request_ptr& asked) {
    if (deps_.reached(*asked))
      return deps_.serve(asked);
    if (draining_)
      return refuse(*asked, {ec::stopping, "the feature store is draining"});
    if (asked->until.passed(now()))
      return refuse(*asked, {ec::too_late, "the offsets that the read names were not applied in time"});
    if (parked_.size() >= deps_.bound)
      return refuse(*asked, {ec::overloaded, fmt::format("{} reads wait for offsets already", deps_.bound)});
    parked_.push_back(asked);
    deps_.metrics->parked.set(static_cast<double>(parked_.size()));
    wake_at(asked->until.at());
  }

  /// One timer counts, for the earliest deadline; one that was set for a later one is ignored when it comes.
  void wake_at(deadline::clock::time_point at) {
    if (at == deadline::clock::time_point::max() || (wake_ && *wake_ <= at))
      return;
    wake_ = at;
    self_->delayed_send(self_, std::max<deadline::clock::duration>(at - now(), {}), expire_atom::value);
  }

  void advance() {
    auto reached =
        std::partition(parked_.begin(), parked_.end(), [&](auto& each) { return !deps_.reached(*each); });
    std::vector<net::request_ptr> ready{reached, parked_.end()};
    parked_.erase(reached, parked_.end());
    deps_.metrics->parked.set(static_cast<double>(parked_.size()));
    for (auto& each : ready)
      deps_.serve(each);
  }

  void expire() {
    auto at = now();
    if (!wake_ || at < *wake_)
      return;
    wake_.reset();
    auto late =
        std::partition(parked_.begin(), parked_.end(), [at](auto& each) { return !each->until.passed(at); });
    for (auto each = late; each != parked_.end(); ++each)
      refuse(**each, {ec::too_late, "the offsets that the read names were not applied in time"});
    parked_.erase(late, parked_.end());
    deps_.metrics->parked.set(static_cast<double>(parked_.size()));
    auto next = std::ranges::min_element(parked_, {}, [](auto& each) { return each->until.at(); });
    if (next != parked_.end())
      wake_at((*next)->until.at());
  }

  void drain() {
    draining_ = true;
    for (auto& each : std::exchange(parked_, {}))
      refuse(*each, {ec::stopping, "the feature store is draining"});
    deps_.metrics->parked.set(0);
  }

  pointer self_;
  read_parker_deps deps_;
  std::vector<net::request_ptr> parked_;
  std::optional<deadline::clock::time_point> wake_; ///< When the timer that counts comes.
  bool draining_ = false;
};

} // namespace

read_parker_actor spawn_read_parker(caf::actor_system& system, read_parker_deps deps) {
  auto behaviour = [](read_parker_state::pointer self, const std::shared_ptr<read_parker_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<read_parker_deps>(std::move(deps)));
}

} // namespace troupe::feature_store
