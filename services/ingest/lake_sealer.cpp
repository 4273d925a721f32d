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

/// Records, so that a seal or a replay need not wait for long behind an import of very many.
constexpr std::size_t packed_at_once = 500'000;

/// Each gives room back to the disk, which costs something.
constexpr std::chrono::minutes trim_every{1};

class lake_sealer_state {
public:
  using pointer = lake_sealer_actor::pointer;
  explicit lake_sealer_state(pointer self) : self_{self}, tick_{self, 1s} {}

  lake_sealer_actor::behavior_type make_behavior(lake_sealer_deps deps) {
    deps_ = std::move(deps);
    last_trim_ = self_->system().clock().now();
    tick_.start();
    return {tick_.handler([this] { look(); }),
            [this](sealed_atom, const sealed_ptr& result) { on_sealed(*result); }};
  }

  static constexpr const char* name = "lake_sealer";

private:
  void look() {
    auto trim = self_->system().clock().now() - last_trim_ >= trim_every;
    if (!trim && !deps_.into->due() && !deps_.log->pack_due())
      return;
    auto posted = deps_.slow->post([with = deps_, trim, self = lake_sealer_actor{self_}] {
      caf::anon_send(self, sealed_atom::value,
                     sealed_ptr{std::make_shared<const expected<void>>(work(with, trim))});
    });
    if (!posted)
      return deps_.report.failed(posted.error());
    tick_.stop(); // One at a time.
    trimmed_ = trim;
    if (trim)
      last_trim_ = self_->system().clock().now();
  }

  static expected<void> work(const lake_sealer_deps& with, bool trim) {
    // None of these waits for another to succeed: first comes what makes room.
    expected<void> all;
    auto note = [&](const auto& result) {
      if (!result && all)
        all = unexpected{result.error()};
    };
    if (trim) {
      note(with.into->trim(wall_now() - with.keep_log));
      note(with.log->quarantine().expire(wall_now() - with.keep_quarantine));
    }
    note(with.log->pack(packed_at_once));
    note(with.into->seal(false));
    return all;
  }

  void on_sealed(const expected<void>& result) {
    if (!result) {
      deps_.report.failed(result.error());
      deps_.report.degraded("the log cannot be packed, sealed and trimmed: " + result.error().text);
      log::warn("lake-behind", "ingest cannot pack, seal and trim its log: {}", render(result.error()));
      failing_ = true;
      trim_failed_ = trim_failed_ || trimmed_;
    } else if (failing_ && (trimmed_ || !trim_failed_)) { // What failed was tried again.
      deps_.report.ready();
      failing_ = trim_failed_ = false;
    }
    tick_.start();
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  lake_sealer_deps deps_;
  deadline::clock::time_point last_trim_;
  bool trimmed_ = false; ///< The work that was given to the pool last.
  bool failing_ = false;
  bool trim_failed_ = false; ///< Then only another trim shows that all is well.
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
