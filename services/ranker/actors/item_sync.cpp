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

namespace troupe::ranker {

namespace {

using namespace std::chrono_literals;

class item_sync_state {
public:
  using pointer = item_sync_actor::stateful_pointer<item_sync_state>;
  explicit item_sync_state(pointer self) : self_{self} {}

  item_sync_actor::behavior_type make_behavior(item_sync_deps deps) {
    deps_ = std::move(deps);
    tick_.emplace(self_, deps_.settings->item_refresh);
    tick_->start(0ms);
    self_->set_exit_handler([this](caf::exit_msg& message) {
      for (auto& each : std::exchange(waiting_, {}))
        each.promise.deliver(to_caf({ec::stopping, "the ranker is stopping"}));
      self_->quit(std::move(message.reason));
    });
    return {
        tick_->handler([this] { begin(wanted_features()); }),
        [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) { on_reply(tag, result); },
        [this](page_atom, const item_scan_ptr& scan) { on_page(scan); },
        [this](ensure_atom, const feature_names_ptr& features) { return ensure(features); }};
  }

  const char* name = "item_sync";

private:
  struct waiting {
    caf::typed_response_promise<bool> promise;
    feature_names_ptr features;
    std::uint64_t decided_by; ///< The first scan that was planned with them.
  };

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
      begin(wanted_features());
    return promise;
  }

  std::vector<std::string> wanted_features() const {
    auto out = deps_.releases->get()->item_features();
    if (ensured_)
      out.insert(out.end(), ensured_->begin(), ensured_->end());
    return out;
  }

  void begin(const std::vector<std::string>& of_models) {
    tick_->stop();
    ++scan_number_;
    scan_ = std::make_shared<item_scan>();
    scan_->plan = plan_scan(deps_.settings->item_features, of_models);
    scan_->of_models = !of_models.empty();
    scan_->began = deadline::clock::now();
    scan_->space = deps_.items->get()->space();
    ask_page();
  }

  void ask_page() {
    net::call_for(
        deps_.features, scan_->replica, item_sync_actor{self_}, scan_number_, wire::Kind::scan_features,
        feature_store::encode_scan("item", scan_->plan.names, scan_->after, deps_.settings->item_page, 0),
        deadline::in(deps_.settings->page_timeout));
  }

  void on_reply(std::uint64_t tag, const net::result_ptr& result) {
    if (!scan_ || tag != scan_number_)
      return;
    if (!*result)
      return end(result->error());
    auto posted = deps_.post(
        [weak = weak_handle{item_sync_actor{self_}}, scan = scan_, result, replicas = deps_.replicas] {
          if (auto read = read_page(*scan, (*result)->payload, replicas); !read)
            scan->failed = read.error();
          if (auto to = weak.lock())
            caf::anon_send(to, page_atom::value, scan);
        });
    if (!posted)
      end(posted.error());
  }

  /// On the pool: the page into the scan; after the last page of the last replica the snapshot is built.
  static expected<void> read_page(item_scan& scan, const chunk& payload, std::uint32_t replicas) {
    TROUPE_TRY(page, feature_store::decode_page(payload));
    bool last = page.last || page.ids.empty();
    scan.after = last ? std::string{} : page.ids.back();
    scan.replica += last ? 1 : 0;
    scan.views = std::move(page.features.view_versions);
    scan.applied.add(page.features.applied);
    TROUPE_CHECK(append_page(std::move(page), scan.plan, scan.items));
    if (scan.replica < replicas)
      return {};
    snapshot_origin origin{scan.began, {}, std::move(scan.views), std::move(scan.applied)};
    for (auto c : scan.plan.columns)
      origin.features.push_back(scan.plan.names[c]);
    scan.built = std::make_shared<const item_snapshot>(scan.space, scan.items, std::move(origin));
    return {};
  }

  void on_page(const item_scan_ptr& scan) {
    if (scan != scan_)
      return;
    if (scan->failed)
      return end(*scan->failed);
    if (!scan->built)
      return ask_page();
    auto old = deps_.items->get();
    deps_.items->set(scan->built);
    // Freed on the pool, unless somebody still reads it. Where the pool is full, here.
    (void)deps_.post([held = std::move(old)] {});
    auto items = static_cast<double>(scan->built->size());
    deps_.metrics->items.set(items);
    deps_.report.gauge("items", items);
    end(std::nullopt);
  }

  /// `failed`: why the scan has not given a snapshot.
  void end(std::optional<error> failed) {
    bool of_models = scan_->of_models;
    scan_ = nullptr;
    if (failed && of_models && disposition_of(failed->code) != error_disposition::retry_later) {
      lacking_ = std::move(failed);
      return begin({});
    }
    auto lacking = std::exchange(lacking_, std::nullopt);
    if (failed) {
      deps_.metrics->item_scan_failures.add();
      log::warn("items-kept", "ranker keeps its snapshot of {} items: {}", deps_.items->get()->size(),
                render(*failed));
      deps_.report.degraded("the state of items cannot be refreshed: " + failed->text);
    } else if (lacking) {
      deps_.report.degraded("features of items that models want cannot be read: " + lacking->text);
    } else {
      deps_.report.ready();
    }
    // After a failure soon again: a feature store that comes back should not wait for us.
    tick_->start(failed ? std::min<std::chrono::milliseconds>(deps_.settings->item_refresh, 1s)
                        : deps_.settings->item_refresh);
    answer_waiting(lacking ? lacking : failed);
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
            to_caf(failed.value_or(error{ec::unavailable, "the state of items cannot be refreshed"})));
    waiting_ = std::move(left);
    if (!waiting_.empty())
      begin(wanted_features());
  }

  pointer self_;
  item_sync_deps deps_;
  std::optional<self_tick<std::remove_pointer_t<pointer>>> tick_;
  item_scan_ptr scan_; ///< Under way; null between two.
  std::uint64_t scan_number_ = 0;
  std::optional<error> lacking_; ///< Why the scan under way goes without features of models.
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
