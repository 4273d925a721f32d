#include "services/deployer/actors.hpp"

#include "common/actor/errors.hpp"
#include "common/log/log.hpp"

#include "schemas/ingest_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>

namespace troupe::deployer {

namespace {

using namespace std::chrono_literals;

class reader_state {
public:
  using pointer = reader_actor::stateful_pointer<reader_state>;
  explicit reader_state(pointer self) : self_{self} {}

  reader_actor::behavior_type make_behavior(reader_parts parts) {
    parts_ = std::move(parts);
    self_->send(self_, begin_atom::value);
    return {[this](begin_atom) { ask_ends(); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              auto done = !*result   ? expected<void>{unexpected<error>{result->error()}}
                          : tag == 0 ? on_ends((*result)->payload)
                                     : on_records(static_cast<std::uint32_t>(tag - 1), (*result)->payload);
              if (!done)
                later(tag, done.error());
            },
            [this](again_atom, std::uint64_t tag) {
              if (tag == 0)
                ask_ends();
              else
                fetch(static_cast<std::uint32_t>(tag - 1));
            }};
  }

  const char* name = "reader";

private:
  void ask_ends() {
    self_->request(parts_.desk, std::chrono::seconds{10}, offsets_atom::value)
        .then(
            [this](const offsets_ptr& known) {
              next_ = *known;
              flatbuffers::FlatBufferBuilder out;
              out.Finish(wire::CreateLogInfoQuery(out), "TRPI");
              ask_for(parts_.log, 0, reader_actor{self_}, 0, wire::Kind::log_info, bytes_of(out),
                      deadline::in(10s));
            },
            [this](const caf::error& err) { later(0, from_caf(err)); });
  }

  /// A partition that was never read begins at its end: what was before any rollout tells nothing about one.
  expected<void> on_ends(const chunk& payload) {
    TROUPE_TRY(info, read_as<wire::LogInfo>(payload, "TRPI", "LogInfo"));
    if (!info->partitions() || info->partitions()->size() == 0)
      return fail(ec::unavailable, "the log has no partitions yet");
    for (auto* each : *info->partitions()) {
      if (next_.contains(each->partition())) {
        fetch(each->partition());
        continue;
      }
      auto part = std::make_shared<log_part>();
      part->partition = each->partition();
      part->end = each->next_offset();
      take(std::move(part));
    }
    return {};
  }

  void fetch(std::uint32_t partition) {
    flatbuffers::FlatBufferBuilder out;
    auto wait = std::chrono::microseconds{parts_.settings->fetch_wait};
    out.Finish(wire::CreateFetch(out, partition, next_[partition], parts_.settings->fetch_bytes,
                                 static_cast<std::uint64_t>(wait.count())),
               "TRPI");
    ask_for(parts_.log, 0, reader_actor{self_}, partition + 1, wire::Kind::fetch, bytes_of(out),
            deadline::in(wait + 10s));
  }

  expected<void> on_records(std::uint32_t partition, const chunk& payload) {
    TROUPE_TRY(reply, read_as<wire::FetchReply>(payload, "TRPI", "FetchReply"));
    auto from = next_[partition];
    if (reply->next_offset() < from)
      return fail(ec::conflict,
                  "partition {} of the log ends at {}, before offset {} that was read: was it replaced?",
                  partition, reply->next_offset(), from);
    auto part = std::make_shared<log_part>();
    part->partition = partition;
    part->end = from;
    if (reply->batches())
      for (auto* each : *reply->batches()) {
        if (!each->batch())
          continue;
        TROUPE_TRY(opened, batch::open(chunk::copy({reinterpret_cast<const std::byte*>(each->batch()->data()),
                                                    each->batch()->size()})));
        if (opened.base_offset() > part->end)
          return fail(ec::corrupt, "partition {} of the log has a gap before offset {}", partition,
                      opened.base_offset());
        part->end = std::max(part->end, opened.base_offset() + opened.size());
        parts_.metrics->records.add(static_cast<double>(opened.size()));
        part->batches.push_back(std::move(opened));
      }
    parts_.report.gauge(
        "log_lag", static_cast<double>(reply->next_offset() - std::min(reply->next_offset(), part->end)));
    if (failures_ > 0) {
      failures_ = 0;
      parts_.report.ready();
    }
    if (part->end == from)
      fetch(partition);
    else
      take(std::move(part));
    return {};
  }

  void take(log_part_ptr part) {
    auto partition = part->partition;
    self_->request(parts_.desk, std::chrono::seconds{30}, records_atom::value, std::move(part))
        .then(
            [this, partition](std::uint64_t next) {
              next_[partition] = next;
              fetch(partition);
            },
            [this, partition](const caf::error& err) { later(partition + std::uint64_t{1}, from_caf(err)); });
  }

  void later(std::uint64_t tag, const error& why) {
    parts_.metrics->fetch_failures.add();
    if (++failures_ == 3) {
      log::warn("log-away", "reader cannot read the event log: {}", render(why));
      parts_.report.degraded("the event log cannot be read, clicks wait: " + why.text);
    }
    self_->delayed_send(self_, std::min<std::chrono::milliseconds>(100ms * failures_, 2'000ms),
                        again_atom::value, tag);
  }

  pointer self_;
  reader_parts parts_;
  std::map<std::uint32_t, std::uint64_t> next_;
  unsigned failures_ = 0;
};

} // namespace

reader_actor spawn_reader(caf::actor_system& system, reader_parts parts) {
  auto behaviour = [](reader_state::pointer self, const std::shared_ptr<reader_parts>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<reader_parts>(std::move(parts)));
}

} // namespace troupe::deployer
