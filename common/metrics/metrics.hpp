#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
} // namespace prometheus

/// Counters, gauges and histograms of this process, by name, as Prometheus reads them.
namespace troupe::metrics {

using labels = std::map<std::string, std::string>;

/// Only grows. A copy names the same counter; one without a registry counts into nothing. Any thread.
class counter {
public:
  counter() = default;
  explicit counter(prometheus::Counter* impl) noexcept : impl_{impl} {}
  void add(double amount = 1) noexcept;
  /// Raises it to a total that somebody else counts; from one thread at a time. A smaller total changes
  /// nothing.
  void advance_to(double total) noexcept { add(total - value()); }
  double value() const noexcept;

private:
  prometheus::Counter* impl_ = nullptr;
};

/// Goes up and down. As `counter` otherwise.
class gauge {
public:
  gauge() = default;
  explicit gauge(prometheus::Gauge* impl) noexcept : impl_{impl} {}
  void set(double value) noexcept;
  void add(double amount) noexcept;
  double value() const noexcept;

private:
  prometheus::Gauge* impl_ = nullptr;
};

/// Counts observations by bucket. As `counter` otherwise; takes a lock, so observe batches, not rows.
class histogram {
public:
  histogram() = default;
  explicit histogram(prometheus::Histogram* impl) noexcept : impl_{impl} {}
  void observe(double value);
  explicit operator bool() const noexcept { return impl_ != nullptr; }

private:
  prometheus::Histogram* impl_ = nullptr;
};

/// 50 us to 10 s, in seconds: what a request may take.
const std::vector<double>& latency_buckets();

/// Owns the metrics of one process. Names are `troupe_<part>_<what>_<unit>`: the part is a service (`ingest`,
/// `feature_store`) or what all have (`service`, `endpoint`, `client`), units are seconds, bytes or what is
/// counted, and counters end in `_total`: `troupe_ingest_records_total`. What differs only by reason is one
/// metric with a label. Asking twice for the same name and labels gives the same metric. Any thread. The
/// handles must not outlive it.
class registry {
public:
  registry();
  ~registry();
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  metrics::counter counter(const std::string& name, const std::string& help, const labels& by = {});
  metrics::gauge gauge(const std::string& name, const std::string& help, const labels& by = {});
  metrics::histogram histogram(const std::string& name, const std::string& help, const labels& by = {},
                               const std::vector<double>& buckets = latency_buckets());

  /// Runs before each `text()`, for gauges that are computed on demand. Must not block.
  void on_read(std::function<void()> refresh);

  /// Every metric in the text format of Prometheus, version 0.0.4; memory, processor time and start of the
  /// process too.
  std::string text() const;

private:
  struct state;
  std::unique_ptr<state> state_;
};

} // namespace troupe::metrics
