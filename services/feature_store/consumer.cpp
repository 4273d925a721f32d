#include "services/feature_store/consumer.hpp"

#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/ingest_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>

namespace troupe::feature_store {

namespace {

using namespace std::chrono_literals;

struct consumer_state {
  using pointer = consumer_actor::stateful_pointer<consumer_state>;

  struct loop {
    std::uint32_t partition = 0;
    std::vector<std::uint32_t> views;
    std::uint64_t offset = 0;
    unsigned failures = 0;
  };

  consumer_parts parts;
  std::map<std::uint64_t, loop> loops; ///< By tag, from 1.
  std::uint64_t next_tag = 1;
  unsigned failures = 0;
  bool known = false;

  void ask(pointer self) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateLogInfoQuery(out), "TRPI");
    net::call_for(*parts.log, consumer_actor{self}, 0, wire::Kind::log_info, net::bytes_of(out),
                  deadline::in(10s));
  }

  void fetch(pointer self, std::uint64_t tag) {
    auto& from = loops.at(tag);
    flatbuffers::FlatBufferBuilder out;
    auto wait = std::chrono::duration_cast<std::chrono::microseconds>(parts.settings->fetch_wait);
    out.Finish(wire::CreateFetch(out, from.partition, from.offset, parts.settings->fetch_bytes,
                                 static_cast<std::uint64_t>(wait.count())),
               "TRPI");
    net::call_for(*parts.log, consumer_actor{self}, tag, wire::Kind::fetch, net::bytes_of(out),
                  deadline::in(wait + 10s));
  }

  void on_reply(pointer self, std::uint64_t tag, const net::result_ptr& result) {
    auto done = !*result   ? expected<void>{unexpected<error>{result->error()}}
                : tag == 0 ? on_partitions(self, (*result)->payload)
                           : on_records(self, tag, (*result)->payload);
    if (done)
      return;
    parts.metrics->fetch_failures.add();
    auto& count = tag == 0 ? failures : loops.at(tag).failures;
    ++count;
    if (count == 3 || count % 50 == 0) {
      log::warn("fetch-failed", "consumer cannot read the log: {}", render(done.error()));
      parts.report.degraded("the log cannot be read: " + done.error().text);
      parts.report.failed(done.error());
    }
    auto wait = std::min<std::chrono::milliseconds>(100ms * count, 2000ms);
    self->delayed_send(self, wait, again_atom::value, tag);
  }

  expected<void> on_partitions(pointer self, const chunk& payload) {
    TROUPE_TRY(info, net::read_as<wire::LogInfo>(payload, "TRPI", "LogInfo"));
    if (!info->partitions() || info->partitions()->size() == 0)
      return fail(ec::unavailable, "the log has no partitions yet");
    known = true;
    for (auto* each : *info->partitions()) {
      parts.progress->set(each->partition(), each->next_offset());
      std::map<std::uint64_t, std::vector<std::uint32_t>> by_offset;
      for (std::uint32_t v = 0; v < parts.engine->views().size(); ++v)
        by_offset[parts.engine->applied(v, each->partition())].push_back(v);
      for (auto& [offset, views] : by_offset) {
        loops[next_tag] = {each->partition(), views, offset, 0};
        fetch(self, next_tag++);
      }
    }
    parts.report.ready();
    return {};
  }

  expected<void> on_records(pointer self, std::uint64_t tag, const chunk& payload) {
    auto& from = loops.at(tag);
    TROUPE_TRY(reply, net::read_as<wire::FetchReply>(payload, "TRPI", "FetchReply"));
    if (reply->next_offset() < from.offset)
      return fail(ec::conflict,
                  "partition {} of the log ends at {}, before offset {} that is applied already: was the log "
                  "replaced?",
                  from.partition, reply->next_offset(), from.offset);
    if (reply->batches())
      for (auto* each : *reply->batches()) {
        if (!each->batch())
          continue;
        auto* raw = reinterpret_cast<const std::byte*>(each->batch()->data());
        chunk bytes = payload.part(static_cast<std::size_t>(raw - payload.data()), each->batch()->size());
        if (reinterpret_cast<std::uintptr_t>(raw) % 8 != 0)
          bytes = chunk::copy(bytes.view());
        auto records = batch::open(std::move(bytes));
        if (!records)
          return unexpected<error>{std::move(records).error()};
        if (records->partition() != from.partition)
          return fail(ec::corrupt, "partition {} was asked for, a batch of {} came", from.partition,
                      records->partition());
        auto end = records->base_offset() + records->size();
        if (end <= from.offset)
          continue;
        TROUPE_CHECK(parts.engine->apply(from.views, *records));
        parts.metrics->records.add(static_cast<double>(end - from.offset));
        parts.metrics->batches.add();
        from.offset = end;
      }
    if (from.failures > 0) {
      from.failures = 0;
      parts.report.ready();
    }
    parts.progress->set(from.partition, reply->next_offset());
    if (parts.advanced)
      parts.advanced();
    if (!join(tag))
      fetch(self, tag);
    return {};
  }

  /// Ends a loop that has come as far as another of its partition: that one carries its views from here on.
  bool join(std::uint64_t tag) {
    auto& from = loops.at(tag);
    for (auto& [other, to] : loops)
      if (other != tag && to.partition == from.partition && to.offset == from.offset) {
        to.views.insert(to.views.end(), from.views.begin(), from.views.end());
        loops.erase(tag);
        return true;
      }
    return false;
  }

  void flush() {
    if (auto done = parts.engine->flush(); !done) {
      log::error("flush-failed", "consumer cannot write feature states: {}", render(done.error()));
      parts.report.failed(done.error());
      parts.report.degraded(done.error().text);
      flush_failed = true;
    } else if (flush_failed) {
      flush_failed = false;
      parts.report.ready();
    }
    auto next = parts.progress->next();
    auto applied = parts.engine->applied();
    std::uint64_t lag = 0;
    for (std::size_t p = 0; p < next.size(); ++p)
      lag += next[p] - std::min(next[p], p < applied.size() ? applied[p] : 0);
    auto counted = parts.engine->counters();
    parts.metrics->lag.set(static_cast<double>(lag));
    parts.metrics->cached_states.set(static_cast<double>(counted.cached));
    parts.metrics->cached_bytes.set(static_cast<double>(counted.cached_bytes));
    parts.report.gauge("lag", static_cast<double>(lag));
    parts.report.gauge("records_applied", static_cast<double>(counted.facts));
    parts.report.gauge("cached_states", static_cast<double>(counted.cached));
    if (auto mark = parts.engine->watermark(); mark != never)
      parts.metrics->watermark_age.set(static_cast<double>(micros_of(wall_now()) - mark) / 1e6);
  }

  bool flush_failed = false;
};

consumer_actor::behavior_type consumer(consumer_state::pointer self,
                                       const std::shared_ptr<consumer_parts>& parts) {
  self->state.parts = *parts;
  self->set_exit_handler([self](caf::exit_msg& message) {
    if (auto done = self->state.parts.engine->flush(); !done)
      log::error("flush-failed", "consumer cannot write feature states at its end: {}", render(done.error()));
    self->quit(std::move(message.reason));
  });
  self->delayed_send(self, self->state.parts.settings->flush_interval, flush_atom::value);
  return {
      [self](begin_atom) { self->state.ask(self); },
      [self](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
        self->state.on_reply(self, tag, result);
      },
      [self](again_atom, std::uint64_t tag) {
        if (tag == 0)
          self->state.ask(self);
        else if (self->state.loops.contains(tag))
          self->state.fetch(self, tag);
      },
      [self](flush_atom) {
        self->state.flush();
        self->delayed_send(self, self->state.parts.settings->flush_interval, flush_atom::value);
      },
  };
}

} // namespace

consumer_actor spawn_consumer(caf::actor_system& system, consumer_parts parts) {
  auto made = system.spawn(consumer, std::make_shared<consumer_parts>(std::move(parts)));
  caf::anon_send(made, begin_atom::value);
  return made;
}

} // namespace troupe::feature_store
