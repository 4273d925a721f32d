#include "services/ranker/catalogue_keeper.hpp"

#include "services/feature_store/client/feature_client.hpp"

#include "common/log/log.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

/// The attribute that a feature stands for: what follows the dot.
std::string attribute_named(const std::string& feature) {
  return feature.substr(feature.find('.') + 1);
}

attribute_value value_in(const feature_store::feature_column& column, std::size_t row) {
  if (!column.texts.empty())
    return column.texts[row];
  if (!column.lists.empty())
    return column.lists[row];
  return column.numbers.empty() ? 0.0 : column.numbers[row];
}

void take_value(item_card& into, const std::string& feature, const feature_store::feature_column& column,
                std::size_t row) {
  auto number = column.numbers.empty() ? 0 : column.numbers[row];
  if (feature == "item_card.hidden")
    into.hidden = number != 0;
  else if (feature == "item_card.expires")
    into.expires = static_cast<std::int64_t>(number);
  else if (feature == "item_card.created")
    into.created = static_cast<std::int64_t>(number);
  else if (feature == "item_trend.decayed")
    into.trend = number;
  else if (feature == "item_card.title" && !column.texts.empty())
    into.title = column.texts[row];
  into.attributes.push_back({attribute_named(feature), value_in(column, row)});
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
    scanned_.notify_all();
  }
  if (thread_.joinable())
    thread_.join();
}

void catalogue_keeper::follow(std::function<std::vector<std::string>()> wanted) {
  std::lock_guard lock{mutex_};
  wanted_ = std::move(wanted);
}

expected<void> catalogue_keeper::bring(const std::vector<std::string>& features, deadline until) {
  std::unique_lock lock{mutex_};
  brought_ = features;
  auto has = [&] {
    auto& names = current_->feature_names();
    return std::all_of(features.begin(), features.end(), [&](auto& each) {
      return std::find(names.begin(), names.end(), each) != names.end();
    });
  };
  // The scan under way was planned before: the one after it counts.
  auto enough = scans_ + 2;
  while (!has() && !stopping_) {
    at_once_ = true;
    wake_.notify_one();
    if (scans_ >= enough)
      return lacking_ ? expected<void>{unexpected<error>{*lacking_}}
                      : fail(ec::unavailable, "the catalogue of items cannot be refreshed");
    if (until.passed())
      return fail(ec::too_late, "the catalogue of items was not read again in time");
    scanned_.wait_until(lock, until.at());
  }
  return {};
}

catalogue_keeper::plan catalogue_keeper::what(const std::vector<std::string>& of_models) const {
  plan out;
  out.names = {"item_card.title",   "item_card.genres",  "item_card.hidden",
               "item_card.expires", "item_card.created", "item_trend.decayed"};
  for (auto& each : settings_->item_features)
    if (std::find(out.names.begin(), out.names.end(), each) == out.names.end())
      out.names.push_back(each);
  out.attributes = out.names.size();
  for (auto& each : of_models) {
    auto at = std::find(out.names.begin(), out.names.end(), each);
    auto column = static_cast<std::size_t>(at - out.names.begin());
    if (std::find(out.columns.begin(), out.columns.end(), column) != out.columns.end())
      continue;
    out.columns.push_back(column);
    if (at == out.names.end())
      out.names.push_back(each);
  }
  return out;
}

expected<catalogue_ptr> catalogue_keeper::scan(const plan& what) {
  auto since = deadline::clock::now();
  std::vector<item_card> out;
  std::vector<std::string> views;
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
                          feature_store::encode_scan("item", what.names, after, settings_->catalogue_page, 0),
                          deadline::in(settings_->page_timeout)));
      TROUPE_TRY(page, feature_store::decode_page(got.payload));
      auto& columns = page.features.columns;
      if (columns.size() != what.names.size())
        return fail(ec::corrupt, "a page of items has {} columns, asked were {}", columns.size(),
                    what.names.size());
      last = page.last || page.ids.empty();
      if (!page.ids.empty())
        after = page.ids.back();
      for (std::size_t i = 0; i < page.ids.size(); ++i) {
        auto& card = out.emplace_back();
        card.id = std::move(page.ids[i]);
        card.deleted = page.features.deleted[i] != 0;
        for (std::size_t c = 0; c < what.attributes; ++c)
          if (columns[c].status[i] == wire::FeatureStatus::present)
            take_value(card, what.names[c], columns[c], i);
        for (auto c : what.columns)
          if (columns[c].status[i] == wire::FeatureStatus::present)
            card.features.emplace_back(value_in(columns[c], i));
          else
            card.features.emplace_back(std::nullopt);
      }
      views = std::move(page.features.view_versions);
    }
  }
  std::vector<std::string> names;
  for (auto c : what.columns)
    names.push_back(what.names[c]);
  return std::make_shared<const item_catalogue>(std::move(out), since, std::move(names), std::move(views));
}

void catalogue_keeper::work() {
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    at_once_ = false;
    auto of_models = brought_;
    auto wanted = wanted_;
    lock.unlock();
    if (wanted)
      for (auto& each : wanted())
        of_models.push_back(each);
    auto made = scan(what(of_models));
    std::optional<error> lacking;
    if (!made && !of_models.empty() && remedy_of(made.error().code) != remedy::retry_later) {
      lacking = made.error();
      made = scan(what({}));
    }
    catalogue_ptr old;
    lock.lock();
    if (made) {
      old = std::exchange(current_, *made);
      metrics_->catalogue_items.set(static_cast<double>(current_->size()));
      report_.gauge("catalogue_items", static_cast<double>(current_->size()));
      if (lacking)
        report_.degraded("features of items that models want cannot be read: " + lacking->text);
      else
        report_.ready();
    } else if (!stopping_) {
      metrics_->catalogue_failures.add();
      log::warn("catalogue-kept", "ranker keeps its catalogue of {} items: {}", current_->size(),
                render(made.error()));
      report_.degraded("the catalogue of items cannot be refreshed: " + made.error().text);
    }
    lacking_ = lacking ? lacking : made ? std::nullopt : std::optional{made.error()};
    ++scans_;
    scanned_.notify_all();
    if (old) {
      lock.unlock();
      old.reset(); // Freed off the serving threads, unless somebody still reads it.
      lock.lock();
    }
    // After a failure soon again: a feature store that comes back should not wait for us.
    wake_.wait_for(lock,
                   made ? settings_->catalogue_refresh
                        : std::min(settings_->catalogue_refresh, std::chrono::milliseconds{1000}),
                   [&] { return stopping_ || at_once_; });
  }
}

} // namespace troupe::ranker
