#include "services/ingest/meter.hpp"

#include "common/log/log.hpp"

#include <atomic>

namespace troupe::ingest {

meter::meter(std::shared_ptr<event_log> log, std::shared_ptr<lake> into, std::shared_ptr<worker_pool> slow,
             metrics::registry& to, health::report report)
    : log_{std::move(log)}, lake_{std::move(into)}, slow_{std::move(slow)}, report_{std::move(report)} {
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
  queued_ =
      to.gauge("troupe_ingest_queued_bytes", "Bytes of records that wait for a commit: the lag of the log.");
  unsealed_ = to.gauge("troupe_ingest_unsealed_records", "Records that are not yet in the lake.");
  age_ = to.gauge("troupe_ingest_age_seconds", "Time since the log has grown.");
  auto now = log_->state();
  last_records_ = now.total.events + now.total.users + now.total.items;
  thread_ = std::thread{[this] { run(); }};
}

meter::~meter() {
  {
    std::lock_guard lock{mutex_};
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void meter::run() {
  std::unique_lock lock{mutex_};
  while (!stop_) {
    look();
    seal_if_due();
    wake_.wait_for(lock, std::chrono::seconds{1}, [this] { return stop_; });
  }
}

void meter::look() {
  auto state = log_->state();
  auto now = std::chrono::steady_clock::now();
  auto& t = state.total;
  auto records = t.events + t.users + t.items;
  auto seconds = std::max(std::chrono::duration<double>(now - last_look_).count(), 1e-3);
  auto rate = static_cast<double>(records - last_records_) / seconds;
  if (records != last_records_)
    last_growth_ = now;
  last_records_ = records;
  last_look_ = now;
  std::uint64_t unsealed = 0;
  for (auto& each : state.partitions)
    unsealed += each.next - each.sealed;
  auto queued = static_cast<double>(log_->queued_bytes());
  auto age = std::chrono::duration<double>(now - last_growth_).count();
  events_.advance_to(static_cast<double>(t.events));
  users_.advance_to(static_cast<double>(t.users));
  items_.advance_to(static_cast<double>(t.items));
  duplicates_.advance_to(static_cast<double>(t.duplicates));
  quarantined_.advance_to(static_cast<double>(state.quarantine_next - 1));
  late_.advance_to(static_cast<double>(t.late));
  queued_.set(queued);
  unsealed_.set(static_cast<double>(unsealed));
  age_.set(age);
  report_.gauge("events", static_cast<double>(t.events));
  report_.gauge("records_per_second", rate);
  report_.gauge("quarantined", static_cast<double>(state.quarantine_next - 1));
  report_.gauge("lag_bytes", queued);
  report_.gauge("age_seconds", age);
}

void meter::seal_if_due() {
  if (!lake_->due() || sealing_->exchange(true))
    return;
  slow_->post([into = lake_, sealing = sealing_, report = report_] {
    if (auto sealed = into->seal(false); !sealed) {
      report.failed(sealed.error());
      log::warn("lake-behind", "ingest cannot seal a segment: {}", render(sealed.error()));
    }
    sealing->store(false);
  });
}

} // namespace troupe::ingest
