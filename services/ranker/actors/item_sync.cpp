#include "services/ranker/actors.hpp"

#include "common/actor/errors.hpp"
#include "common/actor/weak_handle.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <algorithm>
#include <map>
#include <numeric>

namespace troupe::ranker {

namespace {

using namespace std::chrono_literals;

constexpr auto after_failure = 1s; ///< A feature store that comes back should not wait for us.
constexpr auto same_state = 1s;    ///< For so long a snapshot that nothing has changed keeps its age.
constexpr int rest = 9;            ///< What reads much rests so many times as long as it took.
/// Items a page of changes: the threads of the feature store that read it are those that answer requests.
constexpr std::uint32_t most_changes = 1000;

/// On the pool: the page into the scan; after the last page of the last replica the snapshot is built.
expected<void> read_page(item_scan& scan, const chunk& payload) {
  TROUPE_TRY(page, feature_store::decode_page(payload));
  bool last = page.last || page.ids.empty();
  scan.after = last ? std::string{} : page.ids.back();
  scan.replica += last ? 1 : 0;
  scan.views = std::move(page.features.view_versions);
  scan.applied.add(page.features.applied);
  TROUPE_CHECK(append_page(std::move(page), scan.plan, scan.items));
  if (scan.replica < scan.replicas)
    return {};
  snapshot_origin origin{scan.began, {}, std::move(scan.views), std::move(scan.applied)};
  for (auto c : scan.plan.columns)
    origin.features.push_back(scan.plan.names[c]);
  scan.built = std::make_shared<const item_snapshot>(scan.space, scan.items, std::move(origin));
  scan.items = {};
  return {};
}

/// On the pool: a page of changes into the items of the round.
expected<void> read_changes(item_round& round, const chunk& payload) {
  TROUPE_TRY(page, feature_store::decode_changes(payload));
  round.reset = page.reset;
  if (page.reset)
    return {};
  auto& place = round.places[round.left.front()];
  auto next = std::move(page.next);
  bool last = page.last;
  auto applied = page.features.applied;
  item_changes by;
  TROUPE_CHECK(append_page(std::move(page), round.plan, by.changed));
  place = std::move(next); // Only now: what could not be read is asked for again.
  if (last) {
    round.applied.add(applied);
    round.left.erase(round.left.begin());
  }
  round.changed += by.changed.size();
  if (round.left.empty() && round.whole &&
      (round.changed > 0 || round.of_scan || round.began - round.items->taken() >= same_state)) {
    by.taken = round.began;
    by.applied = round.applied;
  }
  if (!by.changed.empty() || by.taken)
    round.items = with_changes(round.items, by);
  return {};
}

/// On the pool: what releases make of the items is worked out before a request asks for it. They keep it for
/// what is published alone: all else would displace what requests under way have.
void bind(const item_scan& scan, const release_table& releases) {
  if (scan.built)
    releases.prepare(*scan.built);
}
void bind(const item_round& round, const release_table& releases) {
  if (!round.of_scan || round.left.empty())
    releases.bind(*round.items);
}

class item_sync_state {
public:
  using pointer = item_sync_actor::stateful_pointer<item_sync_state>;
  explicit item_sync_state(pointer self) : self_{self}, tick_{self, 0ms} {}

  item_sync_actor::behavior_type make_behavior(item_sync_deps deps) {
    deps_ = std::move(deps);
    tick_.start(0ms);
    self_->set_exit_handler([this](caf::exit_msg& message) {
      for (auto& each : std::exchange(waiting_, {}))
        each.promise.deliver(to_caf({ec::stopping, "the ranker is stopping"}));
      self_->quit(std::move(message.reason));
    });
    return {
        tick_.handler([this] { go_on(); }),
        [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) { on_reply(tag, result); },
        [this](page_atom, const item_scan_ptr& scan) { on_page(scan); },
        [this](page_atom, const item_round_ptr& round) { on_changes(round); },
        [this](ensure_atom, const feature_names_ptr& features) { return ensure(features); }};
  }

  const char* name = "item_sync";

private:
  using time_point = deadline::clock::time_point;

  struct waiting {
    caf::typed_response_promise<bool> promise;
    feature_names_ptr features;
    std::uint64_t decided_by; ///< The first scan that was planned with them.
  };

  /// What the snapshot in force is kept up with.
  struct following {
    scan_plan plan;
    std::vector<std::string> places; ///< By replica, in the order of all changes.
  };

  /// A replica whose changes cannot be read.
  struct away {
    error why;
    time_point ask_again;
    std::uint64_t tag = 0; ///< Of the question whether it is back; 0: none is under way.
  };

  time_point now() const { return self_->home_system().clock().now(); }

  bool has(const std::vector<std::string>& features) const {
    auto items = deps_.items->get();
    auto& names = items->feature_names();
    return std::all_of(features.begin(), features.end(), [&](auto& each) {
      return std::find(names.begin(), names.end(), each) != names.end();
    });
  }

  caf::result<bool> ensure(const feature_names_ptr& features) {
    ensured_ = features;
    if (has(*features))
      return true;
    auto promise = self_->make_response_promise<bool>();
    // The scan under way was planned before: the one after it counts.
    waiting_.push_back({promise, features, scan_number_ + 1});
    if (!scan_)
      begin_scan(wanted_features());
    return promise;
  }

  std::vector<std::string> wanted_features() const {
    auto out = deps_.releases->get()->item_features();
    if (ensured_)
      out.insert(out.end(), ensured_->begin(), ensured_->end());
    return out;
  }

  /// Begins what is due, and wakes up for what is next.
  void go_on() {
    if (!scan_ && now() >= next_scan_)
      begin_scan(wanted_features());
    if (scan_ && scan_read_ && !round_)
      catch_up();
    if (may_follow() && now() >= next_round_)
      follow();
    if (following_)
      ask_who_is_away();
    auto wake = scan_ ? time_point::max() : next_scan_;
    if (may_follow())
      wake = std::min(wake, next_round_);
    for (auto& [replica, each] : away_)
      if (following_ && each.tag == 0)
        wake = std::min(wake, each.ask_again);
    tick_.stop();
    if (wake != time_point::max())
      tick_.start(std::max<deadline::clock::duration>(wake - now(), 0ms));
  }

  /// While a scan catches up nothing else changes the items: it must not be behind those that it replaces.
  bool may_follow() const {
    return following_ && !round_ && !(scan_ && scan_read_) && away_.size() < deps_.replicas;
  }

  void begin_scan(const std::vector<std::string>& of_models) {
    ++scan_number_;
    scan_read_ = false;
    scan_ = std::make_shared<item_scan>();
    scan_->plan = plan_scan(deps_.settings->item_features, of_models);
    scan_->of_models = !of_models.empty();
    scan_->replicas = deps_.replicas;
    scan_->began = now();
    scan_->space = deps_.items->get()->space();
    ask_page();
  }

  /// Before the first page of a replica its place is asked for: what changes from here on is read again.
  void ask_page() {
    scan_tag_ = next_tag_++;
    if (scan_->places.size() <= scan_->replica)
      ask(scan_->replica, scan_tag_, wire::Kind::feature_changes,
          feature_store::encode_changes({"item", scan_->plan.names, {}, 0, false}));
    else
      ask(scan_->replica, scan_tag_, wire::Kind::scan_features,
          feature_store::encode_scan("item", scan_->plan.names, scan_->after, deps_.settings->item_page, 0));
  }

  void follow() {
    round_ = std::make_shared<item_round>();
    round_->plan = following_->plan;
    round_->places = following_->places;
    round_->items = deps_.items->get();
    round_->records_only = now() < next_trends_;
    round_->began = now();
    round_->left = all_replicas();
    // Where the trends of the one before were left, so that each has its turn.
    if (!round_->records_only)
      std::ranges::rotate(round_->left, round_->left.begin() + trends_from_);
    std::erase_if(round_->left, [this](auto each) { return away_.contains(each); });
    round_->whole = away_.empty();
    ask_changes();
  }

  std::vector<std::uint32_t> all_replicas() const {
    std::vector<std::uint32_t> out(deps_.replicas);
    std::iota(out.begin(), out.end(), 0u);
    return out;
  }

  /// What own records have changed while all were read, over what was read; what events have changed since
  /// then comes with the trends.
  void catch_up() {
    round_ = std::make_shared<item_round>();
    round_->plan = scan_->plan;
    round_->places = scan_->places;
    round_->items = scan_->built;
    round_->of_scan = true;
    round_->began = now();
    round_->left = all_replicas();
    ask_changes();
  }

  void ask_changes() {
    round_tag_ = next_tag_++;
    auto replica = round_->left.front();
    ask(replica, round_tag_, wire::Kind::feature_changes,
        feature_store::encode_changes({"item", round_->plan.names, round_->places[replica],
                                       std::min(deps_.settings->item_page, most_changes),
                                       round_->records_only}));
  }

  /// Beside the rounds: who is hung must not hold up the others.
  void ask_who_is_away() {
    for (auto& [replica, each] : away_)
      if (each.tag == 0 && now() >= each.ask_again) {
        each.tag = next_tag_++;
        ask(replica, each.tag, wire::Kind::feature_changes,
            feature_store::encode_changes(
                {"item", following_->plan.names, following_->places[replica], 1, true}));
      }
  }

  void ask(std::uint32_t replica, std::uint64_t tag, wire::Kind kind, chunk question) {
    net::call_for(deps_.features, replica, item_sync_actor{self_}, tag, kind, std::move(question),
                  deadline::in(deps_.settings->page_timeout));
  }

  void on_reply(std::uint64_t tag, const net::result_ptr& result) {
    if (scan_ && tag == scan_tag_)
      on_scan_reply(result);
    else if (round_ && tag == round_tag_)
      on_round_reply(result);
    else if (auto found = std::ranges::find(away_, tag, [](auto& each) { return each.second.tag; });
             found != away_.end())
      on_reply_of_away(found->first, result);
  }

  void on_scan_reply(const net::result_ptr& result) {
    if (!*result)
      return end_scan(result->error());
    if (scan_->places.size() <= scan_->replica) {
      auto page = feature_store::decode_changes((*result)->payload);
      if (!page)
        return end_scan(page.error());
      scan_->places.push_back(std::move(page->next));
      return ask_page();
    }
    if (auto posted = read_in_pool(scan_, result, read_page); !posted)
      end_scan(posted.error());
  }

  void on_round_reply(const net::result_ptr& result) {
    if (!*result)
      return leave_out(result->error());
    if (auto posted = read_in_pool(round_, result, read_changes); !posted)
      leave_out(posted.error());
  }

  void on_reply_of_away(std::uint32_t replica, const net::result_ptr& result) {
    if (!*result) {
      set_away(replica, result->error());
    } else {
      away_.erase(replica);
      next_round_ = now();
    }
    tell();
    go_on();
  }

  template <class Reading>
  expected<void> read_in_pool(const std::shared_ptr<Reading>& into, const net::result_ptr& result,
                              expected<void> (*read)(Reading&, const chunk&)) {
    return deps_.post(
        [weak = weak_handle{item_sync_actor{self_}}, into, result, read, releases = deps_.releases] {
          if (auto done = read(*into, (*result)->payload); !done)
            into->failed = done.error();
          else
            bind(*into, *releases->get());
          if (auto to = weak.lock())
            caf::anon_send(to, page_atom::value, into);
        });
  }

  void on_page(const item_scan_ptr& scan) {
    if (scan != scan_)
      return;
    if (scan->failed)
      return end_scan(*scan->failed);
    if (!scan->built)
      return ask_page();
    scan_read_ = true;
    go_on();
  }

  void on_changes(const item_round_ptr& round) {
    if (round != round_)
      return;
    if (auto failed = std::exchange(round->failed, std::nullopt))
      return leave_out(std::move(*failed));
    if (round->reset)
      return on_reset();
    if (!round->of_scan)
      publish(round->items);
    go_on_with_round();
  }

  void go_on_with_round() {
    // Own records must not wait for trends.
    bool long_enough = !round_->records_only && now() - round_->began >= deps_.settings->item_changes;
    if (round_->left.empty() || long_enough)
      end_round();
    else
      ask_changes();
  }

  /// The round goes on with the other replicas.
  void leave_out(error failed) {
    if (round_->of_scan) {
      round_ = nullptr;
      return end_scan(std::move(failed));
    }
    set_away(round_->left.front(), std::move(failed));
    round_->left.erase(round_->left.begin());
    round_->whole = false;
    go_on_with_round();
  }

  void set_away(std::uint32_t replica, error why) {
    deps_.metrics->item_change_failures.add();
    if (!away_.contains(replica))
      log::warn("item-changes-unknown", "ranker goes on without changes of items from replica {}: {}",
                replica, render(why));
    // What will not come right by itself: other features are there now than when the scan was planned.
    if (disposition_of(why.code) != error_disposition::retry_later)
      next_scan_ = now();
    away_.insert_or_assign(replica, away{std::move(why), now() + after_failure});
  }

  /// The feature store has forgotten where we were: it was started again, or very much has changed.
  void on_reset() {
    deps_.metrics->item_resets.add();
    if (!round_->records_only) { // Own records may be known all the same: they are followed on.
      next_scan_ = std::min(next_scan_, rested_);
      round_->reset = false;
      round_->left.erase(round_->left.begin());
      round_->whole = false;
      return go_on_with_round();
    }
    auto round = std::exchange(round_, nullptr);
    if (!round->of_scan) {
      following_.reset();
      next_scan_ = now();
      return go_on();
    }
    if (following_) // What is in force is newer than what was read.
      return end_scan(error{ec::unavailable, "more items changed while all were read than are remembered"});
    publish(scan_->built);
    end_scan(std::nullopt);
    next_scan_ = now() + after_failure;
    go_on();
  }

  void publish(const item_snapshot_ptr& items) {
    auto old = deps_.items->get();
    if (items == old)
      return;
    deps_.items->set(items);
    // Freed on the pool, unless somebody still reads it. Where the pool is full, here.
    (void)deps_.post([held = std::move(old)] {});
    auto count = static_cast<double>(items->size());
    deps_.metrics->items.set(count);
    deps_.report.gauge("items", count);
  }

  void end_round() {
    auto round = std::exchange(round_, nullptr);
    deps_.metrics->item_changes.add(static_cast<double>(round->changed));
    if (round->changed > 0)
      deps_.metrics->item_change_time.set(static_cast<double>(micros_of(wall_now())) / 1e6);
    if (!round->records_only) {
      bool ended = round->left.empty();
      trends_from_ = ended ? 0 : round->left.front();
      next_trends_ = now() + std::max<deadline::clock::duration>(ended ? deps_.settings->item_trends : 0ms,
                                                                 rest * (now() - round->began));
    }
    next_round_ = round->began + deps_.settings->item_changes;
    following_ = following{std::move(round->plan), std::move(round->places)};
    if (round->of_scan) {
      next_trends_ = scan_->began + deps_.settings->item_trends;
      away_.clear();
      publish(round->items);
      return end_scan(std::nullopt);
    }
    tell();
    go_on();
  }

  /// `failed`: why the scan has not given a snapshot.
  void end_scan(std::optional<error> failed) {
    auto scan = std::exchange(scan_, nullptr);
    if (failed && scan->of_models && disposition_of(failed->code) != error_disposition::retry_later) {
      lacking_ = std::move(failed);
      return begin_scan({});
    }
    auto lacking = std::exchange(lacking_, std::nullopt);
    if (failed) {
      deps_.metrics->item_scan_failures.add();
      log::warn("items-kept", "ranker keeps its snapshot of {} items: {}", deps_.items->get()->size(),
                render(*failed));
    } else {
      deps_.metrics->item_scans.add();
    }
    scan_problem_ = failed    ? "the state of items cannot be read: " + failed->text
                    : lacking ? "features of items that models want cannot be read: " + lacking->text
                              : std::string{};
    tell();
    auto pause =
        std::max<deadline::clock::duration>(deps_.settings->item_refresh, rest * (now() - scan->began));
    next_scan_ = now() + (failed ? std::min<deadline::clock::duration>(pause, after_failure) : pause);
    rested_ = now() + rest * (now() - scan->began);
    answer_waiting(lacking ? lacking : failed);
    go_on();
  }

  void tell() {
    if (!scan_problem_.empty())
      deps_.report.degraded(scan_problem_);
    else if (!away_.empty())
      deps_.report.degraded(fmt::format("changes of items cannot be read from replica {}: {}",
                                        away_.begin()->first, away_.begin()->second.why.text));
    else
      deps_.report.ready();
  }

  void answer_waiting(const std::optional<error>& failed) {
    std::vector<waiting> left;
    for (auto& each : std::exchange(waiting_, {}))
      if (has(*each.features))
        each.promise.deliver(true);
      else if (each.decided_by > scan_number_)
        left.push_back(std::move(each));
      else
        each.promise.deliver(
            to_caf(failed.value_or(error{ec::unavailable, "the state of items cannot be read"})));
    waiting_ = std::move(left);
    if (!waiting_.empty())
      begin_scan(wanted_features());
  }

  pointer self_;
  item_sync_deps deps_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  std::uint64_t next_tag_ = 1;

  item_scan_ptr scan_;     ///< Under way; null between two.
  bool scan_read_ = false; ///< All of its pages are, and the pool is done with it.
  std::uint64_t scan_tag_ = 0;
  std::uint64_t scan_number_ = 0;
  time_point next_scan_{}, rested_{};
  std::optional<error> lacking_; ///< Why the scan under way goes without features of models.
  std::string scan_problem_;

  std::optional<following> following_; ///< Nothing: the items are to be scanned first.
  item_round_ptr round_;               ///< Under way; null between two.
  std::uint64_t round_tag_ = 0;
  time_point next_round_{}, next_trends_{};
  std::uint32_t trends_from_ = 0;      ///< The replica that the next round of trends begins with.
  std::map<std::uint32_t, away> away_; ///< By replica.

  feature_names_ptr ensured_;
  std::vector<waiting> waiting_;
};

} // namespace

item_sync_actor spawn_item_sync(caf::actor_system& system, item_sync_deps deps) {
  auto behaviour = [](item_sync_state::pointer self, const std::shared_ptr<item_sync_deps>& from) {
    return self->state.make_behavior(std::move(*from));
  };
  return system.spawn(behaviour, std::make_shared<item_sync_deps>(std::move(deps)));
}

} // namespace troupe::ranker
