#include "services/gateway/test_gateway.hpp"

#include "common/actor/actor_fixture.hpp"

#include "schemas/feature_store_generated.h"

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

using names = std::vector<std::string>;

struct trend {
  std::string item;
  double score = 1;
  bool hidden = false;
  double expires = 0;
};

struct trending : gateway_parts, troupe::testing::actor_fixture {
  fallback_items_actor items;
  std::uint64_t applied = 0; ///< Of partition 0, by the feature store.

  explicit trending(std::uint32_t replicas = 1) {
    feature_replicas = replicas;
    open_deps();
    start();
  }
  void start() {
    items = own(spawn_fallback_items(system, deps));
    run();
    advance(0ms);
  }
  names listed() const {
    names out;
    for (const auto& each : deps->fallback.get()->items)
      out.push_back(each.item);
    return out;
  }
  void page(const fake_service::question& asked, const std::vector<trend>& rows, bool last = true) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<std::string> ids;
    std::vector<double> scores, hidden, expires, none(rows.size());
    std::vector<std::uint8_t> there(rows.size(), 1), missing(rows.size(), 0);
    for (const auto& each : rows) {
      ids.push_back(each.item);
      scores.push_back(each.score);
      hidden.push_back(each.hidden ? 1 : 0);
      expires.push_back(each.expires);
    }
    auto column = [&](const char* name, const std::vector<double>& numbers, bool present) {
      auto label = out.CreateString(name);
      auto status = out.CreateVector(present ? there : missing);
      auto values = out.CreateVector(numbers);
      auto ages = out.CreateVector(std::vector<std::int64_t>(numbers.size()));
      wire::FeatureColumnBuilder made{out};
      made.add_name(label);
      made.add_status(flatbuffers::Offset<flatbuffers::Vector<wire::FeatureStatus>>{status.o});
      made.add_age_us(ages);
      made.add_numbers(values);
      return made.Finish();
    };
    std::vector<flatbuffers::Offset<wire::FeatureColumn>> columns{
        column("item_trend.decayed", scores, true), column("item_card.hidden", hidden, true),
        column("item_card.title", none, false), column("item_card.expires", expires, true)};
    auto list = out.CreateVector(columns);
    auto seen = out.CreateVectorOfStructs(std::vector<wire::PartitionOffset>{{0, applied}});
    wire::FeaturesBuilder features{out};
    features.add_columns(list);
    features.add_applied(seen);
    auto held = features.Finish();
    auto keys = out.CreateVectorOfStrings(ids);
    wire::FeatureScanPageBuilder made{out};
    made.add_ids(keys);
    made.add_features(held);
    made.add_last(last);
    out.Finish(made.Finish(), "TRPF");
    asked.answer(bytes_of(out));
    run();
  }
  std::string after_in(const fake_service::question& asked) const {
    return std::string{troupe::text_of(
        net::read_as<wire::FeatureScan>(asked.payload, "TRPF", "FeatureScan").value()->after())};
  }
  void written(record row) {
    auto rows = std::make_shared<const std::vector<record>>(1, std::move(row));
    CHECK(ask<done_atom>(items, written_atom::value, records_ptr{rows}));
  }
  void write_item(const std::string& item, bool deleted) {
    record row;
    row.kind = record_kind::item;
    row.item = item;
    row.attributes = {{"deleted", deleted}};
    written(std::move(row));
  }
  void clicked(const std::string& item) {
    record row;
    row.type = "click";
    row.item = item;
    written(std::move(row));
  }
};

} // namespace

TEST_CASE(
    "the list is what trends on all feature stores, page by page, without what is hidden, and outlives a "
    "restart") {
  trending gateway{2};
  auto first = gateway.features.next();
  CHECK(first.replica == 0);
  gateway.page(first, {{"i1", 3}, {"i2", 9, true}}, false);
  auto second = gateway.features.next();
  CHECK(second.replica == 0);
  CHECK(gateway.after_in(second) == "i2");
  gateway.page(second, {{"i3", 5}});
  CHECK(gateway.listed().empty()); // Half of it is known.
  auto third = gateway.features.next();
  CHECK(third.replica == 1);
  gateway.page(third, {{"i4", 4}, {"i5", 0}});

  CHECK(gateway.listed() == names{"i3", "i4", "i1"});
  caf::anon_send_exit(gateway.items, caf::exit_reason::user_shutdown);
  gateway.run();
  gateway.open_deps();
  CHECK(gateway.listed() == names{"i3", "i4", "i1"});
}

TEST_CASE("an item that has expired is not in the list, whatever its time counts") {
  trending gateway;
  auto second = static_cast<double>(micros_of(wall_now())) / 1e6;

  gateway.page(gateway.features.next(), {{"over, s", 1, false, second - 60},
                                         {"over, ms", 1, false, (second - 60) * 1e3},
                                         {"over, us", 1, false, (second - 60) * 1e6},
                                         {"later, s", 9, false, second + 600},
                                         {"later, ms", 8, false, (second + 600) * 1e3},
                                         {"later, us", 7, false, (second + 600) * 1e6}});

  CHECK(gateway.listed() == names{"later, s", "later, ms", "later, us"});
}

TEST_CASE("while the feature store is overloaded the list is what callers used and rankers showed most") {
  trending gateway;
  gateway.clicked("i1");
  for (int i = 0; i < 3; ++i)
    gateway.clicked("i2");
  caf::anon_send(gateway.items, shown_atom::value,
                 std::make_shared<const std::vector<fallback_item>>(1, fallback_item{"i3", "Title 3"}));
  gateway.run();

  gateway.features.next().fail(ec::overloaded, "later");
  gateway.run();

  CHECK(gateway.listed() == names{"i2", "i1", "i3"});
  CHECK(gateway.deps->fallback.get()->items.back().title == "Title 3");
}

TEST_CASE("the list knows the log as far as every page of its scan did, and after a restart not at all") {
  trending gateway;
  gateway.applied = 9;
  gateway.page(gateway.features.next(), {{"i1", 3}}, false);
  gateway.applied = 12;
  gateway.page(gateway.features.next(), {{"i2", 3}});

  CHECK(gateway.deps->fallback.get()->seen.reached(0, 9));
  CHECK(!gateway.deps->fallback.get()->seen.reached(0, 10));
  gateway.write_item("i1", true); // What it leaves out it has heard of otherwise.
  CHECK(gateway.deps->fallback.get()->seen.reached(0, 9));
  caf::anon_send_exit(gateway.items, caf::exit_reason::user_shutdown);
  gateway.run();
  gateway.open_deps();
  CHECK(gateway.listed() == names{"i2"});
  CHECK(!gateway.deps->fallback.get()->seen.reached(0, 1));
}

TEST_CASE("a scan that passes its deadline leaves the list of before, and the next one is whole") {
  trending gateway;
  gateway.page(gateway.features.next(), {{"i1", 3}});
  gateway.advance(gateway.settings->trending_refresh);
  gateway.page(gateway.features.next(), {{"i9", 9}}, false);
  gateway.features.next().fail(ec::too_late, "no answer came");
  gateway.run();
  CHECK(gateway.listed() == names{"i1"});

  gateway.advance(gateway.settings->trending_refresh);
  gateway.page(gateway.features.next(), {{"i2", 3}});

  CHECK(gateway.listed() == names{"i2"});
}

TEST_CASE(
    "a deleted item is listed no more when its deletion is answered, nor by a scan that did not see it") {
  trending gateway;
  gateway.page(gateway.features.next(), {{"i1", 3}, {"i2", 2}});
  gateway.advance(gateway.settings->trending_refresh);
  auto scan = gateway.features.next();

  gateway.write_item("i1", true);
  CHECK(gateway.listed() == names{"i2"});
  gateway.page(scan, {{"i1", 3}, {"i2", 2}}); // The feature store was behind.
  CHECK(gateway.listed() == names{"i2"});
  gateway.write_item("i1", false);
  gateway.advance(gateway.settings->trending_refresh);
  gateway.page(gateway.features.next(), {{"i1", 3}, {"i2", 2}});

  CHECK(gateway.listed() == names{"i1", "i2"});
}

TEST_CASE("a page that comes after the stop changes nothing, and a deletion is answered by an error then") {
  trending gateway;
  auto scan = gateway.features.next();
  caf::anon_send_exit(gateway.items, caf::exit_reason::user_shutdown);
  gateway.run();

  gateway.page(scan, {{"i1", 3}});
  auto answer = gateway.ask<done_atom>(gateway.items, written_atom::value,
                                       records_ptr{std::make_shared<const std::vector<record>>()});

  CHECK(gateway.listed().empty());
  CHECK(!answer);
}
