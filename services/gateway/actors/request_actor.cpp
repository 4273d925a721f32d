#include "services/gateway/actors/request_actor.hpp"

#include "services/gateway/handlers/handler.hpp"
#include "services/gateway/http/admission.hpp"
#include "services/gateway/http/routes.hpp"

#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <unordered_map>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

/// Of a list in memory; the answer goes out whether or not it has heard.
constexpr auto list_timeout = 1s;

/// The tag of a question is the handler's below, the request's number above.
constexpr unsigned tag_bits = 16;

class requests_state {
public:
  using pointer = requests_actor::stateful_pointer<requests_state>;
  explicit requests_state(pointer self) : self_{self} {}

  requests_actor::behavior_type make_behavior(const requests_actor& first) {
    if (first)
      self_->link_to(first); // The component holds that one, and ends all by it.
    return {[this](begin_atom, const exchange_ptr& from) {
              auto number = next_++;
              auto& one =
                  *open_.emplace(number, std::make_unique<open_request>(*this, number, std::move(*from)))
                       .first->second;
              step(number, [&] { one.serves->begin(); });
            },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              came(tag >> tag_bits, [&](handler& of) { of.on_reply(tag & ((1u << tag_bits) - 1), *result); });
            },
            [this](kept_atom, std::uint64_t number, bool safe) {
              came(number, [&](handler& of) { of.on_kept(safe); });
            }};
  }

  const char* name = "requests";

private:
  struct open_request final : request_context {
    open_request(requests_state& in, std::uint64_t number, std::unique_ptr<exchange> from)
        : owner{in}, number{number}, asked{std::move(from)}, serves{asked->to->handle(*this)} {}

    exchange& one() override { return *asked; }
    gateway_deps& deps() override { return asked->deps(); }

    void ask(const backend& to, std::uint64_t tag, wire::Kind kind, chunk payload, deadline until,
             std::optional<std::uint32_t> replica) override {
      ++awaited;
      to.ask(requests_actor{owner.self_}, number << tag_bits | tag, kind, std::move(payload), until,
             asked->trace, replica);
    }

    void keep(chunk slate, std::vector<store_row> beside) override {
      ++awaited;
      deps().outbox->append(std::move(slate), std::move(beside),
                            [self = requests_actor{owner.self_}, number = number](bool safe) {
                              caf::anon_send(self, kept_atom::value, number, safe);
                            });
    }

    void list_written(records_ptr rows) override {
      ++awaited;
      auto listed = [of = &owner, number = number] {
        of->came(number, [](handler& one) { one.on_listed(); });
      };
      owner.self_->request(deps().fallback_items, list_timeout, written_atom::value, std::move(rows))
          .then([listed](done_atom) { listed(); }, [listed](const caf::error&) { listed(); });
    }

    void list_shown(fallback_items_ptr items) override {
      caf::anon_send(deps().fallback_items, shown_atom::value, std::move(items));
    }

    requests_state& owner;
    std::uint64_t number;
    std::unique_ptr<exchange> asked;
    handler_ptr serves;
    std::size_t awaited = 0; ///< What has been asked and has not come back.
  };

  template <class Step>
  void came(std::uint64_t number, Step one_step) {
    auto found = open_.find(number);
    if (found == open_.end())
      return;
    --found->second->awaited;
    step(number, [&] { one_step(*found->second->serves); });
  }

  template <class Step>
  void step(std::uint64_t number, Step one_step) {
    auto& of = *open_.at(number);
    try {
      one_step();
    } catch (const std::exception& err) {
      of.asked->reply_error({ec::internal, err.what()});
    }
    if (of.awaited > 0)
      return;
    if (!of.asked->answered())
      of.asked->reply_error({ec::internal, "the request was not answered"});
    open_.erase(number);
  }

  pointer self_;
  std::unordered_map<std::uint64_t, std::unique_ptr<open_request>> open_;
  std::uint64_t next_ = 0;
};

} // namespace

std::vector<requests_actor> spawn_requests(caf::actor_system& system, std::size_t count) {
  auto behaviour = [](requests_state::pointer self, const requests_actor& first) {
    return self->state.make_behavior(first);
  };
  std::vector<requests_actor> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(system.spawn(behaviour, all.empty() ? requests_actor{} : all.front()));
  return all;
}

bool wait_until_ended(caf::actor_system& system, const std::vector<requests_actor>& all, deadline until) {
  caf::scoped_actor self{system};
  for (auto& each : all)
    self->monitor(each);
  auto left = all.size();
  while (left > 0 && !until.passed())
    self->receive([&](const caf::down_msg&) { --left; },
                  caf::after(std::chrono::duration_cast<std::chrono::microseconds>(until.left())) >> [] {});
  return left == 0;
}

void serve(const deps_ptr& deps, http::request asked, http::responder respond) {
  auto one = std::make_unique<exchange>(deps, std::move(asked), std::move(respond));
  try {
    if (auto refused = admit(*deps, *one))
      return one->reply(std::move(*refused));
    if (one->to->answer)
      return one->reply(one->to->answer(*deps, one->request));
    auto& to = deps->requests_at_work[deps->request_turn++ % deps->requests_at_work.size()];
    caf::anon_send(to, begin_atom::value, std::make_shared<std::unique_ptr<exchange>>(std::move(one)));
  } catch (const std::exception& err) {
    if (one)
      one->reply_error({ec::internal, err.what()});
  }
}

} // namespace troupe::gateway
