#include "services/ingest/lake_sealer.hpp"

#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <type_traits>

namespace troupe::ingest {

namespace {

using namespace std::chrono_literals;

class lake_sealer_state {
public:
  using pointer = lake_sealer_actor::pointer;
  explicit lake_sealer_state(pointer self) : self_{self}, tick_{self, 1s} {}

  lake_sealer_actor::behavior_type make_behavior(lake_sealer_deps deps) {
    deps_ = std::move(deps);
    tick_.start();
    return {tick_.handler([this] { look(); }),
            [this](sealed_atom, const sealed_ptr& result) { on_sealed(*result); }};
  }

  static constexpr const char* name = "lake_sealer";

private:
  void look() {
    if (!deps_.into->due())
      return;
    auto posted = deps_.slow->post([into = deps_.into, self = lake_sealer_actor{self_}] {
      caf::anon_send(self, sealed_atom::value,
                     sealed_ptr{std::make_shared<const expected<void>>(into->seal(false))});
    });
    if (posted)
      tick_.stop(); // One seal at a time.
    else
      deps_.report.failed(posted.error());
  }

  void on_sealed(const expected<void>& result) {
    if (!result) {
      deps_.report.failed(result.error());
      deps_.report.degraded("a segment cannot be sealed: " + result.error().text);
      log::warn("lake-behind", "ingest cannot seal a segment: {}", render(result.error()));
    } else if (failing_) {
      deps_.report.ready();
    }
    failing_ = !result;
    tick_.start();
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  lake_sealer_deps deps_;
  bool failing_ = false;
};

} // namespace

lake_sealer_actor spawn_lake_sealer(caf::actor_system& system, lake_sealer_deps deps) {
  return system.spawn(
      [](lake_sealer_actor::stateful_pointer<lake_sealer_state> self, lake_sealer_deps dependencies) {
        return self->state.make_behavior(std::move(dependencies));
      },
      std::move(deps));
}

} // namespace troupe::ingest
