#include "services/feature_store/client/feature_client.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/online/state_engine.hpp"
#include "services/feature_store/oracle.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <random>

using namespace troupe;
using namespace troupe::feature_store;

namespace {

std::vector<feature_view> views_of(const std::string& toml) {
  auto views = parse_views(toml, "test");
  if (!views)
    FAIL(views.error().text);
  return *views;
}

std::unique_ptr<state_engine> open(const std::filesystem::path& path, const std::vector<feature_view>& views,
                                   engine_options options = {}) {
  auto engine = state_engine::open(path, views, options);
  if (!engine)
    FAIL(engine.error().text);
  return std::move(*engine);
}

std::vector<std::uint32_t> all_views(const state_engine& engine) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t v = 0; v < engine.views().size(); ++v)
    out.push_back(v);
  return out;
}

void apply_all(state_engine& engine, const ingest::memory_stream& stream) {
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      REQUIRE(engine.apply(all_views(engine), each));
}

std::vector<std::string> dump(state_engine& engine) {
  std::vector<std::string> out;
  std::string after;
  for (bool last = false; !last;) {
    auto page = engine.dump(after, 7, last);
    REQUIRE(page);
    for (auto& each : *page) {
      out.push_back(each.key + " " + each.sha256);
      after = each.key;
    }
  }
  return out;
}

/// Of this process.
std::size_t resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t size = 0, resident = 0;
  in >> size >> resident;
  return resident * 4096;
}

const char* two_views = R"(
[[view]]
name = "u"
entity = "user"
source = ["rating", "click"]
[[view.feature]]
name = "n"
operator = "count"
[[view.feature]]
name = "recent"
operator = "last_n"
of = "item"
n = 3
[[view]]
name = "i"
entity = "item"
source = "rating"
[[view.feature]]
name = "mean"
operator = "mean"
)";

} // namespace

TEST_CASE("a view's version follows its meaning, not its spelling") {
  auto a = views_of("[[view]]\nname='v'\nentity='user'\nsource='rating'\n[[view.feature]]\nname='x'"
                    "\noperator='mean'\nwindow='7d'\n"
                    "[[view.feature]]\nname='a'\noperator='count'\n");
  auto b = views_of(
      "[[view]]\nname='v'\nentity='user'\nsource=['rating']\n[[view.feature]]\nname='a'\noperator='count'\n"
      "[[view.feature]]\nname='x'\noperator='mean'\nof='value'\nwindow='168h'\nhop='1h'\n");
  auto c = views_of("[[view]]\nname='v'\nentity='user'\nsource='rating'\n[[view.feature]]\nname='x'"
                    "\noperator='mean'\nwindow='8d'\n"
                    "[[view.feature]]\nname='a'\noperator='count'\n");

  CHECK(a[0].version == b[0].version);
  CHECK(a[0].version != c[0].version);
  CHECK(views_of(a[0].canonical())[0].version == a[0].version);
}

TEST_CASE("a view with an unknown or senseless key is refused by name") {
  auto refused = [](const std::string& feature) {
    auto views = parse_views(
        "[[view]]\nname='v'\nentity='user'\nsource='rating'\n[[view.feature]]\nname='x'\n" + feature,
        "f.toml");
    REQUIRE(!views);
    return views.error().text;
  };
  CHECK(refused("operator='count'\nwindw='7d'\n").find("windw") != std::string::npos);
  CHECK(refused("operator='count'\nof='value'\n").find("takes no of") != std::string::npos);
  CHECK(refused("operator='cuont'\n").find("cuont") != std::string::npos);
  CHECK(refused("operator='last_n'\nof='item'\n").find("needs n") != std::string::npos);
  CHECK(refused("operator='rate'\nnumerator='click'\ndenominator='rating'\n").find("event types") !=
        std::string::npos);
  CHECK(refused("operator='sum'\nof='item'\n").find("numbers") != std::string::npos);
  CHECK(refused("operator='count'\nwindow='0d'\n").find("more than 0") != std::string::npos);
  CHECK(refused("operator='decayed_count'\n").find("half_life") != std::string::npos);
}

TEST_CASE("the state of an entity is a function of the set of its records, whatever their order") {
  auto views = views_of(oracle::view_toml("v", "user", oracle::every_operator("item")));
  auto events = oracle::generated(600, 7);
  for (auto& each : events)
    each.user = "u";
  auto bytes = encode_batch(events, 3, 1000);
  auto records = batch::trusted(bytes);
  std::vector<std::size_t> order(events.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::string first;
  std::mt19937 random{11};
  for (int round = 0; round < 12; ++round) {
    entity_state state{views[0]};
    std::string saved, now;
    std::size_t step = 0;
    for (auto i : order) {
      auto from = feature_event_of(records[i], 3, 1000 + i);
      REQUIRE(state.apply(views[0], from, features_that_take(views[0], from.kind, from.type)));
      // Saved and read back half-way: nothing changes.
      if (++step % 97 == 0) {
        std::string again;
        REQUIRE(state.encode(views[0], again));
        saved = std::move(again);
        REQUIRE(state.open(views[0], saved));
      }
    }
    REQUIRE(state.encode(views[0], now));
    if (first.empty())
      first = now;
    CHECK(now == first);
    std::shuffle(order.begin(), order.end(), random);
  }
  for (std::size_t cut = 0; cut < first.size(); cut += 13)
    CHECK(!entity_state{views[0]}.open(views[0], std::string_view{first}.substr(0, cut)));
}

TEST_CASE(
    "a record is the whole of an item: an attribute that the newest does not name is gone, and stays so") {
  auto views = views_of("[[view]]\nname='card'\nentity='item'\n[[view.feature]]\nname='hidden'\noperator="
                        "'attribute'\nof='attribute.hidden'\ntype='number'\n"
                        "[[view.feature]]\nname='title'\noperator='attribute'\nof='attribute.title'\n"
                        "[[view.feature]]\nname='genres'\noperator='attribute'\nof='attribute.genres'"
                        "\ntype='list'\n");
  auto item = [](std::int64_t at, std::vector<attribute> attributes) {
    record one;
    one.kind = record_kind::item;
    one.id = fmt::format("{}", at);
    one.item = "i";
    one.event_time = from_micros(at);
    one.attributes = std::move(attributes);
    normalise(one);
    return one;
  };
  testing::temp_dir folder;
  auto engine = open(folder / "s", views);
  std::uint64_t offset = 0;
  auto apply = [&](const record& one) {
    REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch({&one, 1}, 0, offset++))));
  };
  auto read = [&] {
    std::vector<std::string_view> names{"card.hidden", "card.title", "card.genres"}, ids{"i"};
    auto plan = plan_read(*engine, entity_kind::item, names);
    REQUIRE(plan);
    auto columns = read_features(*engine, *plan, ids, 1'000);
    REQUIRE(columns);
    return fmt::format("{}/{} {}/{} {}", (*columns)[0].status[0], (*columns)[0].numbers[0],
                       (*columns)[1].status[0], (*columns)[1].text(0), (*columns)[2].status[0]);
  };

  apply(item(10, {{"hidden", std::string{"yes"}}, {"title", std::string{"a"}}, {"genres", text_list{"g"}}}));
  CHECK(read() == "1/1 1/a 1");
  apply(item(20, {{"title", std::string{"b"}}}));
  CHECK(read() == "0/0 1/b 0");
  apply(item(15, {{"hidden", true}, {"title", std::string{"late"}}}));
  CHECK(read() == "0/0 1/b 0");
  REQUIRE(engine->flush());
  engine.reset();
  engine = open(folder / "s", views);
  CHECK(read() == "0/0 1/b 0");
  apply(item(18, {{"hidden", true}, {"genres", text_list{"late"}}}));
  CHECK(read() == "0/0 1/b 0");
  apply(item(30, {}));
  CHECK(read() == "0/0 0/ 0");
}

TEST_CASE("a value older than the view's TTL is stale: no value, but its age") {
  auto views = views_of("[[view]]\nname='v'\nentity='user'\nsource='rating'\nttl='1d'\n[[view.feature]]"
                        "\nname='n'\noperator='count'\n");
  testing::temp_dir folder;
  auto engine = open(folder / "s", views);
  record one;
  one.id = "1", one.type = "rating", one.user = "u", one.item = "i",
  one.event_time = from_micros(1'000'000'000'000'000);
  REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch({&one, 1}))));
  std::vector<std::string_view> names{"v.n"}, ids{"u", "nobody"};
  auto plan = plan_read(*engine, entity_kind::user, names);
  REQUIRE(plan);
  constexpr std::int64_t hour = 3'600'000'000;
  auto fresh = read_features(*engine, *plan, ids, 1'000'000'000'000'000 + hour);
  auto old = read_features(*engine, *plan, ids, 1'000'000'000'000'000 + 25 * hour);

  CHECK((*fresh)[0].status[0] == 1);
  CHECK((*fresh)[0].numbers[0] == 1);
  CHECK((*fresh)[0].age_us[0] == hour);
  CHECK((*fresh)[0].status[1] == 0);
  CHECK((*fresh)[0].age_us[1] == -1);
  CHECK((*old)[0].status[0] == 2);
  CHECK((*old)[0].numbers[0] == 0);
  CHECK((*old)[0].age_us[0] == 25 * hour);
  CHECK(!plan_read(*engine, entity_kind::user, std::vector<std::string_view>{"v.m"}));
  CHECK(!plan_read(*engine, entity_kind::item, names));
}

TEST_CASE("states after a crash at any point and a replay are those of an undisturbed run, byte for byte") {
  auto views = views_of(two_views);
  ingest::memory_stream stream{oracle::generated(3000, 3), 4, 50};
  testing::temp_dir folder;
  auto whole = open(folder / "whole", views);
  apply_all(*whole, stream);
  auto expected_states = dump(*whole);
  engine_options small;
  small.cache_bytes = 1 << 14;
  small.flush_states = 37;
  std::mt19937 random{5};
  std::vector<std::uint64_t> next(4);

  for (bool done = false; !done;) {
    auto engine =
        open(folder / "torn", views, small); // dropped without a flush below: what was not written is lost
    for (std::uint32_t p = 0; p < 4; ++p)
      next[p] = std::min(engine->applied(0, p), engine->applied(1, p));
    for (int steps = 0; steps < 25; ++steps) {
      std::uint32_t p = random() % 4;
      for (auto& each : stream.batches()[p])
        if (each.base_offset() + each.size() > next[p]) {
          REQUIRE(engine->apply(all_views(*engine), each));
          next[p] = each.base_offset() + each.size();
          break;
        }
    }
    auto ends = *stream.ends();
    done = next == ends;
    if (random() % 3 == 0 || done)
      REQUIRE(engine->flush());
    if (done)
      CHECK(dump(*engine) == expected_states);
  }
}

TEST_CASE(
    "a new view starts from the first record, the others keep what they have, a dropped one is erased") {
  auto views = views_of(two_views);
  ingest::memory_stream stream{oracle::generated(500, 4), 2, 50};
  testing::temp_dir folder;
  {
    auto engine = open(folder / "s", {views[0]});
    apply_all(*engine, stream);
    REQUIRE(engine->flush());
  }
  auto engine = open(folder / "s", views);

  CHECK(engine->applied(*engine->find_view("u"), 0) == (*stream.ends())[0]);
  CHECK(engine->applied(*engine->find_view("i"), 0) == 0);
  auto item = *engine->find_view("i");
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      REQUIRE(engine->apply({&item, 1}, each));
  auto both = dump(*engine);
  engine.reset();
  auto fresh = open(folder / "fresh", views);
  apply_all(*fresh, stream);
  CHECK(both == dump(*fresh));
  engine = open(folder / "s", {views[0]});
  auto left = dump(*engine);
  CHECK(!left.empty());
  CHECK(std::all_of(left.begin(), left.end(), [](auto& each) { return each.starts_with("u@"); }));
}

TEST_CASE("a batch that cannot be applied to the end counts once: nothing is written until it can") {
  constexpr store::family_id states = 0;
  auto views = views_of(two_views);
  testing::temp_dir folder;
  auto clicks = [](std::uint64_t offset) {
    std::vector<record> out(100);
    for (std::size_t i = 0; i < out.size(); ++i) {
      auto& one = out[i];
      one.id = fmt::format("{} {}", offset, i), one.type = "click", one.user = fmt::format("u{}", i);
      one.item = "i", one.event_time = from_micros(static_cast<std::int64_t>(offset + i + 1));
    }
    return batch::trusted(encode_batch(out, 0, offset));
  };
  std::string key, whole;
  {
    auto engine = open(folder / "s", views);
    REQUIRE(engine->apply(all_views(*engine), clicks(0)));
    REQUIRE(engine->flush());
    auto at = engine->database().scan(states);
    while (at.valid() && !at.key().ends_with("u50"))
      at.next();
    REQUIRE(at.valid());
    key = at.key(), whole = at.value();
    REQUIRE(engine->database().put(states, key, "not a state", store::durability::synced));
  }
  {
    auto engine = open(folder / "s", views);
    for (int i = 0; i < 3; ++i) {
      auto done = engine->apply(all_views(*engine), clicks(100));
      REQUIRE(!done);
      CHECK(done.error().text.find("started again") != std::string::npos);
      CHECK(done.error().text.find("cannot read a state of view u") != std::string::npos);
      CHECK(!engine->flush());
    }
    CHECK(engine->applied(0, 0) == 100);
    REQUIRE(engine->database().put(states, key, whole, store::durability::synced));
  }
  auto engine = open(folder / "s", views), undisturbed = open(folder / "undisturbed", views);
  REQUIRE(engine->apply(all_views(*engine), clicks(100)));
  for (auto offset : {0u, 100u})
    REQUIRE(undisturbed->apply(all_views(*undisturbed), clicks(offset)));

  CHECK(dump(*engine) == dump(*undisturbed));
}

TEST_CASE("states of another format are computed again from the first record") {
  constexpr store::family_id meta = 1;
  auto views = views_of(two_views);
  testing::temp_dir folder;
  {
    auto engine = open(folder / "s", views);
    apply_all(*engine, ingest::memory_stream{oracle::generated(200, 4), 1});
    std::pair<std::string, std::string> extra{"position", "200"};
    REQUIRE(engine->flush({&extra, 1}));
    REQUIRE(engine->database().put(meta, "layout", "0/1", store::durability::synced));
  }
  auto engine = open(folder / "s", views);

  auto extra = engine->database().find(meta, "xposition");
  CHECK(engine->applied(0, 0) == 0);
  REQUIRE(extra);
  CHECK(!extra->has_value());
  CHECK(dump(*engine).empty());
}

TEST_CASE("replicas share the entities out: each is kept by one") {
  auto views = views_of(two_views);
  ingest::memory_stream stream{oracle::generated(500, 9), 2};
  testing::temp_dir folder;
  auto whole = open(folder / "whole", views);
  apply_all(*whole, stream);
  std::vector<std::string> together;
  for (std::uint32_t replica = 0; replica < 3; ++replica) {
    engine_options options;
    options.replica = replica;
    options.replicas = 3;
    auto engine = open(folder / std::to_string(replica), views, options);
    apply_all(*engine, stream);
    for (auto& each : dump(*engine))
      together.push_back(each);
  }
  auto all = dump(*whole);
  std::sort(all.begin(), all.end());
  std::sort(together.begin(), together.end());
  CHECK(all == together);
}

TEST_CASE("a batch with a gap before it is refused") {
  testing::temp_dir folder;
  auto engine = open(folder / "s", views_of(two_views));
  auto events = oracle::generated(3, 1);
  auto refused = engine->apply(all_views(*engine), batch::trusted(encode_batch(events, 0, 5)));
  REQUIRE(!refused);
  CHECK(refused.error().code == ec::conflict);
}

TEST_CASE("a scan gives the features of every entity once, page by page, in the order of the ids") {
  testing::temp_dir dir;
  auto views = views_of(R"(
[[view]]
name = "card"
entity = "item"
[[view.feature]]
name = "title"
operator = "attribute"
of = "attribute.title"
[[view]]
name = "trend"
entity = "item"
source = "click"
[[view.feature]]
name = "n"
operator = "count"
)");
  std::vector<record> records;
  auto add = [&](record rec) {
    rec.event_time = from_micros(1'000'000);
    rec.ingest_time = rec.event_time;
    rec.id = std::to_string(records.size());
    records.push_back(std::move(rec));
  };
  for (std::string item : {"c", "a", "e"}) {
    record rec;
    rec.kind = record_kind::item;
    rec.item = item;
    rec.attributes = {{"title", "T" + item}};
    add(rec);
  }
  for (std::string item : {"b", "c", "c"}) {
    record rec;
    rec.type = "click";
    rec.user = "u";
    rec.item = item;
    add(rec);
  }
  auto engine = open(dir / "state", views);
  apply_all(*engine, ingest::memory_stream{records, 2});

  std::vector<std::string> ids, titles;
  std::vector<double> counts;
  int pages = 0;
  for (bool last = false; !last; ++pages) {
    auto asked = encode_scan("item", {"trend.n", "card.title"}, ids.empty() ? "" : ids.back(), 2, 2'000'000);
    auto got = answer_scan(*engine, *flatbuffers::GetRoot<wire::FeatureScan>(asked.data()), 0);
    REQUIRE(got);
    auto page = decode_page(*got);
    REQUIRE(page);
    last = page->last;
    ids.insert(ids.end(), page->ids.begin(), page->ids.end());
    for (std::size_t i = 0; i < page->ids.size(); ++i) {
      counts.push_back(page->features.columns[0].numbers[i]);
      titles.push_back(page->features.columns[1].texts[i]);
    }
  }

  CHECK(pages == 2);
  CHECK(ids == std::vector<std::string>{"a", "b", "c", "e"});
  CHECK(titles == std::vector<std::string>{"Ta", "", "Tc", "Te"});
  CHECK(counts == std::vector<double>{0, 1, 2, 0});
  auto wrong = encode_scan("user", {"trend.n"}, "", 2, 0);
  CHECK(!answer_scan(*engine, *flatbuffers::GetRoot<wire::FeatureScan>(wrong.data()), 0));
}

namespace {

record entity_record(record_kind kind, const std::string& id, std::int64_t at,
                     std::vector<attribute> attributes) {
  record rec;
  rec.kind = kind;
  rec.id = fmt::format("{}@{}", id, at);
  (kind == record_kind::user ? rec.user : rec.item) = id;
  rec.event_time = rec.ingest_time = from_micros(at);
  rec.attributes = std::move(attributes);
  return rec;
}

/// The engine of the service: two_views and the built-in ones.
std::vector<feature_view> views_and_records() {
  auto views = views_of(two_views);
  for (auto entity : {entity_kind::user, entity_kind::item})
    views.push_back(record_view(entity));
  return views;
}

feature_answer read(state_engine& engine, const std::string& entity, std::vector<std::string> ids,
                    std::vector<std::string> features) {
  auto asked = encode(feature_query{entity, ids, std::move(features), 5'000'000, {}});
  auto got = answer_read(engine, *flatbuffers::GetRoot<wire::ReadFeatures>(asked.data()), 0);
  REQUIRE_MESSAGE(got, (got ? std::string{} : got.error().text));
  auto answer = decode_features(*got, ids.size());
  REQUIRE(answer);
  return *answer;
}

} // namespace

TEST_CASE("the newest record of an entity comes back whole, whatever the order of arrival") {
  testing::temp_dir dir;
  auto engine = open(dir / "s", views_and_records());
  std::vector<record> records{
      entity_record(
          record_kind::item, "i", 3'000'000,
          {{"genres", text_list{"a\"b", "c"}}, {"hidden", false}, {"title", "H\xc3\xa9"}, {"year", 1995.0}}),
      entity_record(record_kind::item, "i", 2'000'000, {{"title", "late"}}),
      entity_record(record_kind::user, "u", 1'000'000, {})};
  apply_all(*engine, ingest::memory_stream{records, 1});

  auto item = read(*engine, "item", {"i", "nowhere"}, {"item_record.attributes"});
  CHECK(item.columns[0].texts[0] ==
        "{\"genres\":[\"a\\\"b\",\"c\"],\"hidden\":false,\"title\":\"H\xc3\xa9\",\"year\":1995}");
  CHECK(item.columns[0].age_us[0] == 2'000'000);
  CHECK(item.columns[0].status[1] == wire::FeatureStatus::missing);
  CHECK(item.deleted == std::vector<std::uint8_t>{0, 0});
  CHECK(read(*engine, "user", {"u"}, {"user_record.attributes"}).columns[0].texts[0] == "{}");
}

TEST_CASE("a built-in view reads as any other, but no file may define it") {
  auto built_in = record_view(entity_kind::user);
  testing::temp_dir dir;
  std::ofstream{dir / "mine.toml"} << built_in.canonical();

  CHECK(views_of(built_in.canonical())[0].version == built_in.version);
  auto refused = read_views(dir.path());
  REQUIRE(!refused);
  CHECK(refused.error().text.find("user_record") != std::string::npos);
}

TEST_CASE(
    "a deleted entity has no feature until it is written again, in reads, in scans and after a restart") {
  testing::temp_dir dir;
  auto engine = open(dir / "s", views_and_records());
  record click;
  click.id = "1", click.type = "rating", click.user = "u", click.item = "i", click.value = 4;
  click.event_time = click.ingest_time = from_micros(1'000'000);
  auto append = [&](record rec) {
    auto next = engine->applied(0, 0);
    REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch({&rec, 1}, 0, next))));
  };
  auto status = [](const feature_answer& of) { return of.columns[0].status[0]; };
  append(click);
  append(entity_record(record_kind::user, "u", 2'000'000, {{"age", 30.0}}));
  CHECK(status(read(*engine, "user", {"u"}, {"u.recent"})) == wire::FeatureStatus::present);

  append(entity_record(record_kind::user, "u", 3'000'000, {{"deleted", true}}));
  append(entity_record(record_kind::item, "i", 3'000'000, {{"deleted", true}}));
  REQUIRE(engine->flush());
  engine.reset();
  engine = open(dir / "s", views_and_records());

  auto user = read(*engine, "user", {"u", "v"}, {"u.recent", "u.n"});
  CHECK(user.deleted == std::vector<std::uint8_t>{1, 0});
  for (auto& column : user.columns)
    CHECK(column.status[0] == wire::FeatureStatus::missing);
  auto asked = encode_scan("item", {"i.mean"}, "", 10, 5'000'000);
  auto page = decode_page(*answer_scan(*engine, *flatbuffers::GetRoot<wire::FeatureScan>(asked.data()), 0));
  REQUIRE(page);
  CHECK(page->ids == std::vector<std::string>{"i"});
  CHECK(page->features.deleted == std::vector<std::uint8_t>{1});
  CHECK(page->features.columns[0].status[0] == wire::FeatureStatus::missing);

  append(entity_record(record_kind::user, "u", 4'000'000, {{"age", 31.0}}));
  CHECK(status(read(*engine, "user", {"u"}, {"u.recent"})) == wire::FeatureStatus::present);
}

TEST_CASE("changes bring the features of what was written, deleted and clicked since, until a restart") {
  testing::temp_dir dir;
  auto views = views_of(R"(
[[view]]
name = "card"
entity = "item"
[[view.feature]]
name = "title"
operator = "attribute"
of = "attribute.title"
[[view]]
name = "trend"
entity = "item"
source = "click"
[[view.feature]]
name = "n"
operator = "count"
)");
  for (auto entity : {entity_kind::user, entity_kind::item})
    views.push_back(record_view(entity));
  auto engine = open(dir / "s", views);
  std::string place;
  auto append = [&](record rec) {
    auto next = engine->applied(0, 0);
    REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch({&rec, 1}, 0, next))));
  };
  auto click = [&](const std::string& item) {
    record rec;
    rec.id = rec.user = "u", rec.type = "click", rec.item = item;
    rec.event_time = rec.ingest_time = from_micros(1'000'000);
    append(rec);
  };
  auto written = [](const std::string& item, std::int64_t at, std::vector<attribute> attributes) {
    return entity_record(record_kind::item, item, at, std::move(attributes));
  };
  auto changes = [&](bool records_only, std::uint32_t limit = 0) {
    auto asked = encode_changes({"item", {"card.title", "trend.n"}, place, limit, records_only});
    auto got = answer_changes(*engine, *flatbuffers::GetRoot<wire::FeatureChanges>(asked.data()), 5'000'000);
    REQUIRE_MESSAGE(got, (got ? std::string{} : got.error().text));
    auto page = decode_changes(*got);
    REQUIRE(page);
    place = page->next;
    return *page;
  };
  append(written("before", 1'000'000, {{"title", "Before"}}));

  CHECK(changes(true).ids.empty());
  append(written("a", 1'000'000, {{"title", "A"}}));
  append(written("b", 1'000'000, {{"title", "B"}}));
  append(written("b", 2'000'000, {{"deleted", true}}));
  click("c");
  auto page = changes(true, 1);
  CHECK(page.ids == std::vector<std::string>{"a"});
  CHECK(!page.last);
  CHECK(page.features.columns[0].texts[0] == "A");
  page = changes(true);
  CHECK(page.ids == std::vector<std::string>{"b"});
  CHECK(page.last);
  CHECK(page.features.deleted == std::vector<std::uint8_t>{1});
  CHECK(page.features.applied.reached(0, 5));
  page = changes(false);
  CHECK(page.ids == std::vector<std::string>{"c"});
  CHECK(page.features.columns[1].numbers[0] == 1);

  REQUIRE(engine->flush());
  engine.reset();
  engine = open(dir / "s", views);
  page = changes(true);
  CHECK(page.reset);
  CHECK(page.ids.empty());
  append(written("a", 3'000'000, {{"title", "A2"}}));
  CHECK(changes(true).ids == std::vector<std::string>{"a"});
}

TEST_CASE("a flag that a log of before holds as a text counts as one that is written today") {
  for (auto& [value, set] : std::vector<std::pair<attribute_value, bool>>{{true, true},
                                                                          {1.0, true},
                                                                          {"True", true},
                                                                          {"1", true},
                                                                          {"yes", true},
                                                                          {false, false},
                                                                          {"0", false},
                                                                          {"No", false},
                                                                          {"soon", false}}) {
    auto rec = entity_record(record_kind::user, "u", 1'000'000, {{"deleted", value}});
    auto bytes = batch::trusted(encode_batch({&rec, 1}));
    CHECK(feature_event_of(bytes[0], 0, 0).replaces == set);
    if (auto* text = std::get_if<std::string>(&value)) {
      feature_column column;
      column.texts = {*text};
      CHECK(is_set(column, 0) == set);
    }
  }
}

TEST_CASE(
    "offsets are reached when the built-in view has them too: a deletion is obeyed by the next answer") {
  testing::temp_dir dir;
  auto engine = open(dir / "s", views_and_records());
  auto deletion = entity_record(record_kind::user, "u", 1'000'000, {{"deleted", true}});
  auto asked = encode(feature_query{"user", {"u"}, {"u.n"}, 0, {{0, 1}}});
  auto reached = [&] {
    return offsets_reached(*engine, *flatbuffers::GetRoot<wire::ReadFeatures>(asked.data()));
  };
  auto view = *engine->find_view("u"), record = *engine->find_view("user_record");
  auto bytes = batch::trusted(encode_batch({&deletion, 1}));

  REQUIRE(engine->apply({&view, 1}, bytes));
  CHECK(!reached());
  REQUIRE(engine->apply({&record, 1}, bytes));
  CHECK(reached());
}

TEST_CASE("the shipped views can be read together, and those for serving are among them") {
  auto views = read_views(TROUPE_VIEWS_SHIPPED);
  REQUIRE_MESSAGE(views, (views ? std::string{} : views.error().text));
  for (std::string name : {"user_history", "item_card", "item_trend"})
    CHECK(std::any_of(views->begin(), views->end(), [&](auto& view) { return view.name == name; }));
}

TEST_CASE(
    "a deletion, and a record without a time, is newer than what is there, though that is dated ahead") {
  auto views =
      views_of("[[view]]\nname='card'\nentity='item'\n[[view.feature]]\nname='title'\noperator="
               "'attribute'\nof='attribute.title'\n[[view.feature]]\nname='all'\noperator='record'\n");
  testing::temp_dir folder;
  auto engine = open(folder / "s", views);
  std::uint64_t offset = 0;
  auto apply = [&](std::int64_t at, const std::string& title, bool untimed) {
    record one;
    one.kind = record_kind::item;
    one.id = fmt::format("{}", offset);
    one.item = "i";
    one.event_time = from_micros(at);
    one.untimed = untimed;
    if (title.empty())
      one.attributes = {{"deleted", true}};
    else
      one.attributes = {{"title", title}};
    REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch({&one, 1}, 0, offset++))));
  };
  auto read = [&] {
    std::vector<std::string_view> names{"card.title", "card.all"}, ids{"i"};
    auto plan = plan_read(*engine, entity_kind::item, names);
    REQUIRE(plan);
    auto columns = read_features(*engine, *plan, ids, 1'000);
    REQUIRE(columns);
    return fmt::format("{}{}", (*columns)[0].text(0), (*columns)[1].text(0));
  };

  apply(2030, "preorder", false);
  apply(10, "", true);
  CHECK(read() == "");
  apply(9, "older than the deletion", false);
  CHECK(read() == "");
  REQUIRE(engine->flush());
  engine.reset();
  engine = open(folder / "s", views);
  apply(20, "back", true);
  CHECK(read() == "back{\"title\":\"back\"}");
  apply(2031, "wrong clock", false);
  apply(30, "", false); // A deletion has its own time, and is none the less newer.
  CHECK(read() == "");
  apply(31, "again", false);
  CHECK(read() == "again{\"title\":\"again\"}");
  apply(2031, "wrong clock", false);
  apply(15, "a file of the night", true);
  CHECK(read() == "a file of the night{\"title\":\"a file of the night\"}");
  apply(14, "late", false);
  CHECK(read() == "a file of the night{\"title\":\"a file of the night\"}");
  apply(16, "newer", false);
  CHECK(read() == "newer{\"title\":\"newer\"}");
}

TEST_CASE("states in memory stay within their bound, those not yet written included") {
  auto views = views_of("[[view]]\nname='v'\nentity='user'\nsource='click'\n[[view.feature]]\nname='pages'"
                        "\noperator='last_n'\nof='context.page'\nn=5\n");
  testing::temp_dir folder;
  engine_options options;
  options.cache_bytes = std::size_t{16} << 20;
  options.block_cache_bytes = std::size_t{4} << 20;
  auto engine = open(folder / "s", views, options);
  auto before = resident_bytes();
  std::mt19937 random{1};
  std::uint64_t offset = 0;
  std::size_t most = 0;
  std::vector<record> clicks(1'000);
  for (int page = 0; page < 250; ++page) {
    for (auto& each : clicks) {
      each.type = "click", each.item = "i";
      each.user = fmt::format("u{}", random() % 50'000);
      each.id = std::to_string(offset);
      each.event_time = from_micros(1'600'000'000'000'000 + static_cast<std::int64_t>(offset));
      each.attributes = {{"page", std::string(1'000, static_cast<char>('a' + random() % 26))}};
    }
    REQUIRE(engine->apply(all_views(*engine), batch::trusted(encode_batch(clicks, 0, offset))));
    offset += clicks.size();
    most = std::max<std::size_t>(most, engine->counters().cached_bytes);
  }

  // 250 MB have been applied. What one batch changes comes on top.
  CHECK(most < options.cache_bytes + (std::size_t{6} << 20));
  CHECK(engine->counters().flushes > 10);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Beside it: what RocksDB has not yet flushed, its blocks, and the copy of a write.
  CHECK(resident_bytes() <
        before + options.cache_bytes + options.block_cache_bytes + (std::size_t{150} << 20));
#endif
  auto kept = *engine->find_view("v");
  std::size_t pages = 0;
  for (int user = 0; user < 50'000; user += 97) {
    auto id = fmt::format("u{}", user);
    std::string_view one{id};
    REQUIRE(engine->visit({&kept, 1}, {&one, 1},
                          [&](std::size_t, std::size_t, std::string_view state) -> expected<void> {
                            pages += state.size() / 1'000;
                            return {};
                          }));
  }
  CHECK(pages > 1'500);
}

TEST_CASE(
    "a state that gives no value any more is dropped, and its absence shows in no value, then or later") {
  auto views = views_of(R"(
[[view]]
name = "gone"
entity = "user"
source = "click"
ttl = "3d"
[[view.feature]]
name = "clicks_1d"
operator = "count"
window = "1d"
[[view.feature]]
name = "recent"
operator = "last_n"
of = "item"
n = 3
window = "2d"
[[view.feature]]
name = "idle"
operator = "time_since"
[[view]]
name = "without_ttl"
entity = "user"
source = "click"
[[view.feature]]
name = "clicks_1d"
operator = "count"
window = "1d"
[[view]]
name = "for_ever"
entity = "user"
source = "click"
ttl = "3d"
[[view.feature]]
name = "clicks"
operator = "count"
)");
  constexpr std::int64_t start = 1'600'000'000'000'000, day = 86'400'000'000;
  testing::temp_dir folder;
  auto engine = open(folder / "s", views), other = open(folder / "other", views);
  std::uint64_t offset = 0;
  auto click = [&](const std::string& user, std::int64_t at) {
    record one;
    one.id = fmt::format("{}", offset), one.type = "click", one.user = user, one.item = "i";
    one.event_time = from_micros(at);
    for (auto* each : {engine.get(), other.get()})
      REQUIRE(each->apply(all_views(*each), batch::trusted(encode_batch({&one, 1}, 0, offset))));
    ++offset;
  };
  auto values = [&](state_engine& of, std::int64_t at) {
    std::vector<std::string_view> names{"gone.clicks_1d", "gone.recent", "gone.idle", "without_ttl.clicks_1d",
                                        "for_ever.clicks"},
        ids{"a", "b"};
    auto plan = plan_read(of, entity_kind::user, names);
    REQUIRE(plan);
    auto columns = read_features(of, *plan, ids, at);
    REQUIRE(columns);
    std::string out;
    for (auto& each : *columns)
      for (std::size_t row = 0; row < ids.size(); ++row)
        out += each.status[row] != 1             ? "- "
               : each.type == value_type::number ? fmt::format("{} ", each.numbers[row])
                                                 : fmt::format("{} ", fmt::join(each.list(row), ","));
    return out;
  };
  auto states_of = [&](state_engine& of) {
    std::vector<std::string> out;
    for (auto& each : dump(of))
      out.push_back(each.substr(0, each.find('@')) + each.substr(each.find('/'), 2));
    return out;
  };
  click("a", start);
  click("b", start + 10 * day);
  REQUIRE(engine->flush());

  std::size_t dropped = 0;
  for (int step = 0; step < 20; ++step)
    dropped += *engine->expire(start + 3 * day, 2);
  CHECK(dropped == 0);
  for (int step = 0; step < 20; ++step)
    dropped += *engine->expire(start + 10 * day, 2);

  CHECK(dropped == 1);
  CHECK(states_of(*engine) ==
        std::vector<std::string>{"for_ever/a", "for_ever/b", "gone/b", "without_ttl/a", "without_ttl/b"});
  CHECK(dump(*engine) == dump(*other)); // Where it has expired, but has not been dropped.
  CHECK(values(*engine, start + 10 * day) == values(*other, start + 10 * day));
  click("a", start + 1 * day); // Late.
  CHECK(values(*engine, start + 10 * day) == values(*other, start + 10 * day));
  click("a", start + 11 * day);
  CHECK(values(*engine, start + 11 * day) == values(*other, start + 11 * day));
  CHECK(values(*engine, start + 11 * day).starts_with("1 "));
}
