#include "services/ingest/fetch_server.hpp"

#include "services/ingest/wire.hpp"

#include "common/actor/weak_handle.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <atomic>
#include <type_traits>

namespace troupe::ingest {

namespace {

constexpr std::size_t most_bytes = std::size_t{32} << 20;

/// Answers this long before the asker gives up.
constexpr std::chrono::milliseconds margin{30};

/// A fetch that comes later may have to be answered earlier.
constexpr std::chrono::milliseconds longest_nap{200};

chunk reply_of(const fetched& from, std::uint64_t identity) {
  std::size_t bytes = 256;
  for (auto& each : from.batches)
    bytes += each.size() + 64;
  return build_message(
      [&](auto& out) {
        std::vector<flatbuffers::Offset<wire::LogBatch>> batches;
        for (auto& each : from.batches) {
          out.ForceVectorAlignment(each.size(), 1, 8);
          auto nested = out.CreateVector(reinterpret_cast<const std::uint8_t*>(each.data()), each.size());
          batches.push_back(wire::CreateLogBatch(out, nested));
        }
        return wire::CreateFetchReply(out, out.CreateVector(batches), from.next_offset, identity);
      },
      ingest_identifier, bytes);
}

struct parked {
  net::request_ptr request;
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  deadline until{deadline::clock::now()};
};

class fetch_server_state {
public:
  using pointer = fetch_server_actor::pointer;
  explicit fetch_server_state(pointer self) : self_{self}, tick_{self, longest_nap} {}

  fetch_server_actor::behavior_type make_behavior(std::shared_ptr<event_log> log,
                                                  std::shared_ptr<lake> archive, blocking_pool* servers,
                                                  blocking_pool* lake_readers) {
    log_ = std::move(log);
    archive_ = std::move(archive);
    servers_ = servers;
    lake_readers_ = lake_readers;
    // One message at a time in the mailbox, however often the log grows.
    log_->on_append([weak = weak_handle{fetch_server_actor{self_}}, told = told_] {
      if (told->exchange(true))
        return;
      if (auto to = weak.lock())
        caf::anon_send(to, grown_atom::value);
    });
    return {[this](net::request_atom, const net::request_ptr& request) { fetch(request); },
            [this](grown_atom) { on_grown(); }, tick_.handler([this] { on_tick(); }),
            [this](drain_atom) {
              draining_ = true;
              release([](auto&) { return true; });
            }};
  }

  static constexpr const char* name = "fetch_server";

private:
  void fetch(const net::request_ptr& request) {
    auto query = message<wire::Fetch>::open(request->payload);
    if (!query)
      return request->respond.fail(query.error());
    auto& q = **query;
    if (q.partition() >= log_->partitions())
      return request->respond.fail(
          {ec::invalid_argument,
           fmt::format("there is no partition {}: the log has {}", q.partition(), log_->partitions())});
    auto wait = std::chrono::microseconds{std::min<std::uint64_t>(q.wait_us(), 3'600'000'000)};
    auto left = std::chrono::duration_cast<std::chrono::microseconds>(request->until.left(now())) - margin;
    parked entry{request, q.partition(), q.offset(), std::min<std::size_t>(q.max_bytes(), most_bytes),
                 deadline{now() + std::min(wait, left)}};
    // An offset behind the end is answered by the log, with an error.
    if (entry.offset != log_->next_offset(entry.partition) || wait.count() == 0 || left.count() <= 0 ||
        draining_)
      return answer(entry);
    parked_.push_back(std::move(entry));
    arm();
  }

  void answer(const parked& entry) {
    auto* pool = archive_->reads_files(entry.partition, entry.offset) ? lake_readers_ : servers_;
    auto posted = pool->post([log = log_, archive = archive_, entry] {
      auto found = archive->fetch(entry.partition, entry.offset, entry.bytes);
      if (found)
        entry.request->respond.reply(reply_of(*found, log->identity()));
      else
        entry.request->respond.fail(found.error());
    });
    if (!posted)
      entry.request->respond.fail(posted.error(), std::chrono::milliseconds{200});
  }

  template <class Ready>
  void release(Ready ready) {
    auto kept =
        std::stable_partition(parked_.begin(), parked_.end(), [&](auto& each) { return !ready(each); });
    std::for_each(kept, parked_.end(), [this](auto& each) { answer(each); });
    parked_.erase(kept, parked_.end());
  }

  void on_grown() {
    told_->store(false);
    release([this](auto& each) { return log_->next_offset(each.partition) > each.offset; });
  }

  void on_tick() {
    tick_.stop();
    release([this](auto& each) { return each.until.passed(now()); });
    arm();
  }

  void arm() {
    if (parked_.empty())
      return;
    auto first = std::ranges::min_element(parked_, {}, [](auto& each) { return each.until.at(); });
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(first->until.left(now()));
    tick_.start(std::clamp(wait, std::chrono::milliseconds{5}, longest_nap));
  }

  deadline::clock::time_point now() { return self_->system().clock().now(); }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  std::shared_ptr<event_log> log_;
  std::shared_ptr<lake> archive_;
  blocking_pool* servers_ = nullptr;
  blocking_pool* lake_readers_ = nullptr;
  std::shared_ptr<std::atomic<bool>> told_ = std::make_shared<std::atomic<bool>>(false);
  std::vector<parked> parked_;
  bool draining_ = false;
};

} // namespace

fetch_server_actor spawn_fetch_server(caf::actor_system& system, std::shared_ptr<event_log> log,
                                      std::shared_ptr<lake> archive, blocking_pool& servers,
                                      blocking_pool& lake_readers) {
  return system.spawn(
      [](fetch_server_actor::stateful_pointer<fetch_server_state> self, std::shared_ptr<event_log> of,
         std::shared_ptr<lake> behind, blocking_pool* in, blocking_pool* of_files) {
        return self->state.make_behavior(std::move(of), std::move(behind), in, of_files);
      },
      std::move(log), std::move(archive), &servers, &lake_readers);
}

} // namespace troupe::ingest
