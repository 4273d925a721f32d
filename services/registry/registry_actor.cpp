#include "services/registry/actors.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace troupe::registry {

namespace {

class registry_state {
public:
  explicit registry_state(registry_actor::stateful_pointer<registry_state> self) : self_{self} {}

  registry_actor::behavior_type make_behavior(std::unique_ptr<service> with) {
    service_ = std::move(with);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    return {[this](net::request_atom, net::request_ptr& req) { answer(*req); },
            [this](finish_atom) {
              service_.reset();
              self_->quit(reason_);
            }};
  }

  const char* name = "registry";

private:
  void answer(net::request& req) {
    if (stopping_)
      req.respond.fail({ec::stopping, "the registry is stopping; nothing was done"});
    else if (req.until.passed())
      req.respond.fail({ec::too_late, "the deadline passed while the request waited; nothing was done"});
    else
      req.respond.finish(service_->answer(req.info.kind, req.payload));
  }

  // What came before the message to ourselves is still answered, so that every request has its answer.
  void begin_stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = reason == caf::exit_reason::user_shutdown ? caf::error{} : std::move(reason);
    self_->send(self_, finish_atom::value);
  }

  registry_actor::stateful_pointer<registry_state> self_;
  std::unique_ptr<service> service_;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

registry_actor spawn_registry(caf::actor_system& system, std::unique_ptr<service> with, bool detached) {
  auto behaviour = [](registry_actor::stateful_pointer<registry_state> self,
                      std::shared_ptr<std::unique_ptr<service>> from) {
    return self->state.make_behavior(std::move(*from));
  };
  auto shared = std::make_shared<std::unique_ptr<service>>(std::move(with));
  return detached ? system.spawn<caf::detached>(behaviour, shared) : system.spawn(behaviour, shared);
}

} // namespace troupe::registry
