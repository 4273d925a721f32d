#include "services/ranker/actors.hpp"
#include "services/ranker/release/warm_up.hpp"

#include "common/actor/errors.hpp"
#include "common/actor/weak_handle.hpp"
#include "common/core/file.hpp"
#include "common/core/time.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/ranker_generated.h"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <set>
#include <thread>

namespace troupe::ranker {

namespace {

constexpr std::chrono::milliseconds longest_read{500};

std::string short_id(const std::string& id) {
  return id.substr(0, 12);
}

/// Frees a release once nobody else reads it, or leaves it to those who do after `longest_read`.
void free_alone(release_ptr release) {
  for (auto until = deadline::in(longest_read); release.use_count() > 1 && !until.passed();)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

class release_manager_state {
public:
  using pointer = release_manager_actor::stateful_pointer<release_manager_state>;
  explicit release_manager_state(pointer self) : self_{self} {}

  release_manager_actor::behavior_type make_behavior(release_manager_deps deps) {
    deps_ = std::move(deps);
    undecided_.insert(deps_.wanted.begin(), deps_.wanted.end());
    self_->set_exit_handler([this](caf::exit_msg& message) {
      for (auto* list : {&unwritten_, &being_written_})
        for (auto& each : std::exchange(*list, {}))
          each->respond.fail({ec::stopping, "the ranker is stopping"});
      self_->quit(std::move(message.reason));
    });
    want(deps_.wanted);
    return {[this](net::request_atom, net::request_ptr& asked) { on_request(std::move(asked)); },
            [this](loaded_atom, const load_outcome_ptr& outcome) { on_loaded(*outcome); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              on_user_features(tag, *result);
            },
            [this](warmed_atom, const load_outcome_ptr& outcome) { finish(*outcome); },
            [this](retry_atom, const std::string& id) { retry(id); },
            [this](written_atom, bool good) { on_written(good); },
            [this](tidied_atom) {
              busy_ = false;
              go_on();
            }};
  }

  const char* name = "release_manager";

private:
  using clock = deadline::clock;

  struct place {
    wire::ReleaseState state = wire::ReleaseState::loading;
    std::string error;
    std::uint64_t items = 0, bytes = 0;
    std::chrono::microseconds load_time{};
  };

  void on_request(net::request_ptr asked) {
    if (asked->info.kind == wire::Kind::loaded)
      return asked->respond.reply(encode_places());
    auto from = net::read_as<wire::Prepare>(asked->payload, "TRPK", "Prepare");
    if (!from)
      return asked->respond.fail(from.error());
    std::vector<std::string> ids;
    if (auto* list = (*from)->releases())
      for (auto* each : *list)
        ids.push_back(each->str());
    want(ids);
    // Answered when it is on the disk: what a ranker was told to hold, it holds again after a crash.
    unwritten_.push_back(std::move(asked));
    write_wanted();
  }

  chunk encode_places() const {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::LoadedRelease>> all;
    auto releases = deps_.releases->get();
    for (auto& [id, each] : places_) {
      auto held = releases->by_id.find(id);
      auto readers = held == releases->by_id.end() ? 0 : held->second.use_count() - 1;
      if (releases->newest && releases->newest->manifest.id == id)
        --readers; // The table names it twice.
      all.push_back(wire::CreateLoadedReleaseDirect(out, id.c_str(), wire::EnumNameReleaseState(each.state),
                                                    each.error.c_str(), each.items, each.bytes,
                                                    static_cast<std::uint64_t>(each.load_time.count()),
                                                    static_cast<std::uint32_t>(std::max(readers, 0L))));
    }
    out.Finish(wire::CreateLoadedReleasesDirect(out, &all), "TRPK");
    return net::bytes_of(out);
  }

  /// From now on these. One that failed before is tried again.
  void want(const std::vector<std::string>& ids) {
    wanted_.clear();
    for (auto& each : ids) {
      if (std::find(wanted_.begin(), wanted_.end(), each) != wanted_.end())
        continue;
      wanted_.push_back(each);
      auto& at = places_[each];
      if (at.state == wire::ReleaseState::failed)
        at = {};
    }
    untidy_ = true;
    go_on();
  }

  void write_wanted() {
    if (!being_written_.empty() || unwritten_.empty())
      return;
    being_written_ = std::exchange(unwritten_, {});
    std::string text;
    for (auto& each : wanted_)
      text += each + '\n';
    auto posted = deps_.post(
        [weak = weak_handle{release_manager_actor{self_}}, file = deps_.wanted_file, text = std::move(text)] {
          auto written = write_file_atomically(file, as_bytes(text));
          if (!written)
            log::warn("wanted-kept", "ranker cannot write the list of wanted releases: {}",
                      render(written.error()));
          if (auto to = weak.lock())
            caf::anon_send(to, written_atom::value, written.has_value());
        });
    if (!posted)
      on_written(false);
  }

  void on_written(bool good) {
    for (auto& each : std::exchange(being_written_, {}))
      if (good)
        each->respond.reply(encode_places());
      else
        each->respond.fail({ec::io_failed, "the list of wanted releases cannot be written"});
    write_wanted();
  }

  /// The next thing to be done with releases: one at a time, because they share the folder of blobs.
  void go_on() {
    if (busy_)
      return;
    for (auto& id : wanted_)
      if (places_[id].state == wire::ReleaseState::loading)
        return load(id);
    if (untidy_ && std::all_of(wanted_.begin(), wanted_.end(),
                               [&](auto& id) { return places_[id].state == wire::ReleaseState::ready; }))
      tidy();
  }

  /// Lets go of all that is not wanted.
  void tidy() {
    untidy_ = false;
    if (wanted_.empty())
      return;
    auto old = deps_.releases->get();
    auto kept = std::make_shared<release_table>();
    for (auto& [id, each] : old->by_id)
      if (std::find(wanted_.begin(), wanted_.end(), id) != wanted_.end())
        kept->by_id.emplace(id, each);
    kept->newest = old->newest && kept->by_id.contains(old->newest->manifest.id) ? old->newest
                   : kept->by_id.empty()                                         ? nullptr
                                         : kept->by_id.rbegin()->second;
    std::erase_if(places_, [&](auto& each) {
      return std::find(wanted_.begin(), wanted_.end(), each.first) == wanted_.end();
    });
    std::vector<release_ptr> gone;
    for (auto& [id, each] : old->by_id)
      if (!kept->by_id.contains(id))
        gone.push_back(each);
    publish(std::move(kept));
    busy_ = true;
    // On the pool: to free what is large takes a while, and no request should be the one that does it.
    auto posted = deps_.post([weak = weak_handle{release_manager_actor{self_}}, held = std::move(old),
                              gone = std::move(gone), bundles = deps_.bundles, needed = wanted_]() mutable {
      held = nullptr;
      for (auto& each : gone)
        free_alone(std::move(each));
      bundles->keep_only(needed);
      if (auto to = weak.lock())
        caf::anon_send(to, tidied_atom::value);
    });
    if (!posted)
      busy_ = false; // The next change tidies up.
  }

  void publish(std::shared_ptr<const release_table> table) {
    deps_.metrics->releases.set(static_cast<double>(table->by_id.size()));
    deps_.releases->set(std::move(table));
  }

  /// Step 1, on the pool: fetch, verify, load.
  void load(const std::string& id) {
    busy_ = true;
    began_ = clock::now();
    load_options options;
    options.space = deps_.snapshot->get()->space();
    options.flat_up_to = deps_.settings->flat_up_to;
    auto posted = deps_.post([weak = weak_handle{release_manager_actor{self_}}, bundles = deps_.bundles,
                              options, id, readable = deps_.readable] {
      auto outcome = std::make_shared<load_outcome>();
      outcome->id = id;
      if (auto made = bring(*bundles, id, options, readable))
        outcome->release = std::move(*made);
      else
        outcome->failed = made.error();
      if (auto to = weak.lock())
        caf::anon_send(to, loaded_atom::value, load_outcome_ptr{std::move(outcome)});
    });
    if (!posted)
      finish({id, nullptr, posted.error()});
  }

  static expected<release_ptr> bring(bundle_fetcher& bundles, const std::string& id,
                                     const load_options& options, const std::vector<std::string>& readable) {
    TROUPE_TRY(folder, bundles.fetch(id));
    auto made = load_release(folder, options);
    if (made && (*made)->manifest.id != id)
      made = fail(ec::corrupt, "folder {} holds release {}, asked was {}", folder.string(),
                  (*made)->manifest.id, id);
    if (!made) {
      if (made.error().code == ec::corrupt)
        bundles.forget(id);
      return made;
    }
    TROUPE_CHECK(check_readable((*made)->rules, readable));
    return made;
  }

  /// Step 2: the feature store has what its models want of users.
  void on_loaded(const load_outcome& outcome) {
    if (!outcome.release)
      return finish(outcome);
    places_[outcome.id].state = wire::ReleaseState::warming;
    current_ = outcome;
    if (outcome.release->user_features.size() <= 1) // The history alone: an answer can do without.
      return ensure_items();
    feature_store::feature_query query;
    query.ids = {"warm-up"};
    query.features = outcome.release->user_features;
    net::call_for(deps_.features, 0, release_manager_actor{self_}, ++asked_, wire::Kind::read_features,
                  feature_store::encode(query), deadline::in(deps_.settings->page_timeout));
  }

  void on_user_features(std::uint64_t tag, const expected<net::reply>& result) {
    if (tag != asked_)
      return;
    if (!result && !usable_without(result.error()))
      return;
    ensure_items();
  }

  /// Step 3: and of items.
  void ensure_items() {
    auto& wanted = current_.release->item_features;
    if (wanted.empty())
      return warm();
    self_
        ->request(deps_.items, 2 * deps_.settings->page_timeout, ensure_atom::value,
                  std::make_shared<const std::vector<std::string>>(wanted))
        .then([this](bool) { warm(); },
              [this](const caf::error& problem) {
                if (usable_without(from_caf(problem)))
                  warm();
              });
  }

  /// A feature store that cannot be asked now is no reason to refuse: answers say what they lack. Otherwise
  /// the release under way has failed.
  bool usable_without(const error& problem) {
    if (disposition_of(problem.code) == error_disposition::retry_later) {
      log::warn("features-unchecked", "ranker cannot check the features of release {}: {}",
                short_id(current_.id), render(problem));
      return true;
    }
    error why{problem.code, "asking for the features of its models: " + problem.text};
    finish({current_.id, nullptr, std::move(why)});
    return false;
  }

  /// Step 4, on the pool.
  void warm() {
    auto posted = deps_.post(
        [weak = weak_handle{release_manager_actor{self_}}, from = current_, snapshot = deps_.snapshot] {
          auto outcome = std::make_shared<load_outcome>(from);
          if (auto warmed = warm_up(*from.release); !warmed) {
            outcome->release = nullptr;
            outcome->failed = warmed.error();
          } else {
            auto items = snapshot->get();
            from.release->bindings.get(*from.release, *items, micros_of(wall_now()));
          }
          if (auto to = weak.lock())
            caf::anon_send(to, warmed_atom::value, load_outcome_ptr{std::move(outcome)});
        });
    if (!posted)
      finish({current_.id, nullptr, posted.error()});
  }

  void finish(const load_outcome& outcome) {
    current_ = {};
    busy_ = false;
    auto& at = places_[outcome.id];
    at.load_time = std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - began_);
    if (outcome.failed)
      failed(outcome.id, at, *outcome.failed);
    else
      ready(outcome.id, at, outcome.release);
    if (undecided_.erase(outcome.id) != 0 && undecided_.empty())
      deps_.report.ready();
    go_on();
  }

  void failed(const std::string& id, place& at, const error& why) {
    at.state = wire::ReleaseState::failed;
    at.error = render(why);
    deps_.metrics->load_failures.add();
    deps_.report.failed(why);
    log::warn("release-refused", "ranker cannot serve release {}: {}", short_id(id), at.error);
    if (disposition_of(why.code) == error_disposition::retry_later || why.code == ec::not_found)
      self_->delayed_send(self_, deps_.settings->load_retry, retry_atom::value, id);
  }

  void ready(const std::string& id, place& at, const release_ptr& release) {
    at.state = wire::ReleaseState::ready;
    at.error.clear();
    at.items = release->items;
    at.bytes = release->bytes;
    auto table = std::make_shared<release_table>(*deps_.releases->get());
    table->by_id[id] = release;
    table->newest = release;
    publish(std::move(table));
    deps_.metrics->loads.add();
    log::info("release-ready", "ranker serves release {}", short_id(id));
    untidy_ = true;
  }

  void retry(const std::string& id) {
    auto found = places_.find(id);
    if (found == places_.end() || found->second.state != wire::ReleaseState::failed ||
        std::find(wanted_.begin(), wanted_.end(), id) == wanted_.end())
      return;
    found->second.state = wire::ReleaseState::loading;
    go_on();
  }

  pointer self_;
  release_manager_deps deps_;
  std::vector<std::string> wanted_;
  std::map<std::string, place> places_;
  std::set<std::string> undecided_;                         ///< Of those wanted at the start.
  std::vector<net::request_ptr> unwritten_, being_written_; ///< Who waits for the list to be on the disk.
  bool busy_ = false;    ///< A release or the folder of blobs is being worked on.
  bool untidy_ = false;  ///< There may be something that is not wanted.
  load_outcome current_; ///< Loaded, its features being asked for.
  std::uint64_t asked_ = 0;
  clock::time_point began_;
};

} // namespace

release_manager_actor spawn_release_manager(caf::actor_system& system, release_manager_deps deps) {
  auto behaviour = [](release_manager_state::pointer self,
                      const std::shared_ptr<release_manager_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  // Here, not in the actor: by the time that first runs, the service might have said "ready".
  if (!deps.wanted.empty())
    deps.report.not_ready(fmt::format("loads {} releases", deps.wanted.size()));
  return system.spawn(behaviour, std::make_shared<release_manager_deps>(std::move(deps)));
}

} // namespace troupe::ranker
