#include "services/validator/actors.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace troupe::validator {

namespace {

class validator_state {
public:
  explicit validator_state(validator_actor::stateful_pointer<validator_state> self) : self_{self} {}

  validator_actor::behavior_type make_behavior(std::unique_ptr<engine> with) {
    engine_ = std::move(with);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    return {[this](net::request_atom, net::request_ptr& req) { answer(*req); },
            [this](finish_atom) { finish(); }};
  }

  const char* name = "validator";

private:
  void answer(net::request& req) {
    if (stopping_) {
      engine_->counts().dropped_stopping.add();
      req.respond.fail({ec::stopping, "the validator is stopping; nothing was judged"});
    } else if (req.until.passed()) {
      engine_->counts().dropped_late.add();
      req.respond.fail({ec::too_late, "the deadline passed while the request waited; nothing was judged"});
    } else {
      auto result = engine_->answer(req.info.kind, req.payload);
      if (!result && result.error().code == ec::corrupt)
        engine_->counts().dropped_bad.add();
      req.respond.finish(std::move(result));
    }
  }

  // What came before the message to ourselves is still answered, so that every request has its answer.
  void begin_stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = reason == caf::exit_reason::user_shutdown ? caf::error{} : std::move(reason);
    self_->send(self_, finish_atom::value);
  }

  void finish() {
    engine_.reset(); // Writes the profiles.
    self_->quit(reason_);
  }

  validator_actor::stateful_pointer<validator_state> self_;
  std::unique_ptr<engine> engine_;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

validator_actor spawn_validator(caf::actor_system& system, std::unique_ptr<engine> with) {
  auto behaviour = [](validator_actor::stateful_pointer<validator_state> self,
                      std::shared_ptr<std::unique_ptr<engine>> from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<std::unique_ptr<engine>>(std::move(with)));
}

} // namespace troupe::validator
