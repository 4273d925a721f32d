#include "services/ranker/catalogue_keeper.hpp"

#include "services/feature_store/feature_client.hpp"

#include "common/log/log.hpp"

namespace troupe::ranker {

namespace {

/// The attribute that a feature stands for: what follows the dot.
std::string attribute_named(const std::string& feature) {
  return feature.substr(feature.find('.') + 1);
}

void take_value(item_card& into, const std::string& feature, const feature_store::feature_column& column,
                std::size_t row) {
  auto number = column.numbers.empty() ? 0 : column.numbers[row];
  if (feature == "item_card.hidden")
    into.hidden = number != 0;
  else if (feature == "item_card.deleted")
    into.deleted = number != 0;
  else if (feature == "item_card.expires")
    into.expires = static_cast<std::int64_t>(number);
  else if (feature == "item_card.created")
    into.created = static_cast<std::int64_t>(number);
  else if (feature == "item_trend.decayed")
    into.trend = number;
  else if (feature == "item_card.title" && !column.texts.empty())
    into.title = column.texts[row];
  attribute made{attribute_named(feature), number};
  if (!column.texts.empty())
    made.value = column.texts[row];
  else if (!column.lists.empty())
    made.value = column.lists[row];
  into.attributes.push_back(std::move(made));
}

} // namespace

catalogue_keeper::catalogue_keeper(std::shared_ptr<net::client> features,
                                   std::shared_ptr<const config> settings,
                                   std::shared_ptr<service_metrics> metrics, health::report report)
    : features_{std::move(features)}, settings_{std::move(settings)}, metrics_{std::move(metrics)},
      report_{std::move(report)}, thread_{[this] { work(); }} {}

catalogue_keeper::~catalogue_keeper() {
  stop();
}

catalogue_ptr catalogue_keeper::current() const {
  std::lock_guard lock{mutex_};
  return current_;
}

void catalogue_keeper::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable())
    thread_.join();
}

expected<std::vector<item_card>> catalogue_keeper::scan() {
  std::vector<std::string> names{"item_card.title",   "item_card.genres",  "item_card.hidden",
                                 "item_card.deleted", "item_card.expires", "item_card.created",
                                 "item_trend.decayed"};
  names.insert(names.end(), settings_->item_features.begin(), settings_->item_features.end());
  std::vector<item_card> out;
  for (std::uint32_t r = 0; r < features_->replicas(); ++r) {
    std::string after;
    for (bool last = false; !last;) {
      {
        std::lock_guard lock{mutex_};
        if (stopping_)
          return fail(ec::stopping, "the ranker is stopping");
      }
      TROUPE_TRY(got, features_->call_to(
                          r, wire::Kind::scan_features,
                          feature_store::encode_scan("item", names, after, settings_->catalogue_page, 0),
                          deadline::in(settings_->page_timeout)));
      TROUPE_TRY(page, feature_store::decode_page(got.payload));
      if (page.features.columns.size() != names.size())
        return fail(ec::corrupt, "a page of items has {} columns, asked were {}",
                    page.features.columns.size(), names.size());
      last = page.last || page.ids.empty();
      if (!page.ids.empty())
        after = page.ids.back();
      for (std::size_t i = 0; i < page.ids.size(); ++i) {
        auto& card = out.emplace_back();
        card.id = std::move(page.ids[i]);
        for (std::size_t c = 0; c < names.size(); ++c)
          if (page.features.columns[c].status[i] == wire::FeatureStatus::present)
            take_value(card, names[c], page.features.columns[c], i);
      }
    }
  }
  return out;
}

void catalogue_keeper::work() {
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    lock.unlock();
    auto since = deadline::clock::now();
    auto items = scan();
    auto made = items ? std::make_shared<const item_catalogue>(std::move(*items), since) : nullptr;
    catalogue_ptr old;
    lock.lock();
    if (made) {
      old = std::exchange(current_, made);
      metrics_->catalogue_items.set(static_cast<double>(made->size()));
      report_.gauge("catalogue_items", static_cast<double>(made->size()));
      report_.ready();
    } else if (!stopping_) {
      metrics_->catalogue_failures.add();
      log::warn("catalogue-kept", "ranker keeps its catalogue of {} items: {}", current_->size(),
                render(items.error()));
      report_.degraded("the catalogue of items cannot be refreshed: " + items.error().text);
    }
    if (old) {
      lock.unlock();
      old.reset(); // Freed off the serving threads, unless somebody still reads it.
      lock.lock();
    }
    // After a failure soon again: a feature store that comes back should not wait for us.
    wake_.wait_for(lock,
                   made ? settings_->catalogue_refresh
                        : std::min(settings_->catalogue_refresh, std::chrono::milliseconds{1000}),
                   [&] { return stopping_; });
  }
}

} // namespace troupe::ranker
