#include "services/feature_store/client/feature_client.hpp"
#include "services/gateway/api.hpp"

#include "common/http/problem.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <boost/json.hpp>

#include <algorithm>
#include <future>

/// What the gateway does beside requests.
namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using flatbuffers::FlatBufferBuilder;

} // namespace

expected<net::reply> api::ask_and_wait(net::client& from, wire::Kind kind, chunk payload,
                                       std::chrono::milliseconds span) {
  auto answer = std::make_shared<std::promise<expected<net::reply>>>();
  auto future = answer->get_future();
  from.call_async(kind, std::move(payload), deadline::in(span),
                  [answer](expected<net::reply> got) { answer->set_value(std::move(got)); });
  while (future.wait_for(50ms) != std::future_status::ready) {
    std::lock_guard lock{stop_mutex_};
    if (stopping_)
      return fail(ec::stopping, "the gateway stops");
  }
  return future.get();
}

void api::routing_loop() {
  auto& deployer = parts_.behind.deployer;
  if (!deployer)
    return;
  bool said = false;
  for (;;) {
    FlatBufferBuilder out;
    out.Finish(wire::CreateRoutingQuery(out, routing_.current()->version, 10'000'000), "TRPD");
    auto got = ask_and_wait(*deployer, wire::Kind::routing, net::bytes_of(out), 15s);
    auto table =
        got ? routing_table::read(got->payload) : expected<routing_table>{unexpected<error>{got.error()}};
    if (table) {
      said = false;
      parts_.report.ready();
      if (table->version != routing_.current()->version) {
        log::info("routing-changed", "gateway routes by table {} with {} arms", table->version,
                  table->arms.size());
        if (auto kept = journal_->set_fact("routing", table->bytes.text()); !kept)
          log::warn("routing-not-kept", "gateway cannot keep the routing table: {}", render(kept.error()));
        routing_.set(std::make_shared<const routing_table>(std::move(*table)));
        continue;
      }
    } else if (!std::exchange(said, true)) {
      parts_.report.degraded(
          fmt::format("routing table {} goes on: {}", routing_.current()->version, table.error().text));
    }
    std::unique_lock lock{stop_mutex_};
    if (stop_wake_.wait_for(lock, table ? 100ms : 500ms, [&] { return stopping_; }))
      return;
  }
}

void api::report_arms() {
  auto& deployer = parts_.behind.deployer;
  if (!deployer)
    return;
  auto pending = journal_->fact("report");
  if (!pending)
    return;
  std::uint64_t number = 1;
  if (auto kept = journal_->fact("report-number"); kept && *kept && (*kept)->size() == 8)
    number = store::read_u64(**kept);
  chunk bytes;
  if (*pending && !(*pending)->empty())
    bytes = chunk::own(std::move(**pending));
  else {
    bytes = stats_.take(parts_.who, number);
    if (bytes.empty() || !journal_->set_fact("report", bytes.text()))
      return;
  }
  auto got = ask_and_wait(*deployer, wire::Kind::arm_report, bytes, 2s);
  if (!got)
    return;
  auto reply = net::read_as<wire::ArmReportReply>(got->payload, "TRPD", "ArmReportReply");
  if (!reply)
    return;
  std::string next;
  store::append_u64(next, std::max(number + 1, (*reply)->next_number()));
  if (journal_->set_fact("report-number", next))
    static_cast<void>(journal_->set_fact("report", ""));
}

expected<std::vector<std::pair<double, api::shown_item>>> api::scan_trending() {
  std::vector<std::pair<double, shown_item>> list;
  auto now = static_cast<double>(micros_of(wall_now()));
  auto take = [&](feature_store::feature_page page) {
    const auto& columns = page.features.columns;
    for (std::size_t i = 0; i < page.ids.size() && columns.size() == 4; ++i) {
      auto number = [&](std::size_t c) {
        return columns[c].status[i] != wire::FeatureStatus::missing && i < columns[c].numbers.size()
                   ? columns[c].numbers[i]
                   : 0.0;
      };
      auto text = [&](std::size_t c) {
        return columns[c].status[i] != wire::FeatureStatus::missing && i < columns[c].texts.size()
                   ? columns[c].texts[i]
                   : std::string{};
      };
      auto flag = [&](std::size_t c) { return number(c) != 0 || text(c) == "true" || text(c) == "1"; };
      if (number(0) > 0 && !flag(1) && (number(3) == 0 || number(3) > now))
        list.emplace_back(number(0), shown_item{page.ids[i], text(2)});
    }
  };
  TROUPE_CHECK(feature_store::scan_sharded(
      *parts_.behind.features, "item",
      {settings_.trending_feature, "item_card.hidden", "item_card.title", "item_card.expires"}, 10'000, 0,
      deadline::in(5s), take));
  return list;
}

void api::refresh_trending() {
  auto list = parts_.behind.features ? scan_trending() : std::vector<std::pair<double, shown_item>>{};
  bool known = list && !list->empty();
  std::lock_guard lock{mutex_};
  if (!known) { // The list of before goes on; without one, what callers used most is the next best.
    if (!trending_.empty())
      return;
    list.emplace();
    for (const auto& [item, count] : seen_)
      list->emplace_back(count.first, shown_item{item, count.second});
  }
  std::ranges::sort(*list, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second.item < b.second.item;
  });
  list->resize(std::min<std::size_t>(list->size(), 1'000));
  json::array kept;
  trending_.clear();
  for (auto& each : *list) {
    kept.push_back(json::array{each.second.item, each.second.title});
    trending_.push_back(std::move(each.second));
  }
  if (!known)
    return;
  if (auto done = journal_->set_fact("trending", json::serialize(kept)); !done)
    log::warn("trending-not-kept", "gateway cannot keep its fallback list: {}", render(done.error()));
}

void api::report_loop() {
  for (;;) {
    report_arms();
    auto queue = journal_->counters();
    parts_.report.gauge("impressions_waiting", static_cast<double>(queue.waiting));
    parts_.report.gauge("impressions_dropped", static_cast<double>(queue.dropped));
    parts_.report.gauge("routing_version", static_cast<double>(routing_.current()->version));
    std::unique_lock lock{stop_mutex_};
    if (stop_wake_.wait_for(lock, 1s, [&] { return stopping_; }))
      return;
  }
}

void api::chores_loop() {
  auto trending_at = deadline::clock::now(), expire_at = trending_at + 10s;
  for (;;) {
    auto now = deadline::clock::now();
    if (now >= trending_at) {
      refresh_trending();
      std::lock_guard lock{mutex_};
      trending_at = now + (trending_.empty() ? 1s : settings_.trending_refresh);
    }
    if (now >= expire_at) {
      if (auto done = journal_->expire(wall_now()); !done)
        parts_.report.failed(done.error());
      expire_at = now + 10s;
    }
    std::unique_lock lock{stop_mutex_};
    if (stop_wake_.wait_for(lock, 1s, [&] { return stopping_; }))
      return;
  }
}

} // namespace troupe::gateway
