#include "services/gateway/actors/fallback_items.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/gateway/http/consistency_token.hpp"

#include "common/event/slate.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <set>
#include <unordered_map>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_listed = 1'000;
constexpr std::size_t most_counted = 20'000;
constexpr std::uint32_t scan_page = 10'000;
constexpr auto scan_timeout = 5s;  ///< Of all pages together.
constexpr auto refresh_empty = 1s; ///< While there is no list.
constexpr double weight_of_event = 1, weight_of_showing = 0.01;

struct candidate {
  double score = 0;
  fallback_item item;
};

/// The items of a page that may be shown, with how they trend.
std::vector<candidate> candidates_of(feature_store::feature_page page, timestamp now) {
  std::vector<candidate> out;
  const auto& columns = page.features.columns;
  for (std::size_t i = 0; i < page.ids.size() && columns.size() == 4; ++i) {
    auto number = [&](std::size_t c) {
      return columns[c].status[i] != wire::FeatureStatus::missing && i < columns[c].numbers.size()
                 ? columns[c].numbers[i]
                 : 0.0;
    };
    auto words = [&](std::size_t c) {
      return columns[c].status[i] != wire::FeatureStatus::missing && i < columns[c].texts.size()
                 ? columns[c].texts[i]
                 : std::string{};
    };
    auto expires = number(3) == 0 ? std::nullopt : epoch_of(number(3));
    bool over = expires && *expires <= now;
    if (number(0) > 0 && !feature_store::is_set(columns[1], i) && !over)
      out.push_back({number(0), {page.ids[i], words(2)}});
  }
  return out;
}

class fallback_items_state {
public:
  using pointer = fallback_items_actor::stateful_pointer<fallback_items_state>;
  explicit fallback_items_state(pointer self) : self_{self}, tick_{self, refresh_empty} {}

  fallback_items_actor::behavior_type make_behavior(deps_ptr deps) {
    deps_ = std::move(deps);
    tick_.start(0s);
    return {[this](shown_atom, const fallback_items_ptr& items) {
              for (const auto& each : *items)
                count(each.item, weight_of_showing, each.title);
            },
            [this](written_atom, const records_ptr& rows) {
              for (const auto& each : *rows)
                note_written(each);
              return done_atom::value;
            },
            tick_.handler([this] { refresh(); }),
            [this](net::reply_atom, std::uint64_t replica, const net::result_ptr& result) {
              on_page(static_cast<std::uint32_t>(replica), *result);
            }};
  }

  const char* name = "fallback_items";

private:
  void count(const std::string& item, double times, const std::string& title) {
    auto& to = counted_[item];
    to.score += times;
    if (!title.empty())
      to.item.title = title;
    if (counted_.size() <= most_counted)
      return;
    for (auto at = counted_.begin(); at != counted_.end();)
      at = (at->second.score /= 2) < 1 ? counted_.erase(at) : std::next(at);
  }

  void note_written(const record& added) {
    if (added.kind == record_kind::event && added.type != impression_type)
      return count(added.item, weight_of_event, {});
    if (added.kind != record_kind::item)
      return;
    if (change_by(added) == item_change::written) {
      taken_out_.erase(added.item);
      taken_out_before_.erase(added.item);
      return;
    }
    taken_out_.insert(added.item);
    counted_.erase(added.item);
    auto list = *deps_->fallback.get();
    if (std::erase_if(list.items, [&](const fallback_item& each) { return each.item == added.item; }) > 0)
      publish(std::move(list));
  }

  void refresh() {
    tick_.stop();
    // The feature store may be behind: what was taken out stays out for two scans.
    taken_out_before_ = std::exchange(taken_out_, {});
    found_.clear();
    seen_ = {};
    scan_until_ = deadline::in(scan_timeout);
    if (deps_->behind.features)
      scan(0, {});
    else
      finish(false);
  }

  void scan(std::uint32_t replica, const std::string& after) {
    deps_->behind.features.ask(
        fallback_items_actor{self_}, replica, wire::Kind::scan_features,
        feature_store::encode_scan(
            "item",
            {deps_->settings->trending_feature, "item_card.hidden", "item_card.title", "item_card.expires"},
            after, scan_page, 0),
        scan_until_, {}, replica);
  }

  void on_page(std::uint32_t replica, const expected<net::reply>& got) {
    auto page = got ? feature_store::decode_page(got->payload)
                    : expected<feature_store::feature_page>{unexpected<error>{got.error()}};
    if (!page)
      return finish(false);
    bool last = page->last || page->ids.empty();
    auto after = last ? std::string{} : page->ids.back();
    seen_.add(page->features.applied);
    auto more = candidates_of(std::move(*page), wall_now());
    found_.insert(found_.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    keep_best();
    if (!last)
      scan(replica, after);
    else if (replica + 1 < deps_->behind.features.replicas())
      scan(replica + 1, {});
    else
      finish(!found_.empty());
  }

  void keep_best() {
    auto most = std::min(found_.size(), most_listed);
    std::ranges::partial_sort(found_, found_.begin() + static_cast<std::ptrdiff_t>(most),
                              [](const candidate& a, const candidate& b) {
                                return a.score != b.score ? a.score > b.score : a.item.item < b.item.item;
                              });
    found_.resize(most);
  }

  /// The list of before goes on where there is no new one; without one, what callers used most is next best.
  void finish(bool known) {
    if (known || deps_->fallback.get()->items.empty()) {
      if (!known) {
        found_.clear();
        for (const auto& [item, each] : counted_)
          found_.push_back({each.score, {item, each.item.title}});
        keep_best();
        seen_ = {};
      }
      fallback_list list;
      list.seen = seen_;
      for (auto& each : found_)
        if (!taken_out_.contains(each.item.item) && !taken_out_before_.contains(each.item.item))
          list.items.push_back(std::move(each.item));
      publish(std::move(list), known);
    }
    found_.clear();
    tick_.start(deps_->fallback.get()->items.empty() ? refresh_empty : deps_->settings->trending_refresh);
  }

  void publish(fallback_list list, bool keep = true) {
    if (keep)
      if (auto done = deps_->state->put_state({{fallback_state, write_fallback_list(list)}}); !done)
        log::warn("fallback-not-kept", "gateway cannot keep its fallback list: {}", render(done.error()));
    deps_->fallback.set(std::make_shared<const fallback_list>(std::move(list)));
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  deps_ptr deps_;
  std::unordered_map<std::string, candidate> counted_; ///< By item: used by callers, shown by rankers.
  std::set<std::string> taken_out_, taken_out_before_; ///< Since the scan under way began, and before.
  std::vector<candidate> found_;                       ///< By the scan under way.
  feature_store::applied_offsets seen_;                ///< By its pages.
  deadline scan_until_{deadline::clock::time_point::max()};
};

} // namespace

fallback_items_actor spawn_fallback_items(caf::actor_system& system, deps_ptr deps) {
  auto behaviour = [](fallback_items_state::pointer self, const deps_ptr& shared) {
    return self->state.make_behavior(shared);
  };
  return system.spawn(behaviour, deps);
}

} // namespace troupe::gateway
