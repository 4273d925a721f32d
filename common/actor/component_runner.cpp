#include "common/actor/component_runner.hpp"

#include "common/log/log.hpp"

#include <caf/after.hpp>
#include <caf/atom.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <caf/system_messages.hpp>

#include <algorithm>

namespace troupe {

namespace {

using wake_atom = caf::atom_constant<caf::atom("wake")>;
using std::chrono::milliseconds;

caf::duration as_caf(deadline::clock::duration span) {
  return caf::duration{std::chrono::duration_cast<milliseconds>(span) + milliseconds{1}};
}

} // namespace

expected<void> component_runner::start(const component_list& components,
                                       const std::function<bool()>& give_up) {
  TROUPE_TRY(items, components.in_start_order());
  std::vector<health::report> reports;
  for (const auto& item : items)
    reports.push_back(health::add(context_.health(), item.name));
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (give_up())
      return {};
    const auto& item = items[i];
    context_.begin(reports[i]);
    auto part = item.spawn(context_);
    if (!part)
      return with_context(fmt::format("component {} did not start", item.name), std::move(part).error());
    caf::actor_addr address;
    if (part->handle) {
      address = part->handle.address();
      self_->monitor(part->handle);
    }
    bool actorless = !part->handle;
    started_.push_back({item.name, std::move(*part), reports[i], address, actorless});
    context_.health()->started(reports[i]);
    log::debug("component-started", "component {} started", item.name);
  }
  return {};
}

void component_runner::ended(const caf::actor_addr& address) {
  for (auto& item : started_)
    if (item.address == address)
      item.ended = true;
}

std::optional<error> component_runner::wait(milliseconds at_most) {
  std::optional<error> dead;
  self_->receive(
      [&](const caf::down_msg& down) {
        ended(down.source);
        auto found = std::ranges::find(started_, down.source, &running::address);
        if (found != started_.end())
          dead = error{ec::internal,
                       fmt::format("component {} died: {}", found->name, caf::to_string(down.reason))};
      },
      [](wake_atom) {}, caf::after(at_most) >> [] {});
  return dead;
}

std::function<void()> component_runner::waker() {
  return [address = self_->address()] {
    if (auto self = caf::actor_cast<caf::actor>(address))
      caf::anon_send(self, wake_atom::value);
  };
}

bool component_runner::stop_one(running& item, deadline by) {
  auto wait_until = [&](deadline limit) {
    while (!item.ended && !limit.passed()) {
      bool quiet = false;
      self_->receive(
          [&](const caf::down_msg& down) { ended(down.source); }, [](wake_atom) {},
          caf::after(as_caf(std::min<deadline::clock::duration>(limit.left(), std::chrono::seconds{1}))) >>
              [&] { quiet = true; });
      if (quiet && !item.ended && !limit.passed())
        log::info("stop-waits", "the service waits for component {} to end", item.name);
    }
    return item.ended;
  };
  bool clean = true;
  if (!item.ended) {
    caf::anon_send_exit(item.part.handle, caf::exit_reason::user_shutdown);
    if (!wait_until(by)) {
      clean = false;
      log::error("stop-kills", "component {} did not end within the drain budget and is killed", item.name);
      caf::anon_send_exit(item.part.handle, caf::exit_reason::kill);
      wait_until(deadline::in(std::chrono::seconds{1}));
    }
  }
  item.part.handle = nullptr;
  if (item.part.stop) {
    item.part.stop(by);
    item.part.stop = nullptr;
  }
  context_.health()->stopped(item.report);
  log::debug("component-stopped", "component {} stopped", item.name);
  return clean && item.ended;
}

bool component_runner::stop(deadline by) {
  bool clean = true;
  while (!started_.empty()) {
    clean = stop_one(started_.back(), by) && clean;
    started_.pop_back();
  }
  return clean;
}

} // namespace troupe
