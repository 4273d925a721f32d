#include "services/ranker/bundle_store.hpp"
#include "services/ranker/desk.hpp"
#include "services/ranker/rank.hpp"
#include "services/ranker/release_shelf.hpp"

#include "common/core/hash.hpp"
#include "common/model/test_weights.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/ranker_generated.h"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <thread>

using namespace troupe;
using namespace troupe::ranker;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

using weights = model::testing::test_weights;

/// A release of items a, b, c... under construction.
class bundle {
public:
  explicit bundle(fs::path folder) : folder_{std::move(folder)} {}

  void put(const std::string& path, const std::string& content) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream{folder_ / path, std::ios::binary} << content;
    files_[path] = json::object{{"sha256", sha256_hex(as_bytes(content))}, {"bytes", content.size()}};
  }
  void model(const std::string& kind, const std::string& items, const weights& of, double weight = 1,
             const json::object& config = {}) {
    put("models/" + kind + "/model.json",
        json::serialize(json::object{{"format", 1}, {"kind", kind}, {"config", config}}));
    put("models/" + kind + "/weights.safetensors", of.bytes());
    put("models/" + kind + "/items.txt", items);
    models_.push_back(json::object{
        {"name", kind}, {"kind", kind}, {"path", "models/" + kind}, {"weight", weight}, {"role", "both"}});
  }
  /// Writes the manifest; gives the release's id.
  std::string done(const std::string& name = "r") {
    auto text = json::serialize(json::object{
        {"files", files_},
        {"format", 1},
        {"models", models_},
        {"name", name},
        {"signature", json::object{{"inputs", json::array{"history"}}, {"outputs", json::array{"items"}}}}});
    std::ofstream{folder_ / "release.json", std::ios::binary} << text;
    return sha256_hex(as_bytes(text));
  }

private:
  fs::path folder_;
  json::object files_;
  json::array models_;
};

const std::string six_items = "a\nb\nc\nd\ne\nf\n";

/// a and b, c and d, e and f are neighbours; a is the most popular, f the least.
std::string make_release(const fs::path& folder, const std::string& rules, const std::string& name = "r") {
  bundle out{folder};
  out.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {6, 5, 4, 3, 2, 1}), 0.1);
  out.model("ease", six_items,
            weights{}
                .add<std::int32_t>("neighbours", "[6,2]", {1, 2, 0, 3, 3, 4, 2, 5, 5, 0, 4, 1})
                .add<float>("similarity", "[6,2]", {1, .2f, 1, .2f, 1, .2f, 1, .2f, 1, .2f, 1, .2f}));
  if (!rules.empty())
    out.put("rules.toml", rules);
  out.put("warmup.jsonl", R"({"history":["a"],"n":3})"
                          "\n");
  return out.done(name);
}

release_ptr load(const std::string& rules) {
  testing::temp_dir dir;
  make_release(dir.path(), rules);
  auto loaded = load_release(dir.path(), {});
  REQUIRE_MESSAGE(loaded, (loaded ? std::string{} : render(loaded.error())));
  return *loaded;
}

std::vector<std::string> ids(const ranking& of) {
  std::vector<std::string> out;
  for (auto& each : of.items)
    out.push_back(each.item);
  return out;
}

/// The user's mean rating (mean 3, deviation 1) and the item's clicks (mean 0, deviation 1): the deep part
/// counts the item's clicks where the user rates above the mean, and against it where below.
std::string make_dcn_release(const fs::path& folder) {
  bundle out{folder};
  out.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {6, 5, 4, 3, 2, 1}), 0);
  out.model("dcn", six_items,
            weights{}
                .add<float>("number.mean", "[2]", {3, 0})
                .add<float>("number.deviation", "[2]", {1, 1})
                .add<float>("cross.0.weight", "[4,4]", {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
                .add<float>("cross.0.bias", "[4]", {0, 0, 0, 0})
                .add<float>("deep.0.weight", "[1,4]", {0, 0, 0, 0})
                .add<float>("deep.0.bias", "[1]", {0})
                .add<float>("head.weight", "[1,5]", {1, 0, 0, -10, 0})
                .add<float>("head.bias", "[1]", {0}),
            1,
            json::parse(R"({"views":{"user_ratings":"v1"},"features":[
              {"name":"user_ratings.mean_rating","entity":"user","kind":"number"},
              {"name":"item_activity.clicks","entity":"item","kind":"number"}]})")
                .as_object());
  return out.done();
}

item_card clicked(std::string id, std::optional<double> clicks) {
  item_card out;
  out.id = std::move(id);
  out.features.emplace_back();
  if (clicks)
    out.features[0] = *clicks;
  return out;
}

item_catalogue clicked_items() {
  return {{clicked("a", 1), clicked("b", 3), clicked("fresh", 2), clicked("silent", {})},
          deadline::clock::now(),
          {"item_activity.clicks"},
          {"item_activity@v7"}};
}

query of_user(std::vector<std::string> history, std::uint32_t n) {
  query out;
  out.user = "u";
  out.history = std::move(history);
  out.n = n;
  out.now = 1000;
  out.explain = true;
  return out;
}

item_catalogue catalogue_of(std::vector<item_card> cards) {
  return {std::move(cards), deadline::clock::now()};
}

item_card card(std::string id, text_list genres = {}) {
  item_card out;
  out.title = "Title of " + id;
  out.id = std::move(id);
  out.attributes = {{"genres", std::move(genres)}};
  return out;
}

const ranked_item& item(const ranking& in, const std::string& id) {
  auto found = std::find_if(in.items.begin(), in.items.end(), [&](auto& each) { return each.item == id; });
  REQUIRE(found != in.items.end());
  return *found;
}

net::request rank_request(const std::string& release, const std::string& user,
                          std::function<void(expected<chunk>)> then) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", user.c_str(), nullptr, nullptr, nullptr,
                                    nullptr, nullptr, 3, true),
             "TRPK");
  net::request asked;
  asked.info.kind = wire::Kind::rank;
  asked.payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  asked.respond = net::responder::to(std::move(then));
  return asked;
}

const wire::RankReply* reply_of(const expected<chunk>& got) {
  REQUIRE_MESSAGE(got, (got ? std::string{} : render(got.error())));
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(got->data()), got->size()};
  REQUIRE(verifier.VerifyBuffer<wire::RankReply>("TRPK"));
  return flatbuffers::GetRoot<wire::RankReply>(got->data());
}

/// A desk over a shelf of local bundles, with a feature store that is a function.
struct desk_fixture {
  testing::temp_dir dir;
  metrics::registry registry;
  std::shared_ptr<config> settings = std::make_shared<config>();
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  bundle_store store{dir / "data", dir / "bundles", nullptr, std::chrono::seconds{1}};
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t settled = 0;
  std::shared_ptr<release_shelf> shelf = std::make_shared<release_shelf>(
      [this](const std::string& id) { return store.fetch(id); }, load_options{}, std::chrono::hours{1},
      [this](const std::string&, const error*) {
        std::lock_guard lock{mutex};
        ++settled;
        changed.notify_all();
      });
  std::atomic<bool> features_up{true};
  std::atomic<int> reads{0};
  std::vector<std::string> asked_features;
  catalogue_ptr items = std::make_shared<const item_catalogue>(catalogue_of({card("a"), card("d")}));
  std::shared_ptr<desk> front = std::make_shared<desk>(
      settings, shelf, [this] { return items; },
      [this](desk::feature_read asked, std::function<void(expected<user_state>)> then) {
        ++reads;
        {
          std::lock_guard lock{mutex};
          asked_features = asked.features;
        }
        if (!features_up)
          return then(fail(ec::unavailable, "no feature store"));
        user_state out;
        out.history = {"c"};
        out.features.push_back({asked.features.at(0), 1, 50, "c"});
        if (asked.features.size() > 1)
          out.values = {{"user_ratings.mean_rating", 5.0}};
        then(std::move(out));
      },
      counts);

  ~desk_fixture() {
    front->stop();
    shelf->stop();
  }
  void wait_settled(std::uint64_t count) {
    std::unique_lock lock{mutex};
    REQUIRE(changed.wait_for(lock, std::chrono::seconds{60}, [&] { return settled >= count; }));
  }
  expected<chunk> ask(const std::string& release, const std::string& user) {
    std::promise<expected<chunk>> got;
    front->take(
        rank_request(release, user, [&](expected<chunk> answer) { got.set_value(std::move(answer)); }));
    return got.get_future().get();
  }
};

} // namespace

TEST_CASE("rules are read whole, and a wrong key or value is named with what is allowed") {
  auto good = parse_rules(R"(
[candidates]
sources = [{name = "nearest", n = 300}, {name = "popular", n = 20}]
[seen]
filter = false
[[rule]]
kind = "filter"
attribute = "genres"
op = "contains"
text = "Horror"
[[rule]]
kind = "pin"
item = "x"
position = 3
[diversity]
mmr = 0.3
[exploration]
kind = "epsilon"
share = 0.1
)",
                          "rules.toml");
  REQUIRE(good);
  CHECK(good->sources.size() == 2);
  CHECK(!good->filter_seen);
  CHECK(good->rules[0].when.op == test::contains);
  CHECK(good->rules[1].position == 2);
  CHECK(good->mmr == 0.3);
  CHECK(good->exploration == 0.1);

  auto refused = [](const char* text, const char* why) {
    auto got = parse_rules(text, "rules.toml");
    return !got && got.error().code == ec::invalid_argument &&
           got.error().text.find(why) != std::string::npos;
  };
  CHECK(refused("[diversity]\nmrr = 1", "diversity.mrr is unknown"));
  CHECK(refused("[exploration]\nshare = 2", "exploration.share is 2, allowed is 0 to 1"));
  CHECK(refused("[[rule]]\nkind = 'boots'", "rule[0].kind is boots"));
  CHECK(refused("[[rule]]\nkind = 'cap'\nmost = 1", "rule[0].attribute is missing"));
  CHECK(refused("[candidates]\nsources = [{name = 'neerest'}]", "candidates.sources[0].name is neerest"));
  CHECK(refused("[seen]\nfilter = 1", "seen.filter"));
  CHECK(refused("seen = true", "seen must be a table"));
  CHECK(refused("a = ", "line 1"));
}

TEST_CASE("a release whose file was changed, is missing or lies outside is refused before it serves") {
  testing::temp_dir dir;
  make_release(dir.path(), "");
  CHECK(load_release(dir.path(), {}));
  std::ofstream{dir / "models/ease/items.txt", std::ios::app} << "g\n";
  auto changed = load_release(dir.path(), {});
  REQUIRE(!changed);
  CHECK(changed.error().code == ec::corrupt);
  CHECK(changed.error().text.find("models/ease/items.txt") != std::string::npos);
  fs::remove(dir / "models/ease/items.txt");
  CHECK(!load_release(dir.path(), {}));

  auto manifest = [](const char* text) { return parse_manifest(text); };
  CHECK(!manifest("{}"));
  CHECK(!manifest("[1"));
  CHECK(manifest(R"({"format":2})").error().code == ec::unsupported_version);
  CHECK(!manifest(R"({"format":1,"files":{"../x":{"sha256":"00","bytes":1}},"models":[]})"));
  CHECK(!manifest(R"({"format":1,"files":{},"models":[{"name":"m","kind":"ease","path":"m"}]})"));
}

TEST_CASE("a release with weights for other items than its vocabulary, or of an unknown kind, is refused") {
  testing::temp_dir dir;
  bundle few{dir / "few"};
  few.model("popularity", "a\nb\n", weights{}.add<float>("item_score", "[3]", {1, 2, 3}));
  few.done();
  CHECK(!load_release(dir / "few", {}));
  bundle strange{dir / "strange"};
  strange.model("oracle", "a\n", weights{}.add<float>("item_score", "[1]", {1}));
  strange.done();
  auto got = load_release(dir / "strange", {});
  REQUIRE(!got);
  CHECK(got.error().code == ec::unsupported_version);
  bundle broken{dir / "broken"};
  broken.model("popularity", "a\nb\n", weights{}.add<float>("item_score", "[2]", {1, std::nanf("")}));
  broken.done();
  auto loaded = load_release(dir / "broken", {});
  REQUIRE(loaded);
  CHECK(!warm(**loaded));
}

TEST_CASE(
    "a known user gets neighbours of the history first, nothing seen, with sources, reasons and scores") {
  auto with = load("");
  auto got = rank(*with, catalogue_of({card("d"), card("b")}), of_user({"c"}, 3));

  REQUIRE(got.items.size() == 3);
  CHECK(got.items[0].item == "d");
  CHECK(got.items[0].title == "Title of d");
  CHECK(got.items[0].because == std::vector<std::string>{"c"});
  CHECK(got.items[0].sources.front() == "item-to-item");
  CHECK(got.items[0].models.size() == 2);
  CHECK(got.items[0].propensity == 1);
  CHECK(got.degraded.empty());
  for (auto& each : got.items)
    CHECK(each.item != "c");
  CHECK(got.stages.size() == 5);
}

TEST_CASE(
    "new users get popular and trending items, their session speaks for them, and unknown items do no harm") {
  auto with = load("");
  auto anybody = rank(*with, {}, of_user({}, 3));
  CHECK(ids(anybody) == std::vector<std::string>{"a", "b", "c"});
  auto unknown = rank(*with, {}, of_user({"no such item"}, 3));
  CHECK(unknown.items.size() == 3);
  auto visitor = of_user({}, 1);
  visitor.session = {"e"};
  CHECK(ids(rank(*with, {}, visitor)) == std::vector<std::string>{"f"});

  auto fresh = card("new");
  fresh.trend = 9;
  auto live = rank(*with, catalogue_of({fresh}), of_user({"c"}, 6));
  CHECK(item(live, "new").sources == std::vector<std::string>{"trending"});
  CHECK(item(live, "new").notes.size() == 2);
}

TEST_CASE("hidden, deleted, expired, excluded and filtered items are not shown") {
  auto with = load("");
  auto hidden = card("a"), deleted = card("b"), expired = card("d"), later = card("e"),
       plain = card("f", {"War"});
  hidden.hidden = true;
  deleted.deleted = true;
  expired.expires = 999;
  later.expires = 5000;
  auto catalogue = catalogue_of({hidden, deleted, expired, later, plain});

  auto got = ids(rank(*with, catalogue, of_user({"c"}, 6)));
  CHECK(std::set<std::string>(got.begin(), got.end()) == std::set<std::string>{"e", "f"});
  auto asked = of_user({"c"}, 6);
  asked.exclude = {"e"};
  CHECK(ids(rank(*with, catalogue, asked)) == std::vector<std::string>{"f"});
  asked = of_user({"c"}, 6);
  asked.filters = {{"genres", test::contains, false, "War", 0, {}}};
  CHECK(ids(rank(*with, catalogue, asked)) == std::vector<std::string>{"f"});
  asked = of_user({}, 6);
  asked.candidates = {"f", "b", "elsewhere"};
  auto ranked = ids(rank(*with, catalogue, asked));
  CHECK(std::set<std::string>(ranked.begin(), ranked.end()) == std::set<std::string>{"f", "elsewhere"});
}

TEST_CASE("rules filter, boost, pin and cap, and each says so") {
  auto catalogue = catalogue_of({card("a", {"War"}), card("b", {"War"}), card("d", {"Drama"}),
                                 card("e", {"Horror"}), card("f", {"Drama"})});
  auto with = load(R"(
[[rule]]
kind = "filter"
attribute = "genres"
op = "contains"
text = "Horror"
[[rule]]
kind = "boost"
attribute = "genres"
op = "contains"
text = "War"
amount = 50
[[rule]]
kind = "cap"
attribute = "genres"
op = "contains"
text = "War"
most = 1
[[rule]]
kind = "pin"
name = "offer"
item = "f"
position = 1
)");

  auto got = rank(*with, catalogue, of_user({"c"}, 3));

  CHECK(ids(got) == std::vector<std::string>{"f", "a", "d"});
  CHECK(got.items[0].notes.back() == "pinned by offer");
  CHECK(got.items[1].notes.back() == "boosted by boost");
}

TEST_CASE("diversity puts another genre before a second one of the same") {
  auto catalogue = catalogue_of({card("a", {"War"}), card("b", {"War"}), card("c", {"Drama"})});
  CHECK(ids(rank(*load(""), catalogue, of_user({}, 2))) == std::vector<std::string>{"a", "b"});
  CHECK(ids(rank(*load("[diversity]\nmmr = 0.7"), catalogue, of_user({}, 2))) ==
        std::vector<std::string>{"a", "c"});
}

TEST_CASE("how often an item stands at a position is the propensity that its answer reports") {
  auto with =
      load("[exploration]\nshare = 0.3\namong = 3\n[[rule]]\nkind = 'pin'\nitem = 'f'\nposition = 2\n");
  constexpr int rounds = 60'000;
  std::map<std::pair<std::size_t, std::string>, int> seen;
  std::map<std::pair<std::size_t, std::string>, double> reported;
  auto asked = of_user({}, 3);
  asked.explain = false;
  for (int i = 0; i < rounds; ++i) {
    asked.seed = static_cast<std::uint64_t>(i);
    auto got = rank(*with, {}, asked);
    REQUIRE(got.items.size() == 3);
    for (std::size_t p = 0; p < 3; ++p) {
      auto key = std::pair{p, got.items[p].item};
      ++seen[key];
      auto [at, fresh] = reported.emplace(key, got.items[p].propensity);
      CHECK(at->second == got.items[p].propensity);
    }
  }

  CHECK(seen.size() == 9);
  for (auto& [key, propensity] : reported) {
    auto share = seen[key] / double{rounds};
    // Five standard errors.
    CHECK(std::abs(share - propensity) <= 5 * std::sqrt(propensity * (1 - propensity) / rounds) + 1e-12);
  }
  CHECK(reported[{1, "f"}] == 1);

  // Few items in the tail, several positions: the empty places count too.
  std::map<std::int64_t, int> at_first;
  for (std::uint64_t seed = 0; seed < rounds; ++seed)
    ++at_first[explore(4, 2, 0.5, seed).slots[1]];
  CHECK(std::abs(at_first[0] / double{rounds} - 0.125) < 0.008);
  CHECK(explore(4, 2, 0.5, 1).ranked_propensity == 0.75);
  asked.seed = 7;
  CHECK(ids(rank(*with, {}, asked)) == ids(rank(*with, {}, asked)));
}

TEST_CASE("a deadline that has passed leaves models out and says which") {
  auto asked = of_user({"c"}, 2);
  asked.until = deadline{deadline::clock::time_point{}};
  auto got = rank(*load(""), {}, asked);
  CHECK(got.items.size() == 2);
  CHECK(got.degraded == std::vector<std::string>{"deadline: model popularity did not score",
                                                 "deadline: model ease did not score"});
}

TEST_CASE("a model that is stopped by the deadline has scored the first candidates, and the answer says so") {
  /// Its first call lasts until the deadline has passed.
  class slow final : public model::scorer {
  public:
    explicit slow(deadline until) : until_{until} {}
    std::size_t items() const noexcept override { return 0; }
    void score(const model::taste&, const model::candidates& of, std::span<float> out) const override {
      while (!until_.passed())
        std::this_thread::yield();
      for (std::size_t i = 0; i < of.rows.size(); ++i)
        out[i] = static_cast<float>(i);
    }

  private:
    deadline until_;
  };
  release with;
  std::string names;
  for (int i = 0; i < 300; ++i)
    names += std::to_string(i) + "\n";
  auto asked = of_user({"elsewhere"}, 2);
  asked.until = deadline::in(std::chrono::milliseconds{500});
  auto& by = with.models.emplace_back();
  by.name = "slow";
  by.items = std::make_shared<const model::vocabulary>(*model::vocabulary::parse(names, "items"));
  by.scorer = std::make_unique<slow>(asked.until);
  for (int i = 0; i < 300; ++i)
    asked.candidates.push_back(std::to_string(i));

  auto got = rank(with, {}, asked);

  CHECK(got.degraded == std::vector<std::string>{"deadline: model slow scored 128 of 300 candidates"});
  CHECK(ids(got) == std::vector<std::string>{"127", "126"});
}

TEST_CASE(
    "a model of features scores known and new items by what is known now, and a changed feature changes it") {
  testing::temp_dir dir;
  make_dcn_release(dir.path());
  auto with = load_release(dir.path(), {});
  REQUIRE_MESSAGE(with, (with ? std::string{} : render(with.error())));
  CHECK((*with)->user_features == std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  CHECK((*with)->item_features == std::vector<std::string>{"item_activity.clicks"});
  auto catalogue = clicked_items();
  auto asked = of_user({}, 4);
  asked.candidates = {"a", "b", "fresh", "silent"};

  asked.features = {{"user_ratings.mean_rating", 5.0}};
  auto glad = rank(**with, catalogue, asked);
  asked.features = {{"user_ratings.mean_rating", 1.0}};
  auto grim = rank(**with, catalogue, asked);
  asked.features = {};
  auto unknown = rank(**with, catalogue, asked);

  // z = 2: 2 + 2 * clicks. An item without the feature is told apart: 2 - 10.
  CHECK(ids(glad) == std::vector<std::string>{"b", "fresh", "a", "silent"});
  CHECK(item(glad, "b").models == std::vector<std::pair<std::string, double>>{{"dcn", 8}});
  CHECK(item(glad, "silent").models[0].second == -8);
  CHECK(ids(grim) == std::vector<std::string>{"a", "fresh", "b", "silent"});
  CHECK(item(unknown, "b").models[0].second == 0);
  CHECK(glad.degraded.empty());
}

TEST_CASE("an answer says which features a model lacks and which come from another version of their view") {
  testing::temp_dir dir;
  make_dcn_release(dir.path());
  auto with = load_release(dir.path(), {});
  REQUIRE(with);
  auto asked = of_user({}, 2);
  asked.views = {"user_ratings@v2", "user_history@v9"};

  auto got = rank(**with, catalogue_of({card("a")}), asked);

  CHECK(got.degraded == std::vector<std::string>{
                            "catalogue: item_activity.clicks is not known, which model dcn wants",
                            "features: model dcn was trained on user_ratings@v1, served is user_ratings@v2"});
  asked.views = {"user_ratings@v1"};
  CHECK(rank(**with, clicked_items(), asked).degraded.empty());
}

TEST_CASE(
    "items like an item come from the models, for a new item from its attributes, else the answer says so") {
  auto with = load("");
  CHECK(ids(similar(*with, {}, "c", of_user({}, 1))) == std::vector<std::string>{"d"});
  auto other = card("other", {"War", "Drama"});
  other.trend = 1;
  auto catalogue = catalogue_of({card("new", {"War"}), other});
  CHECK(ids(similar(*with, catalogue, "new", of_user({}, 3))) == std::vector<std::string>{"other"});
  auto none = similar(*with, catalogue, "nobody", of_user({}, 3));
  CHECK(none.items.empty());
  CHECK(none.degraded == std::vector<std::string>{"item: unknown"});
}

TEST_CASE("a model with vectors gives candidates by nearest neighbours") {
  testing::temp_dir dir;
  bundle out{dir.path()};
  out.model("bpr", "a\nb\nc\nd\n",
            weights{}
                .add<float>("item_factors", "[4,2]", {1, 0, 0, 1, .9f, .1f, .1f, .9f})
                .add<float>("item_bias", "[4]", {0, 0, 0, 0})
                .add<float>("user_factors", "[1,2]", {1, 0}));
  out.put("models/bpr/users.txt", "u\n");
  out.done();
  auto with = load_release(dir.path(), {});
  REQUIRE(with);

  auto got = rank(**with, {}, of_user({"a"}, 2));

  CHECK(got.items[0].item == "c");
  CHECK(got.items[0].sources.front() == "nearest");
  CHECK(ids(similar(**with, {}, "b", of_user({}, 1))) == std::vector<std::string>{"d"});
}

TEST_CASE("nearest neighbours are looked for wider where a filter leaves few") {
  testing::temp_dir dir;
  bundle out{dir.path()};
  constexpr int count = 200;
  std::string names;
  std::vector<float> factors;
  std::vector<item_card> cards;
  for (int i = 0; i < count; ++i) {
    names += fmt::format("{}\n", i);
    // Nearer the smaller the number; the only one of its genre is the 150th.
    factors.insert(factors.end(), {1 - static_cast<float>(i) / count, 0});
    cards.push_back(card(std::to_string(i), {i == 150 ? "Rare" : "Common"}));
  }
  out.model("bpr", names,
            weights{}
                .add<float>("item_factors", "[200,2]", factors)
                .add<float>("item_bias", "[200]", std::vector<float>(count, 0))
                .add<float>("user_factors", "[1,2]", {1, 0}));
  out.put("models/bpr/users.txt", "u\n");
  out.put("rules.toml", "[candidates]\nsources = [{name = 'nearest', n = 10}]");
  out.done();
  auto with = load_release(dir.path(), {});
  REQUIRE(with);
  auto asked = of_user({}, 1);
  asked.filters = {{"genres", test::contains, false, "Rare", 0, {}}};

  auto got = rank(**with, catalogue_of(cards), asked);

  REQUIRE(ids(got) == std::vector<std::string>{"150"});
  CHECK(got.items[0].sources.front() == "nearest");
}

TEST_CASE("a request reads the features of its user once in a while and explains them") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::hours{1};
  auto id = make_release(f.dir / "bundles/r", "");
  f.shelf->prepare({id});
  f.wait_settled(1);
  f.front->start();

  auto got = f.ask(id, "u");
  auto* reply = reply_of(got);
  CHECK(reply->release()->str() == id);
  CHECK(reply->items()->Get(0)->item()->str() == "d");
  CHECK(reply->degraded()->size() == 0);
  CHECK(reply->features()->Get(0)->age_us() >= 50);
  CHECK(reply->stages()->Get(0)->name()->str() == "features");
  f.ask(id, "u");
  CHECK(f.reads == 1);
}

TEST_CASE(
    "one read brings exactly what the release needs of a user, and is kept apart from those of others") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::hours{1};
  f.items = std::make_shared<const item_catalogue>(clicked_items());
  auto plain = make_release(f.dir / "bundles/plain", ""), dcn = make_dcn_release(f.dir / "bundles/dcn");
  f.shelf->prepare({plain, dcn});
  f.wait_settled(2);
  f.front->start();

  f.ask(plain, "u");
  CHECK(f.reads == 1);
  CHECK(f.asked_features == std::vector<std::string>{"user_history.items"});
  auto got = f.ask(dcn, "u");
  CHECK(f.reads == 2);
  CHECK(f.asked_features == std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  CHECK(reply_of(got)->items()->Get(0)->item()->str() == "b");
  CHECK(reply_of(got)->items()->Get(0)->models()->Get(0)->score() == 8);
  f.ask(dcn, "u");
  CHECK(f.reads == 2);
  auto wanted = f.shelf->item_features();
  CHECK(wanted == std::vector<std::string>{"item_activity.clicks"});
}

TEST_CASE("a release whose features the feature store does not have is refused and says why") {
  testing::temp_dir dir;
  auto id = make_dcn_release(dir / "r");
  std::promise<std::string> told;
  release_shelf shelf{
      [&](const std::string&) -> expected<fs::path> { return dir / "r"; },
      {},
      std::chrono::hours{1},
      [&](const std::string&, const error* failed) { told.set_value(failed ? failed->text : ""); },
      [](const release& with) -> expected<void> {
        return fail(ec::not_found, "there is no {}", with.item_features.at(0));
      }};

  shelf.prepare({id});

  CHECK(told.get_future().get() == "there is no item_activity.clicks");
  CHECK(!shelf.find(id));
  CHECK(shelf.entries().at(0).state == "failed");
}

TEST_CASE("without the feature store, the catalogue or its release an answer comes and says what it lacks") {
  desk_fixture f;
  f.settings->near_cache_ttl = std::chrono::milliseconds{0};
  auto id = make_release(f.dir / "bundles/r", "");
  f.front->start();
  auto nothing = f.ask(id, "u");
  REQUIRE(!nothing);
  CHECK(nothing.error().code == ec::unavailable);
  f.shelf->prepare({id});
  f.wait_settled(1);

  f.ask(id, "known");
  f.features_up = false;
  auto got = f.ask(id, "u");
  auto* lacking = reply_of(got);
  CHECK(lacking->items()->size() == 3);
  CHECK(lacking->degraded()->Get(0)->str() == "features: no feature store");
  auto old = f.ask(id, "known");
  CHECK(reply_of(old)->items()->Get(0)->item()->str() == "d");
  CHECK(reply_of(old)->degraded()->Get(0)->str().starts_with("features: those of"));

  f.features_up = true;
  f.items = std::make_shared<const item_catalogue>();
  auto other = f.ask("another", "u");
  CHECK(reply_of(other)->degraded()->size() == 2);
  CHECK(reply_of(other)->release()->str() == id);
}

TEST_CASE("a request that is none, asks too much, comes too late or meets a stop is answered so") {
  desk_fixture f;
  auto id = make_release(f.dir / "bundles/r", "");
  f.shelf->prepare({id});
  f.wait_settled(1);
  auto code = [&](net::request asked) {
    std::promise<expected<chunk>> got;
    asked.respond = net::responder::to([&](expected<chunk> answer) { got.set_value(std::move(answer)); });
    f.front->take(std::move(asked));
    auto answer = got.get_future().get();
    REQUIRE(!answer);
    return answer.error().code;
  };
  f.front->start();
  net::request garbage;
  garbage.info.kind = wire::Kind::rank;
  garbage.payload = chunk::own(std::string(64, 'x'));
  CHECK(code(std::move(garbage)) == ec::corrupt);
  auto late = rank_request(id, "u", [](expected<chunk>) {});
  late.until = deadline{deadline::clock::time_point{}};
  CHECK(code(std::move(late)) == ec::too_late);
  net::request greedy;
  greedy.info.kind = wire::Kind::similar;
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateSimilarDirect(out, id.c_str(), "a", 1001), "TRPK");
  greedy.payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  CHECK(code(std::move(greedy)) == ec::invalid_argument);
  f.front->stop();
  CHECK(code(rank_request(id, "u", [](expected<chunk>) {})) == ec::stopping);
  // Refusals are counted and timed too.
  auto text = f.registry.text();
  CHECK(text.find("troupe_ranker_refused_total 4") != std::string::npos);
  CHECK(text.find("troupe_ranker_answer_seconds_count 4") != std::string::npos);
}

TEST_CASE("a broken release is reported as failed and the one that serves stays") {
  desk_fixture f;
  auto good = make_release(f.dir / "bundles/good", "");
  auto bad = make_release(f.dir / "bundles/bad", "[seen]\nfilter = 'x'");
  f.shelf->prepare({good});
  f.wait_settled(1);
  f.shelf->prepare({bad});
  f.wait_settled(2);

  CHECK(f.shelf->find(good));
  CHECK(!f.shelf->find(bad));
  CHECK(f.shelf->newest()->manifest.id == good);
  for (auto& each : f.shelf->entries()) {
    CHECK(each.state == (each.id == good ? "ready" : "failed"));
    CHECK((each.error.find("seen.filter") != std::string::npos) == (each.id == bad));
  }
}

TEST_CASE(
    "a hundred swaps of releases under concurrent requests lose no answer, and old releases are freed") {
  desk_fixture f;
  auto one = make_release(f.dir / "bundles/one", "", "one"),
       two = make_release(f.dir / "bundles/two", "", "two");
  f.shelf->prepare({one});
  f.wait_settled(1);
  std::weak_ptr<const release> first = f.shelf->find(one);
  f.front->start();
  std::atomic<bool> over{false};
  std::atomic<int> answered{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 2; ++c)
    clients.emplace_back([&] {
      for (int i = 0; !over; ++i) {
        auto got = f.ask(i % 2 == 0 ? one : two, "u" + std::to_string(i % 7));
        ++(got ? answered : failed);
      }
    });

  for (std::uint64_t i = 1; i <= 100; ++i) {
    f.shelf->prepare({i % 2 == 1 ? two : one});
    f.wait_settled(i + 1);
    // Wait until the other has gone, so that each turn loads afresh.
    while (f.shelf->entries().size() > 1)
      std::this_thread::yield();
  }
  over = true;
  for (auto& each : clients)
    each.join();

  CHECK(failed == 0);
  CHECK(answered > 0);
  CHECK(first.expired());
  CHECK(f.shelf->newest()->manifest.id == one);
}

TEST_CASE("the near cache keeps the users used last") {
  near_cache cache{2};
  auto state = std::make_shared<const user_state>();
  cache.put("a", state);
  cache.put("b", state);
  CHECK(cache.find("a"));
  cache.put("c", state);
  CHECK(cache.find("a"));
  CHECK(!cache.find("b"));
}

TEST_CASE("of fetched bundles those that nobody needs go, and a damaged one goes with its files") {
  testing::temp_dir dir;
  auto data = dir / "data";
  auto write = [](const std::filesystem::path& to, const std::string& text) {
    std::filesystem::create_directories(to.parent_path());
    std::ofstream{to} << text;
  };
  auto fetched = [&](const std::string& weights) {
    auto sha = sha256_hex(as_bytes(weights));
    auto manifest = fmt::format(
        R"({{"format":1,"name":"r","models":[{{"name":"m","kind":"popularity","path":"m"}}],"files":{{"m/weights":{{"sha256":"{}","bytes":{}}}}}}})",
        sha, weights.size());
    auto id = sha256_hex(as_bytes(manifest));
    write(data / "blobs" / sha, weights);
    write(data / "releases" / id / "release.json", manifest);
    std::filesystem::create_directories(data / "releases" / id / "m");
    std::filesystem::create_hard_link(data / "blobs" / sha, data / "releases" / id / "m" / "weights");
    return std::pair{id, data / "blobs" / sha};
  };
  auto [old_id, old_blob] = fetched("old");
  auto [id, blob] = fetched("new");
  bundle_store store{data, {}, nullptr, std::chrono::seconds{1}};

  store.keep_only({id});

  CHECK(!store.fetch(old_id));
  CHECK(!std::filesystem::exists(old_blob));
  CHECK(store.fetch(id));
  CHECK(std::filesystem::exists(blob));

  std::ofstream{blob, std::ios::app} << "and more";
  store.forget(id);

  CHECK(store.fetch(id).error().code == ec::not_found); // there is no registry to fetch it from again
  CHECK(!std::filesystem::exists(blob));
}
