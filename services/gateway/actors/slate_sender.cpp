#include "services/gateway/actors/slate_sender.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/ingest_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_at_once = 2'000;
/// A slate may show a thousand items: what goes together must stay far below what a queue and a frame take.
constexpr std::size_t most_bytes_at_once = std::size_t{4} << 20;
constexpr auto append_timeout = 10s;
constexpr std::chrono::milliseconds first_pause{50}, longest_pause{2'000};
/// Slates that come within it go together: an append costs ingest and validator more than the slates in it.
constexpr std::chrono::milliseconds gather_for{50};

outbox_page_ptr read_page(slate_outbox& from) {
  auto made = std::make_shared<outbox_page>();
  made->rows = from.next(most_at_once, most_bytes_at_once);
  auto& held = made->rows.records;
  if (held.empty())
    return made;
  flatbuffers::FlatBufferBuilder out{held.size() + 128};
  auto source = out.CreateString("gateway");
  auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(held.data()), held.size());
  out.Finish(wire::CreateAppend(out, source, batch), "TRPI");
  made->append = net::bytes_of(out);
  return made;
}

/// How many rows the log refused for good.
expected<std::uint64_t> refused_rows(const expected<net::reply>& got) {
  if (!got)
    return unexpected<error>{got.error()};
  TROUPE_TRY(reply, net::read_as<wire::AppendReply>(got->payload, "TRPI", "AppendReply"));
  std::uint64_t refused = 0;
  if (reply->rows())
    for (const auto* each : *reply->rows())
      refused += each->outcome() == wire::Outcome::quarantined;
  return refused;
}

class slate_sender_state {
public:
  using pointer = slate_sender_actor::stateful_pointer<slate_sender_state>;
  explicit slate_sender_state(pointer self) : self_{self}, tick_{self, first_pause} {}

  slate_sender_actor::behavior_type make_behavior(deps_ptr deps, post_function post) {
    deps_ = std::move(deps);
    post_ = std::move(post);
    read(); // What the last process left.
    return {[this](wake_atom) {
              if (busy_)
                woken_ = true;
              else
                gather();
            },
            [this](page_atom, const outbox_page_ptr& page) { on_page(page); },
            [this](net::reply_atom, std::uint64_t, const net::result_ptr& result) { on_reply(*result); },
            [this](removed_atom) { on_removed(); }, tick_.handler([this] {
              tick_.stop();
              read();
            })};
  }

  const char* name = "slate_sender";

private:
  void gather() {
    busy_ = true;
    tick_.start(gather_for);
  }

  /// From here until nothing waits it is busy: one page at a time, in order.
  void read() {
    busy_ = true;
    woken_ = false;
    post([deps = deps_, self = slate_sender_actor{self_}] {
      caf::anon_send(self, page_atom::value, read_page(*deps->outbox));
    });
  }

  void on_page(const outbox_page_ptr& page) {
    page_ = page;
    if (!page->append.empty())
      return deps_->behind.ingest.ask(slate_sender_actor{self_}, 0, wire::Kind::append, page->append,
                                      deadline::in(append_timeout));
    if (!page->rows.answers.empty())
      return remove(0); // All of them damaged.
    rest();
  }

  void on_removed() {
    if (page_->rows.more)
      return read();
    rest();
  }

  void rest() {
    busy_ = false;
    if (woken_)
      gather();
  }

  void on_reply(const expected<net::reply>& got) {
    auto refused = refused_rows(got);
    // Only what can never be right is given up: a key that is missing, a bug, a newer log may be put right.
    if (!refused && refused.error().code != ec::invalid_argument && refused.error().code != ec::conflict) {
      log::warn("slates-wait", "gateway keeps the slates of {} answers: {}",
                deps_->outbox->counters().waiting, render(refused.error()));
      return later();
    }
    pause_ = first_pause;
    if (!refused)
      log::error("slates-refused", "gateway gives up {} slates: {}", page_->rows.count,
                 render(refused.error()));
    remove(refused ? *refused : page_->rows.count);
  }

  void remove(std::uint64_t refused) {
    post([deps = deps_, page = page_, refused, self = slate_sender_actor{self_}] {
      if (auto done = deps->outbox->remove(page->rows, refused); !done)
        log::warn("outbox-failed", "gateway will send impressions again: {}", render(done.error()));
      caf::anon_send(self, removed_atom::value);
    });
  }

  void post(std::function<void()> task) {
    if (!post_(std::move(task)))
      later();
  }

  void later() {
    tick_.start(pause_);
    pause_ = std::min(pause_ * 2, longest_pause);
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  deps_ptr deps_;
  post_function post_;
  outbox_page_ptr page_; ///< Under way.
  bool busy_ = false;
  bool woken_ = false; ///< Something came while it was busy.
  std::chrono::milliseconds pause_ = first_pause;
};

} // namespace

slate_sender_actor spawn_slate_sender(caf::actor_system& system, deps_ptr deps, post_function post) {
  auto behaviour = [](slate_sender_state::pointer self, const deps_ptr& shared, const post_function& in) {
    return self->state.make_behavior(shared, in);
  };
  slate_sender_actor made = system.spawn(behaviour, deps, post);
  deps->outbox->on_commit([weak = weak_handle{made}] {
    if (auto to = weak.lock())
      caf::anon_send(to, wake_atom::value);
  });
  return made;
}

} // namespace troupe::gateway
