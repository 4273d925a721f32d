#include "services/feature_store/online/consumer.hpp"

#include "services/ingest/client/log_reader.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>
#include <optional>

namespace troupe::feature_store {

namespace {

/// States looked at per flush for whether they have expired.
constexpr std::size_t expiry_step = 2'000;

class consumer_state {
public:
  using pointer = consumer_actor::stateful_pointer<consumer_state>;
  explicit consumer_state(pointer self) : self_{self} {}

  consumer_actor::behavior_type make_behavior(consumer_deps deps) {
    deps_ = std::move(deps);
    ingest::log_reader::hooks hooks;
    hooks.call = [this](std::uint64_t tag, wire::Kind kind, chunk payload, deadline until) {
      deps_.call(consumer_actor{self_}, tag, kind, std::move(payload), until);
    };
    hooks.wait = [this](std::uint64_t tag, std::chrono::milliseconds span) {
      self_->delayed_send(self_, span, again_atom::value, tag);
    };
    hooks.ends = [this](const std::vector<std::uint64_t>& ends) { return on_ends(ends); };
    hooks.records = [this](std::uint64_t tag, ingest::log_records found) {
      return on_records(tag, std::move(found));
    };
    hooks.failing = [this](const error& why, unsigned in_a_row) { on_failing(why, in_a_row); };
    hooks.recovered = [this] { deps_.report.ready(); };
    reader_.emplace(ingest::log_reader::options{deps_.settings->fetch_bytes, deps_.settings->fetch_wait},
                    std::move(hooks));
    self_->set_exit_handler([this](caf::exit_msg& message) { stop(std::move(message.reason)); });
    self_->delayed_send(self_, deps_.settings->flush_interval, flush_atom::value);
    return {[this](begin_atom) { reader_->begin(); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              if (!stopping_)
                reader_->on_reply(tag, *result);
            },
            [this](again_atom, std::uint64_t tag) {
              if (!stopping_)
                reader_->on_wait_over(tag);
            },
            [this](applied_atom, std::uint64_t tag, std::uint64_t next, const outcome_ptr& done) {
              on_applied(tag, next, *done);
            },
            [this](flush_atom) { flush(); },
            [this](flushed_atom, const outcome_ptr& done) { on_flushed(*done); }};
  }

  const char* name = "consumer";

private:
  struct loop {
    std::uint32_t partition = 0;
    std::vector<std::uint32_t> views;
    std::uint64_t offset = 0;
    bool applying = false; ///< Its views may not change.
  };

  expected<void> on_ends(const std::vector<std::uint64_t>& ends) {
    for (std::uint32_t partition = 0; partition < ends.size(); ++partition) {
      deps_.progress->set(partition, ends[partition]);
      std::map<std::uint64_t, std::vector<std::uint32_t>> by_offset;
      for (std::uint32_t v = 0; v < deps_.engine->views().size(); ++v)
        by_offset[deps_.engine->applied(v, partition)].push_back(v);
      for (auto& [offset, views] : by_offset) {
        loops_[next_tag_] = {partition, std::move(views), offset};
        reader_->read(next_tag_++, partition, offset);
      }
    }
    deps_.report.ready();
    return {};
  }

  /// Work in the pool holds the actor weakly: an actor that has quit hears nothing more.
  template <class... Args>
  auto to_self(Args... args) {
    return [weak = weak_handle{consumer_actor{self_}}, args...](expected<void> done) {
      if (auto to = weak.lock())
        caf::anon_send(to, args..., outcome_ptr{std::make_shared<const expected<void>>(std::move(done))});
    };
  }

  expected<void> on_records(std::uint64_t tag, ingest::log_records found) {
    auto& from = loops_.at(tag);
    deps_.progress->set(from.partition, found.log_end);
    auto next = found.next;
    auto batches = found.batches.size();
    TROUPE_CHECK(deps_.run([engine = deps_.engine, views = from.views, found = std::move(found),
                            tell = to_self(applied_atom::value, tag, next)] {
      for (auto& each : found.batches)
        if (auto done = engine->apply(views, each); !done)
          return tell(std::move(done));
      tell({});
    }));
    from.applying = true;
    deps_.metrics->batches.add(static_cast<double>(batches));
    return {};
  }

  void on_applied(std::uint64_t tag, std::uint64_t next, const expected<void>& done) {
    auto& from = loops_.at(tag);
    from.applying = false;
    if (stopping_)
      return;
    if (!done)
      return reader_->failed(tag, done.error());
    deps_.metrics->records.add(static_cast<double>(next - from.offset));
    from.offset = next;
    deps_.advanced();
    if (!join(tag))
      reader_->read(tag, from.partition, from.offset);
  }

  /// Ends a loop that has come as far as another of its partition: that one carries its views from here on.
  bool join(std::uint64_t tag) {
    auto& from = loops_.at(tag);
    for (auto& [other, to] : loops_)
      if (other != tag && !to.applying && to.partition == from.partition && to.offset == from.offset) {
        to.views.insert(to.views.end(), from.views.begin(), from.views.end());
        reader_->forget(tag);
        loops_.erase(tag);
        return true;
      }
    return false;
  }

  void on_failing(const error& why, unsigned in_a_row) {
    deps_.metrics->fetch_failures.add();
    if (in_a_row != 3 && in_a_row % 50 != 0)
      return;
    log::warn("fetch-failed", "consumer cannot follow the log: {}", render(why));
    deps_.report.degraded("the log cannot be followed: " + why.text);
    deps_.report.failed(why);
  }

  void flush() {
    ++flushes_under_way_;
    auto posted =
        deps_.run([engine = deps_.engine, metrics = deps_.metrics, tell = to_self(flushed_atom::value)] {
          auto done = engine->flush();
          if (done) {
            // One event that is dated ahead must not drop everything, nor a log of the past what it reads.
            auto gone = engine->expire(std::min(engine->watermark(), micros_of(wall_now())), expiry_step);
            if (gone)
              metrics->expired.add(static_cast<double>(*gone));
            else
              done = unexpected<error>{std::move(gone).error()};
          }
          tell(std::move(done));
        });
    if (!posted)
      on_flushed(posted);
  }

  void on_flushed(const expected<void>& done) {
    if (!done) {
      log::error("flush-failed", "consumer cannot write feature states: {}", render(done.error()));
      deps_.report.failed(done.error());
      deps_.report.degraded(done.error().text);
    } else if (flush_failed_) {
      deps_.report.ready();
    }
    flush_failed_ = !done;
    --flushes_under_way_;
    if (stopping_) {
      if (flushes_under_way_ == 0)
        self_->quit(reason_);
      return;
    }
    report();
    self_->delayed_send(self_, deps_.settings->flush_interval, flush_atom::value);
  }

  void report() {
    auto next = deps_.progress->next();
    auto applied = deps_.engine->applied();
    std::uint64_t lag = 0;
    for (std::size_t p = 0; p < next.size(); ++p)
      lag += next[p] - std::min(next[p], p < applied.size() ? applied[p] : 0);
    auto counted = deps_.engine->counters();
    deps_.metrics->lag.set(static_cast<double>(lag));
    deps_.metrics->cached_states.set(static_cast<double>(counted.cached));
    deps_.metrics->cached_bytes.set(static_cast<double>(counted.cached_bytes));
    deps_.report.gauge("lag", static_cast<double>(lag));
    deps_.report.gauge("records_applied", static_cast<double>(counted.records));
    deps_.report.gauge("cached_states", static_cast<double>(counted.cached));
    if (auto mark = deps_.engine->watermark(); mark != never)
      deps_.metrics->watermark_age.set(static_cast<double>(micros_of(wall_now()) - mark) / 1e6);
  }

  /// Behind what is being applied, everything is written once more; then it ends.
  void stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = std::move(reason);
    flush();
  }

  pointer self_;
  consumer_deps deps_;
  std::optional<ingest::log_reader> reader_;
  std::map<std::uint64_t, loop> loops_; ///< By tag, from 1.
  std::uint64_t next_tag_ = 1;
  unsigned flushes_under_way_ = 0;
  bool flush_failed_ = false;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

consumer_actor spawn_consumer(caf::actor_system& system, consumer_deps deps) {
  auto behaviour = [](consumer_state::pointer self, const std::shared_ptr<consumer_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  auto made = system.spawn(behaviour, std::make_shared<consumer_deps>(std::move(deps)));
  caf::anon_send(made, begin_atom::value);
  return made;
}

} // namespace troupe::feature_store
