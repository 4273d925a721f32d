#include "common/actor/health.hpp"

#include "common/http/problem.hpp"

#include "schemas/status_generated.h"

#include <algorithm>

namespace troupe {

namespace {

std::string_view name_of(health::condition is) {
  switch (is) {
  case health::condition::starting:
    return "starting";
  case health::condition::ready:
    return "ready";
  case health::condition::degraded:
    return "degraded";
  case health::condition::not_ready:
    return "not_ready";
  case health::condition::stopped:
    return "stopped";
  }
  return "unknown";
}

} // namespace

health::health(std::string service, std::uint32_t replica)
    : service_{std::move(service)}, replica_{replica}, since_{std::chrono::steady_clock::now()} {}

std::shared_ptr<health> health::make(std::string service, std::uint32_t replica) {
  return std::shared_ptr<health>{new health{std::move(service), replica}};
}

health::report health::add(const std::shared_ptr<health>& self, std::string name) {
  std::lock_guard lock{self->mutex_};
  self->components_.push_back({std::move(name), condition::starting, {}});
  return {self, self->components_.size() - 1};
}

void health::report::set(condition now, std::string why) const {
  if (!owner_)
    return;
  std::lock_guard lock{owner_->mutex_};
  auto& component = owner_->components_[index_];
  if (component.is == condition::stopped)
    return;
  component.is = now;
  component.why = std::move(why);
}

void health::report::ready() const {
  set(condition::ready, {});
}

void health::report::not_ready(std::string why) const {
  set(condition::not_ready, std::move(why));
}

void health::report::degraded(std::string why) const {
  set(condition::degraded, std::move(why));
}

void health::report::failed(const error& err) const {
  if (!owner_)
    return;
  std::lock_guard lock{owner_->mutex_};
  owner_->last_error_ = render(err);
  owner_->last_error_at_ = wall_now();
}

void health::report::gauge(std::string_view name, double value) const {
  if (!owner_)
    return;
  std::lock_guard lock{owner_->mutex_};
  auto found = owner_->gauges_.find(name);
  if (found == owner_->gauges_.end())
    owner_->gauges_.emplace(name, value);
  else
    found->second = value;
}

void health::started(const report& component) {
  std::lock_guard lock{mutex_};
  auto& entry = components_[component.index_];
  if (entry.is == condition::starting)
    entry.is = condition::ready;
}

void health::stopped(const report& component) {
  std::lock_guard lock{mutex_};
  components_[component.index_].is = condition::stopped;
}

void health::set_phase(phase now) {
  std::lock_guard lock{mutex_};
  phase_ = now;
}

health::summary health::read() const {
  std::lock_guard lock{mutex_};
  auto all = [&](auto allowed) { return std::ranges::all_of(components_, allowed, &component::is); };
  summary out;
  out.service = service_;
  out.replica = replica_;
  out.ready = phase_ == phase::running &&
              all([](condition is) { return is == condition::ready || is == condition::degraded; });
  if (phase_ == phase::starting)
    out.state = "starting";
  else if (phase_ == phase::draining)
    out.state = "draining";
  else if (!out.ready)
    out.state = "not_ready";
  else
    out.state = all([](condition is) { return is == condition::ready; }) ? "ready" : "degraded";
  out.last_error = last_error_;
  out.last_error_at = last_error_at_;
  out.uptime =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - since_);
  out.gauges.assign(gauges_.begin(), gauges_.end());
  out.components = components_;
  return out;
}

std::string health::summary::why() const {
  std::string out;
  for (const auto& part : components)
    if (!part.why.empty())
      out += fmt::format("{}{}: {}", out.empty() ? "" : "; ", part.name, part.why);
  return out;
}

chunk health::status_reply() const {
  auto now = read();
  flatbuffers::FlatBufferBuilder builder{512};
  std::vector<flatbuffers::Offset<wire::Gauge>> gauges;
  for (const auto& [name, value] : now.gauges)
    gauges.push_back(wire::CreateGaugeDirect(builder, name.c_str(), value));
  // What keeps it from being ready matters more than what went wrong before.
  auto why = now.why();
  auto error = why.empty() ? now.last_error : why;
  auto reply = wire::CreateStatusReplyDirect(builder, now.service.c_str(), now.replica, now.ready,
                                             now.state.c_str(), error.c_str(), micros_of(now.last_error_at),
                                             static_cast<std::uint64_t>(now.uptime.count()), &gauges);
  builder.Finish(reply, "TRPS");
  return chunk::copy({reinterpret_cast<const std::byte*>(builder.GetBufferPointer()), builder.GetSize()});
}

std::string health::json() const {
  using http::json_quoted;
  auto now = read();
  std::string out =
      fmt::format(R"({{"service":{},"replica":{},"ready":{},"state":{},"uptime_s":{},"last_error":{})",
                  json_quoted(now.service), now.replica, now.ready, json_quoted(now.state),
                  now.uptime.count() / 1'000'000, json_quoted(now.last_error));
  out += R"(,"components":[)";
  for (std::size_t i = 0; i < now.components.size(); ++i) {
    const auto& part = now.components[i];
    out += fmt::format(R"({}{{"name":{},"state":{},"why":{}}})", i == 0 ? "" : ",", json_quoted(part.name),
                       json_quoted(name_of(part.is)), json_quoted(part.why));
  }
  return out + "]}\n";
}

} // namespace troupe
