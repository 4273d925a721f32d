#include "services/ingest/log_metrics.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <optional>
#include <type_traits>

namespace troupe::ingest {

namespace {

using namespace std::chrono_literals;

class log_metrics_state {
public:
  using pointer = log_metrics_actor::pointer;
  explicit log_metrics_state(pointer self) : self_{self}, tick_{self, 1s} {}

  log_metrics_actor::behavior_type make_behavior(log_metrics_deps deps) {
    deps_ = std::move(deps);
    auto& to = *deps_.registry;
    auto records = [&to](const char* kind) {
      return to.counter("troupe_ingest_records_total", "Records in the log, by kind.", {{"kind", kind}});
    };
    events_ = records("event");
    users_ = records("user");
    items_ = records("item");
    duplicates_ =
        to.counter("troupe_ingest_duplicate_records_total", "Records that came again and added nothing.");
    quarantined_ = to.counter("troupe_ingest_quarantined_rows_total", "Rows that went to quarantine.");
    late_ = to.counter("troupe_ingest_late_events_total",
                       "Events that were older than the watermark of their partition.");
    queued_ = to.gauge("troupe_ingest_queued_bytes", "Bytes of records that wait for a commit.");
    unsealed_ = to.gauge("troupe_ingest_unsealed_records", "Records that are not yet in the lake.");
    append_age_ = to.gauge("troupe_ingest_last_append_age_seconds",
                           "Time since the log has grown, or since the start.");
    last_records_ = records_of(deps_.log->state());
    last_look_ = last_growth_ = now();
    look();
    tick_.start();
    return {tick_.handler([this] { look(); })};
  }

  static constexpr const char* name = "log_metrics";

private:
  deadline::clock::time_point now() { return self_->system().clock().now(); }

  static std::uint64_t records_of(const log_state& state) {
    return state.total.events + state.total.users + state.total.items;
  }

  void look() {
    auto state = deps_.log->state();
    auto at = now();
    auto& total = state.total;
    auto records = records_of(state);
    auto seconds = std::max(std::chrono::duration<double>(at - last_look_).count(), 1e-3);
    auto rate = static_cast<double>(records - last_records_) / seconds;
    if (records != last_records_)
      last_growth_ = at;
    last_records_ = records;
    last_look_ = at;
    std::uint64_t unsealed = 0;
    for (auto& each : state.partitions)
      unsealed += each.next - each.sealed;
    auto queued = static_cast<double>(deps_.log->queued_bytes());
    auto age = std::chrono::duration<double>(at - last_growth_).count();
    events_.advance_to(static_cast<double>(total.events));
    users_.advance_to(static_cast<double>(total.users));
    items_.advance_to(static_cast<double>(total.items));
    duplicates_.advance_to(static_cast<double>(total.duplicates));
    quarantined_.advance_to(static_cast<double>(state.quarantine_next - 1));
    late_.advance_to(static_cast<double>(total.late));
    queued_.set(queued);
    unsealed_.set(static_cast<double>(unsealed));
    append_age_.set(age);
    deps_.report.gauge("events", static_cast<double>(total.events));
    deps_.report.gauge("records_per_second", rate);
    deps_.report.gauge("quarantined", static_cast<double>(state.quarantine_next - 1));
    deps_.report.gauge("queued_bytes", queued);
    deps_.report.gauge("last_append_age_seconds", age);
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  log_metrics_deps deps_;
  metrics::counter events_, users_, items_, duplicates_, quarantined_, late_;
  metrics::gauge queued_, unsealed_, append_age_;
  std::uint64_t last_records_ = 0;
  deadline::clock::time_point last_look_, last_growth_;
};

} // namespace

log_metrics_actor spawn_log_metrics(caf::actor_system& system, log_metrics_deps deps) {
  return system.spawn(
      [](log_metrics_actor::stateful_pointer<log_metrics_state> self, log_metrics_deps dependencies) {
        return self->state.make_behavior(std::move(dependencies));
      },
      std::move(deps));
}

} // namespace troupe::ingest
