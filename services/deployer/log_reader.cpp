#include "services/ingest/client/log_reader.hpp"

#include "services/deployer/actors.hpp"

#include "common/actor/errors.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <optional>

namespace troupe::deployer {

namespace {

class log_reader_state {
public:
  using pointer = log_reader_actor::stateful_pointer<log_reader_state>;
  explicit log_reader_state(pointer self) : self_{self} {}

  log_reader_actor::behavior_type make_behavior(log_reader_deps deps) {
    deps_ = std::move(deps);
    ingest::log_reader::hooks hooks;
    hooks.call = [this](std::uint64_t tag, wire::Kind kind, chunk payload, deadline until) {
      net::call_for(deps_.log, 0, log_reader_actor{self_}, tag, kind, std::move(payload), until);
    };
    hooks.wait = [this](std::uint64_t tag, std::chrono::milliseconds span) {
      self_->delayed_send(self_, span, again_atom::value, tag);
    };
    hooks.ends = [this](const std::vector<std::uint64_t>& ends) { return on_ends(ends); };
    hooks.records = [this](std::uint64_t, ingest::log_records found) { return on_records(std::move(found)); };
    hooks.failing = [this](const error& why, unsigned in_a_row) { on_failing(why, in_a_row); };
    hooks.recovered = [this] { deps_.report.ready(); };
    reader_.emplace(ingest::log_reader::options{deps_.settings->fetch_bytes, deps_.settings->fetch_wait},
                    std::move(hooks));
    self_->send(self_, begin_atom::value);
    return {[this](begin_atom) { reader_->begin(); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              reader_->on_reply(tag, *result);
            },
            [this](again_atom, std::uint64_t tag) { reader_->on_wait_over(tag); }};
  }

  const char* name = "log_reader";

private:
  static std::uint64_t cursor_of(std::uint32_t partition) { return partition + std::uint64_t{1}; }

  expected<void> on_ends(const std::vector<std::uint64_t>& ends) {
    self_->request(deps_.controller, std::chrono::seconds{10}, offsets_atom::value)
        .then([this, ends](const offsets_ptr& known) { start(ends, *known); },
              [this](const caf::error& err) { reader_->failed(0, from_caf(err)); });
    return {};
  }

  /// A partition that was never read begins at its end: what was before any rollout tells nothing about one.
  void start(const std::vector<std::uint64_t>& ends, const std::map<std::uint32_t, std::uint64_t>& known) {
    for (std::uint32_t partition = 0; partition < ends.size(); ++partition) {
      if (auto found = known.find(partition); found != known.end()) {
        reader_->read(cursor_of(partition), partition, found->second);
        continue;
      }
      auto part = std::make_shared<log_part>();
      part->partition = partition;
      part->end = ends[partition];
      reader_->place(cursor_of(partition), partition, part->end);
      hand_over(std::move(part));
    }
  }

  expected<void> on_records(ingest::log_records found) {
    for (auto& each : found.batches)
      deps_.metrics->records.add(static_cast<double>(each.size()));
    deps_.report.gauge("log_lag", static_cast<double>(found.log_end - found.next));
    auto part = std::make_shared<log_part>();
    part->partition = found.partition;
    part->batches = std::move(found.batches);
    part->end = found.next;
    hand_over(std::move(part));
    return {};
  }

  void hand_over(log_part_ptr part) {
    auto partition = part->partition;
    self_->request(deps_.controller, std::chrono::seconds{30}, records_atom::value, std::move(part))
        .then([this, partition](std::uint64_t next) { reader_->read(cursor_of(partition), partition, next); },
              [this, partition](const caf::error& err) {
                reader_->failed(cursor_of(partition), from_caf(err));
              });
  }

  void on_failing(const error& why, unsigned in_a_row) {
    deps_.metrics->fetch_failures.add();
    if (in_a_row != 3)
      return;
    log::warn("log-away", "log_reader cannot read the event log: {}", render(why));
    deps_.report.degraded("the event log cannot be read, clicks wait: " + why.text);
  }

  pointer self_;
  log_reader_deps deps_;
  std::optional<ingest::log_reader> reader_;
};

} // namespace

log_reader_actor spawn_log_reader(caf::actor_system& system, log_reader_deps deps) {
  auto behaviour = [](log_reader_state::pointer self, const std::shared_ptr<log_reader_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<log_reader_deps>(std::move(deps)));
}

} // namespace troupe::deployer
