#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {

/// How the parts of one service are: what `status`, `/health/ready` and a person read. Any thread.
class health {
public:
  enum class condition : std::uint8_t { starting, ready, degraded, not_ready, stopped };
  enum class phase : std::uint8_t { starting, running, draining };

  /// What a component tells about itself. A copy names the same component; harmless after the service has
  /// stopped.
  class report {
  public:
    report() = default;

    /// A component is ready from the moment its spawn function returns, unless it said otherwise before.
    void ready() const;
    /// Not (or no longer) ready, and why: "recovering 3 of 8 partitions".
    void not_ready(std::string why) const;
    /// Works, but not as it should; the service stays ready.
    void degraded(std::string why) const;
    /// Remembers the last error for `status`. Does not change readiness, does not log.
    void failed(const error& err) const;
    /// A number that a person wants to see first: lag, rows per second, quarantined. Same name: replaced.
    void gauge(std::string_view name, double value) const;

  private:
    friend class health;
    report(std::shared_ptr<health> owner, std::size_t index) : owner_{std::move(owner)}, index_{index} {}
    void set(condition now, std::string why) const;

    std::shared_ptr<health> owner_;
    std::size_t index_ = 0;
  };

  struct component {
    std::string name;
    condition is = condition::starting;
    std::string why;
  };

  struct summary {
    std::string service;
    std::uint32_t replica = 0;
    bool ready = false;
    std::string state; ///< starting, ready, degraded, not_ready, draining.
    std::string last_error;
    timestamp last_error_at{};
    std::chrono::microseconds uptime{};
    std::vector<std::pair<std::string, double>> gauges; ///< In the order of their names.
    std::vector<component> components;

    /// The reasons of all components that gave one: "log: recovering; endpoint: ...".
    std::string why() const;
  };

  static std::shared_ptr<health> make(std::string service, std::uint32_t replica);

  /// Adds a component, `starting`.
  static report add(const std::shared_ptr<health>& self, std::string name);

  /// Marks a component that is still `starting` as ready.
  void started(const report& component);
  /// From now on the component's reports change nothing.
  void stopped(const report& component);
  void set_phase(phase now);

  summary read() const;

  /// The answer to wire::Kind::status: a StatusReply.
  chunk status_reply() const;

  /// The summary as JSON, for `/health/ready`.
  std::string json() const;

private:
  health(std::string service, std::uint32_t replica);

  mutable std::mutex mutex_;
  std::string service_;
  std::uint32_t replica_;
  phase phase_ = phase::starting;
  std::vector<component> components_;
  std::map<std::string, double, std::less<>> gauges_;
  std::string last_error_;
  timestamp last_error_at_{};
  std::chrono::steady_clock::time_point since_;
};

} // namespace troupe
