#include "services/gateway/actors/periodic_task.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace troupe::gateway {

namespace {

class periodic_task_state {
public:
  using pointer = periodic_task_actor::stateful_pointer<periodic_task_state>;
  explicit periodic_task_state(pointer self) : self_{self}, tick_{self, std::chrono::seconds{1}} {}

  periodic_task_actor::behavior_type make_behavior(post_function post, std::chrono::milliseconds every,
                                                   std::function<void()> task) {
    post_ = std::move(post);
    every_ = every;
    task_ = std::make_shared<const std::function<void()>>(std::move(task));
    tick_.start(every_);
    return {tick_.handler([this] { work(); }), [this](done_atom) { tick_.start(every_); }};
  }

  const char* name = "periodic_task";

private:
  void work() {
    tick_.stop();
    auto posted = post_([task = task_, self = periodic_task_actor{self_}] {
      (*task)();
      caf::anon_send(self, done_atom::value);
    });
    if (!posted)
      tick_.start(every_); // Too much to do: its time comes again.
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  post_function post_;
  std::chrono::milliseconds every_{};
  std::shared_ptr<const std::function<void()>> task_;
};

} // namespace

periodic_task_actor spawn_periodic_task(caf::actor_system& system, post_function post,
                                        std::chrono::milliseconds every, std::function<void()> task) {
  auto behaviour = [](periodic_task_state::pointer self, const post_function& in,
                      std::chrono::milliseconds pause, const std::function<void()>& what) {
    return self->state.make_behavior(in, pause, what);
  };
  return system.spawn(behaviour, post, every, task);
}

} // namespace troupe::gateway
