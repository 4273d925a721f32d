#include "services/gateway/actors/request_actor.hpp"

#include "services/gateway/handlers/handler.hpp"
#include "services/gateway/http/admission.hpp"
#include "services/gateway/http/routes.hpp"

#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

/// Of a list in memory; the answer goes out whether or not it has heard.
constexpr auto list_timeout = 1s;

class request_state : public request_context {
public:
  using pointer = request_actor::stateful_pointer<request_state>;
  explicit request_state(pointer self) : self_{self} {}

  request_actor::behavior_type make_behavior(deps_ptr deps, std::unique_ptr<exchange> one) {
    deps_ = std::move(deps);
    one_ = std::move(one);
    handler_ = one_->to->handle(*this);
    return {[this](begin_atom) { step([&] { handler_->begin(); }); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              --open_;
              step([&] { handler_->on_reply(tag, *result); });
            },
            [this](kept_atom, bool safe) {
              --open_;
              step([&] { handler_->on_kept(safe); });
            }};
  }

  exchange& one() override { return *one_; }
  gateway_deps& deps() override { return *deps_; }

  void ask(const backend& to, std::uint64_t tag, wire::Kind kind, chunk payload, deadline until,
           std::optional<std::uint32_t> replica) override {
    ++open_;
    to.ask(request_actor{self_}, tag, kind, std::move(payload), until, one_->trace, replica);
  }

  void keep(chunk slate, std::vector<store_row> beside) override {
    ++open_;
    deps_->outbox->append(std::move(slate), std::move(beside), [self = request_actor{self_}](bool safe) {
      caf::anon_send(self, kept_atom::value, safe);
    });
  }

  void list_written(records_ptr rows) override {
    ++open_;
    auto listed = [this] {
      --open_;
      step([&] { handler_->on_listed(); });
    };
    self_->request(deps_->fallback_items, list_timeout, written_atom::value, std::move(rows))
        .then([listed](done_atom) { listed(); }, [listed](const caf::error&) { listed(); });
  }

  void list_shown(fallback_items_ptr items) override {
    caf::anon_send(deps_->fallback_items, shown_atom::value, std::move(items));
  }

  const char* name = "request";

private:
  template <class Step>
  void step(Step one_step) {
    try {
      one_step();
    } catch (const std::exception& err) {
      one_->reply_error({ec::internal, err.what()});
    }
    if (open_ > 0)
      return;
    if (!one_->answered())
      one_->reply_error({ec::internal, "the request was not answered"});
    self_->quit();
  }

  pointer self_;
  deps_ptr deps_;
  std::unique_ptr<exchange> one_;
  std::unique_ptr<handler> handler_;
  std::size_t open_ = 0; ///< What has been asked and has not come back.
};

} // namespace

void serve(caf::actor_system& system, const deps_ptr& deps, http::request asked, http::responder respond) {
  auto one = std::make_unique<exchange>(deps, std::move(asked), std::move(respond));
  try {
    if (auto refused = admit(*deps, *one))
      return one->reply(std::move(*refused));
    if (one->to->answer)
      return one->reply(one->to->answer(*deps, one->request));
    auto behaviour = [](request_state::pointer self, const deps_ptr& shared,
                        const std::shared_ptr<std::unique_ptr<exchange>>& from) {
      return self->state.make_behavior(shared, std::move(*from));
    };
    auto held = std::make_shared<std::unique_ptr<exchange>>(std::move(one));
    auto actor = system.spawn(behaviour, deps, held);
    caf::anon_send(request_actor{actor}, begin_atom::value);
  } catch (const std::exception& err) {
    if (one)
      one->reply_error({ec::internal, err.what()});
  }
}

} // namespace troupe::gateway
