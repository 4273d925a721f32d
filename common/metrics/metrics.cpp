#include "common/metrics/metrics.hpp"

#include "common/core/resource_limits.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <mutex>

namespace troupe::metrics {

void counter::add(double amount) noexcept {
  if (impl_ && amount > 0)
    impl_->Increment(amount);
}

double counter::value() const noexcept {
  return impl_ ? impl_->Value() : 0;
}

void gauge::set(double value) noexcept {
  if (impl_)
    impl_->Set(value);
}

void gauge::add(double amount) noexcept {
  if (impl_)
    impl_->Increment(amount);
}

double gauge::value() const noexcept {
  return impl_ ? impl_->Value() : 0;
}

void histogram::observe(double value) {
  if (impl_)
    impl_->Observe(value);
}

const std::vector<double>& latency_buckets() {
  static const std::vector<double> buckets{0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                           0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                           0.5,     1,      2.5,     5,      10};
  return buckets;
}

struct registry::state {
  prometheus::Registry impl{prometheus::Registry::InsertBehavior::Merge};
  mutable std::mutex mutex;
  std::vector<std::function<void()>> refresh;
  metrics::gauge resident;
  metrics::gauge peak;
  metrics::gauge descriptors;
  metrics::gauge most_descriptors;
  metrics::counter cpu;

  void read_process() {
    std::size_t pages = 0;
    std::size_t resident_pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages >> resident_pages;
    resident.set(static_cast<double>(resident_pages) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    cpu.advance_to(seconds(usage.ru_utime) + seconds(usage.ru_stime));
    peak.set(static_cast<double>(usage.ru_maxrss) * 1024);
    descriptors.set(static_cast<double>(descriptors_in_use()));
    most_descriptors.set(static_cast<double>(descriptor_limit()));
  }
};

registry::registry() : state_{std::make_unique<state>()} {
  state_->resident = gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.");
  state_->peak = gauge("process_peak_memory_bytes", "The most memory of the process that was ever in RAM.");
  state_->descriptors = gauge("process_open_fds", "File descriptors that the process has.");
  state_->most_descriptors = gauge("process_max_fds", "File descriptors that it may have.");
  state_->cpu = counter("process_cpu_seconds_total", "Processor time used, user and system.");
  gauge("process_start_time_seconds", "Start of the process, seconds since 1970 UTC.")
      .set(static_cast<double>(std::chrono::system_clock::now().time_since_epoch() /
                               std::chrono::milliseconds{1}) /
           1e3);
}

registry::~registry() = default;

metrics::counter registry::counter(const std::string& name, const std::string& help, const labels& by) {
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(state_->impl);
  return metrics::counter{&family.Add(by)};
}

metrics::gauge registry::gauge(const std::string& name, const std::string& help, const labels& by) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(state_->impl);
  return metrics::gauge{&family.Add(by)};
}

metrics::histogram registry::histogram(const std::string& name, const std::string& help, const labels& by,
                                       const std::vector<double>& buckets) {
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(state_->impl);
  return metrics::histogram{&family.Add(by, buckets)};
}

void registry::on_read(std::function<void()> refresh) {
  std::lock_guard lock{state_->mutex};
  state_->refresh.push_back(std::move(refresh));
}

std::string registry::text() const {
  std::vector<std::function<void()>> refresh;
  {
    std::lock_guard lock{state_->mutex};
    refresh = state_->refresh;
  }
  for (auto& each : refresh)
    each();
  state_->read_process();
  return prometheus::TextSerializer{}.Serialize(state_->impl.Collect());
}

} // namespace troupe::metrics
