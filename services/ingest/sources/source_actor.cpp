#include "services/ingest/sources/source_actor.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>

namespace troupe::ingest {

namespace {

/// What the pool thread works on: opened where the log says that the source is.
struct source_slot {
  std::unique_ptr<batch_source> source;

  expected<admission_ptr> next(const source_deps& deps) {
    if (!source) {
      TROUPE_TRY(stored, deps.log->positions().find(deps.key));
      TROUPE_TRY(opened, deps.open(stored.value_or(source_state{})));
      source = std::move(opened);
    }
    TROUPE_TRY(batch, source->next());
    batch->encode(deps.log->partitions());
    return batch;
  }
};

class source_behavior {
public:
  explicit source_behavior(source_actor::pointer self) : self_{self} {}

  source_actor::behavior_type make_behavior(source_deps deps) {
    deps_ = std::make_shared<const source_deps>(std::move(deps));
    slot_ = std::make_shared<source_slot>();
    read_more();
    return {[this](read_atom, const read_ptr& result) { on_read(result); },
            [this](valid_atom, std::uint64_t number, const validation_ptr& result) {
              on_validated(number, result);
            },
            [this](appended_atom, std::uint64_t number, const appended_ptr& result) {
              on_appended(number, result);
            },
            [this](ask_atom, std::uint64_t number) {
              if (auto* entry = find(number); entry && !abandoned_)
                ask(*entry);
            },
            [this](again_atom) {
              halted_ = false;
              submit();
              maybe_finish();
            },
            [this](stop_atom) {
              give_up({ec::canceled, "the import was stopped"});
            }};
  }

  static constexpr const char* name = "source";

private:
  struct entry {
    admission_ptr batch;
    bool validated = false;
    std::chrono::milliseconds backoff{100};
    std::uint64_t number() const { return batch->request()->batch; }
  };

  entry* find(std::uint64_t number) {
    if (window_.empty() || number < window_.front().number() || number > window_.back().number())
      return nullptr;
    return &window_[number - window_.front().number()];
  }

  void read_more() {
    if (reading_ || ended_ || window_.size() >= deps_->window)
      return;
    reading_ = true;
    auto posted = deps_->readers->post([slot = slot_, deps = deps_, self = source_actor{self_}] {
      auto result = std::make_shared<const expected<admission_ptr>>(slot->next(*deps));
      caf::anon_send(self, read_atom::value, read_ptr{std::move(result)});
    });
    if (!posted) // The supervisor starts the source again in a while.
      on_read(std::make_shared<const expected<admission_ptr>>(unexpected{posted.error()}));
  }

  void on_read(const read_ptr& result) {
    reading_ = false;
    if (!*result) {
      ended_ = true;
      if (!failure_)
        failure_ = result->error();
    } else if (!ended_) {
      ended_ = (**result)->request()->progress.done;
      window_.push_back({**result});
      ask(window_.back());
      read_more();
    }
    maybe_finish();
  }

  void ask(entry& of) {
    if (of.batch->empty()) {
      of.validated = true;
      return submit();
    }
    deps_->validate(
        of.batch->validation(), [self = source_actor{self_}, number = of.number()](validation_result result) {
          caf::anon_send(self, valid_atom::value, number,
                         validation_ptr{std::make_shared<const validation_result>(std::move(result))});
        });
  }

  void on_validated(std::uint64_t number, const validation_ptr& result) {
    auto* of = find(number);
    if (!of || of->validated || abandoned_)
      return maybe_finish();
    if (!*result) {
      auto& err = result->error();
      if (disposition_of(err.code) != error_disposition::retry_later)
        return give_up(
            {err.code, fmt::format("the validator cannot validate batch {}: {}", number, err.text)});
      tell(source_wait::validator, "waiting for the validator: " + err.text);
      self_->delayed_send(self_, of->backoff, ask_atom::value, number);
      of->backoff = std::min(of->backoff * 2, deps_->longest_backoff);
      return;
    }
    of->batch->take_out(**result);
    of->validated = true;
    submit();
  }

  /// Appends what is validated, in order.
  void submit() {
    while (!halted_ && !abandoned_ && submitted_ < window_.size() && window_[submitted_].validated) {
      auto request = window_[submitted_++].batch->request();
      ++outstanding_;
      deps_->log->append(
          request, [self = source_actor{self_}, number = request->batch](expected<append_result> result) {
            caf::anon_send(self, appended_atom::value, number,
                           appended_ptr{std::make_shared<const expected<append_result>>(std::move(result))});
          });
    }
  }

  void on_appended(std::uint64_t number, const appended_ptr& result) {
    --outstanding_;
    if (*result) {
      window_.pop_front(); // The log takes the batches of a source in order only.
      --submitted_;
      backoff_ = std::chrono::milliseconds{100};
      state_ = (*result)->progress;
      tell();
      read_more();
    } else {
      auto& err = result->error();
      // The batches behind one that failed fail with it.
      if (!halted_ && disposition_of(err.code) != error_disposition::retry_later)
        give_up({err.code, fmt::format("batch {} cannot be appended: {}", number, err.text)});
      else if (!halted_)
        tell(source_wait::log, "waiting for the log: " + err.text);
      halted_ = true;
    }
    if (outstanding_ == 0 && halted_) {
      submitted_ = 0;
      if (!abandoned_) {
        self_->delayed_send(self_, backoff_, again_atom::value);
        backoff_ = std::min(backoff_ * 2, deps_->longest_backoff);
      }
    }
    submit();
    maybe_finish();
  }

  void give_up(error why) {
    if (!failure_)
      failure_ = std::move(why);
    ended_ = abandoned_ = true;
    *deps_->stop = true;
    maybe_finish();
  }

  void maybe_finish() {
    if (finished_ || !ended_ || reading_ || outstanding_ > 0 || (!window_.empty() && !abandoned_))
      return;
    finished_ = true;
    tell();
    self_->quit();
  }

  void tell(source_wait wait = source_wait::none, std::string why = {}) {
    deps_->report({deps_->import, deps_->file, state_, wait, std::move(why), finished_,
                   finished_ ? failure_ : std::nullopt});
  }

  source_actor::pointer self_;
  std::shared_ptr<const source_deps> deps_;
  std::shared_ptr<source_slot> slot_;
  std::deque<entry> window_;    ///< Batches read and not yet in the log, in order.
  std::size_t submitted_ = 0;   ///< How many of `window_` were given to the log.
  std::size_t outstanding_ = 0; ///< How many of those are not answered.
  std::chrono::milliseconds backoff_{100};
  source_state state_;
  std::optional<error> failure_;
  bool reading_ = false;
  bool ended_ = false;     ///< Nothing more is read.
  bool halted_ = false;    ///< An append failed: wait, then go on from the first that is not in the log.
  bool abandoned_ = false; ///< Nothing more is appended.
  bool finished_ = false;
};

} // namespace

source_actor spawn_source(caf::actor_system& system, source_deps deps) {
  return system.spawn(
      [](source_actor::stateful_pointer<source_behavior> self, source_deps dependencies) {
        return self->state.make_behavior(std::move(dependencies));
      },
      std::move(deps));
}

} // namespace troupe::ingest
