#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/ranking/pipeline.hpp"
#include "services/ranker/release/load.hpp"
#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>
#include <thread>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

release_ptr load(const std::string& rules) {
  troupe::testing::temp_dir dir;
  make_release(dir.path(), rules);
  auto loaded = load_release(dir.path(), test_options());
  REQUIRE_MESSAGE(loaded, (loaded ? std::string{} : render(loaded.error())));
  return *loaded;
}

std::vector<std::string> ids(const ranking& of) {
  std::vector<std::string> out;
  for (auto& each : of.items)
    out.emplace_back(each.item);
  return out;
}

query of_user(const std::vector<std::string>& history, std::uint32_t n) {
  query out;
  out.user = "u";
  out.known = known_user(history);
  out.n = n;
  out.now = 1000;
  out.explain = true;
  return out;
}

const ranked_item& item(const ranking& in, const std::string& id) {
  auto found = std::find_if(in.items.begin(), in.items.end(), [&](auto& each) { return each.item == id; });
  REQUIRE(found != in.items.end());
  return *found;
}

} // namespace

TEST_CASE(
    "a known user gets neighbours of the history first, nothing seen, with sources, reasons and scores") {
  auto release = load("");
  auto got = rank(*release, snapshot_of({card("d"), card("b")}), of_user({"c"}, 3));

  REQUIRE(got.items.size() == 3);
  CHECK(got.items[0].item == "d");
  CHECK(got.items[0].title == "Title of d");
  REQUIRE(got.items[0].because.size() == 1);
  CHECK(got.items[0].because[0] == "c");
  CHECK(got.items[0].sources.names().front() == "item-to-item");
  CHECK(got.items[0].models.size() == 2);
  CHECK(got.items[0].propensity == 1);
  CHECK(got.degraded.empty());
  for (auto& each : got.items)
    CHECK(each.item != "c");
  CHECK(got.stages.size() == 5);
}

TEST_CASE(
    "new users get popular and trending items, their session speaks for them, and unknown items do no harm") {
  auto release = load("");
  auto anybody = rank(*release, {}, of_user({}, 3));
  CHECK(ids(anybody) == std::vector<std::string>{"a", "b", "c"});
  auto unknown = rank(*release, {}, of_user({"no such item"}, 3));
  CHECK(unknown.items.size() == 3);
  auto visitor = of_user({}, 1);
  visitor.session = {"e"};
  CHECK(ids(rank(*release, {}, visitor)) == std::vector<std::string>{"f"});

  auto fresh = card("new");
  fresh.trend = 9;
  auto live = rank(*release, snapshot_of({fresh}), of_user({"c"}, 6));
  CHECK(item(live, "new").sources.names() == std::vector<std::string>{"trending"});
  CHECK(item(live, "new").notes.size() == 2);
}

TEST_CASE("hidden, deleted, expired, excluded and filtered items are not shown") {
  auto release = load("");
  auto hidden = card("a"), deleted = card("b"), expired = card("d"), later = card("e"),
       plain = card("f", {"War"});
  hidden.hidden = true;
  deleted.deleted = true;
  expired.expires = 999;
  later.expires = 5000;
  auto items = snapshot_of({hidden, deleted, expired, later, plain});

  auto got = ids(rank(*release, items, of_user({"c"}, 6)));
  CHECK(std::set<std::string>(got.begin(), got.end()) == std::set<std::string>{"e", "f"});
  auto asked = of_user({"c"}, 6);
  asked.exclude = {"e"};
  CHECK(ids(rank(*release, items, asked)) == std::vector<std::string>{"f"});
  asked = of_user({"c"}, 6);
  asked.filters = {{"genres", predicate_op::contains, false, "War", 0, {}}};
  CHECK(ids(rank(*release, items, asked)) == std::vector<std::string>{"f"});
  asked = of_user({}, 6);
  asked.candidates = {"f", "b", "elsewhere"};
  auto ranked = ids(rank(*release, items, asked));
  CHECK(std::set<std::string>(ranked.begin(), ranked.end()) == std::set<std::string>{"f", "elsewhere"});
}

TEST_CASE("rules filter, boost, pin and cap, and each says so") {
  auto items = snapshot_of({card("a", {"War"}), card("b", {"War"}), card("d", {"Drama"}),
                            card("e", {"Horror"}), card("f", {"Drama"})});
  auto release = load(R"(
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

  auto got = rank(*release, items, of_user({"c"}, 3));

  CHECK(ids(got) == std::vector<std::string>{"f", "a", "d"});
  CHECK(got.items[0].notes.back() == "pinned by offer");
  CHECK(got.items[1].notes.back() == "boosted by boost");
}

TEST_CASE("diversity puts another genre before a second one of the same") {
  auto items = snapshot_of({card("a", {"War"}), card("b", {"War"}), card("c", {"Drama"})});
  CHECK(ids(rank(*load(""), items, of_user({}, 2))) == std::vector<std::string>{"a", "b"});
  CHECK(ids(rank(*load("[diversity]\nmmr = 0.7"), items, of_user({}, 2))) ==
        std::vector<std::string>{"a", "c"});
}

TEST_CASE("how often an item stands at a position is the propensity that its answer reports") {
  auto release =
      load("[exploration]\nshare = 0.3\namong = 3\n[[rule]]\nkind = 'pin'\nitem = 'f'\nposition = 2\n");
  constexpr int rounds = 60'000;
  std::map<std::pair<std::size_t, std::string>, int> seen;
  std::map<std::pair<std::size_t, std::string>, double> reported;
  auto asked = of_user({}, 3);
  asked.explain = false;
  for (int i = 0; i < rounds; ++i) {
    asked.seed = static_cast<std::uint64_t>(i);
    auto got = rank(*release, {}, asked);
    REQUIRE(got.items.size() == 3);
    for (std::size_t p = 0; p < 3; ++p) {
      auto key = std::pair{p, std::string{got.items[p].item}};
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
  CHECK(ids(rank(*release, {}, asked)) == ids(rank(*release, {}, asked)));
}

TEST_CASE("a deadline that has passed leaves models out and says which") {
  auto asked = of_user({"c"}, 2);
  asked.until = deadline{deadline::clock::time_point{}};
  auto got = rank(*load(""), {}, asked);
  CHECK(got.items.size() == 2);
  CHECK(texts(got.degraded) == std::vector<std::string>{"deadline: model popularity did not score",
                                                        "deadline: model ease did not score"});
  CHECK(got.degraded[0].code == "deadline");
  CHECK(got.degraded[0].share == 1);
}

TEST_CASE("a model that is stopped by the deadline has scored the first candidates, and the answer says so") {
  /// Its first call lasts until the deadline has passed.
  class slow final : public model::scorer {
  public:
    explicit slow(deadline until) : until_{until} {}
    std::size_t items() const noexcept override { return 0; }
    void score(const model::user_context&, const model::candidates& of, std::span<float> out) const override {
      while (!until_.passed())
        std::this_thread::yield();
      for (std::size_t i = 0; i < of.rows.size(); ++i)
        out[i] = static_cast<float>(i);
    }

  private:
    deadline until_;
  };
  loaded_release release;
  std::string names;
  for (int i = 0; i < 300; ++i)
    names += std::to_string(i) + "\n";
  auto asked = of_user({"elsewhere"}, 2);
  asked.until = deadline::in(std::chrono::milliseconds{500});
  auto& by = release.models.emplace_back();
  by.name = "slow";
  release.space = test_space();
  by.rows = std::make_shared<const item_rows>(*model::vocabulary::parse(names, "items"), *release.space);
  by.scorer = std::make_unique<slow>(asked.until);
  for (model::row i = 0; i < 300; ++i)
    asked.candidates.push_back(release.space->id(by.rows->item(i)));

  auto got = rank(release, {}, asked);

  CHECK(texts(got.degraded) == std::vector<std::string>{"deadline: model slow scored 128 of 300 candidates"});
  CHECK(got.degraded[0].share == doctest::Approx(172.0 / 300));
  CHECK(ids(got) == std::vector<std::string>{"127", "126"});
}

TEST_CASE(
    "a model of features scores known and new items by what is known now, and a changed feature changes it") {
  troupe::testing::temp_dir dir;
  make_dcn_release(dir.path());
  auto release = load_release(dir.path(), test_options());
  REQUIRE_MESSAGE(release, (release ? std::string{} : render(release.error())));
  CHECK((*release)->user_features ==
        std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  CHECK((*release)->item_features == std::vector<std::string>{"item_activity.clicks"});
  auto items = clicked_items();
  auto asked = of_user({}, 4);
  asked.candidates = {"a", "b", "fresh", "silent"};

  asked.known = known_user({}, {{"user_ratings.mean_rating", 5.0}});
  auto glad = rank(**release, items, asked);
  asked.known = known_user({}, {{"user_ratings.mean_rating", 1.0}});
  auto grim = rank(**release, items, asked);
  asked.known = known_user({});
  auto unknown = rank(**release, items, asked);

  // z = 2: 2 + 2 * clicks. An item without the feature is told apart: 2 - 10.
  CHECK(ids(glad) == std::vector<std::string>{"b", "fresh", "a", "silent"});
  CHECK(item(glad, "b").models == std::vector<std::pair<std::string, double>>{{"dcn", 8}});
  CHECK(item(glad, "silent").models[0].second == -8);
  CHECK(ids(grim) == std::vector<std::string>{"a", "fresh", "b", "silent"});
  CHECK(item(unknown, "b").models[0].second == 0);
  CHECK(glad.degraded.empty());
}

TEST_CASE("an answer says which features a model lacks and which come from another version of their view") {
  troupe::testing::temp_dir dir;
  make_dcn_release(dir.path());
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);
  auto asked = of_user({}, 2);
  asked.known = known_user({}, {}, {"user_ratings@v2", "user_history@v9"});

  auto got = rank(**release, snapshot_of({card("a")}), asked);

  CHECK(texts(got.degraded) ==
        std::vector<std::string>{
            "items: item_activity.clicks is not known, which model dcn wants",
            "features: model dcn was trained on user_ratings@v1, served is user_ratings@v2"});
  asked.known = known_user({}, {}, {"user_ratings@v1"});
  CHECK(rank(**release, clicked_items(), asked).degraded.empty());
}

TEST_CASE(
    "items like an item come from the models, for a new item from its attributes, else the answer says so") {
  auto release = load("");
  CHECK(ids(similar(*release, {}, "c", of_user({}, 1))) == std::vector<std::string>{"d"});
  auto other = card("other", {"War", "Drama"});
  other.trend = 1;
  auto items = snapshot_of({card("new", {"War"}), other});
  CHECK(ids(similar(*release, items, "new", of_user({}, 3))) == std::vector<std::string>{"other"});
  auto none = similar(*release, items, "nobody", of_user({}, 3));
  CHECK(none.items.empty());
  CHECK(texts(none.degraded) == std::vector<std::string>{"item: unknown"});
}

TEST_CASE("an answer that is short says what was considered and why it was left out; one that is not says "
          "nothing") {
  using reasons = std::map<std::string, std::uint32_t>;
  auto release = load("");
  auto everything = rank(*release, {}, of_user({"a", "b", "c", "d", "e", "f"}, 3));
  CHECK(everything.items.empty());
  REQUIRE(everything.shortage);
  CHECK(everything.shortage->considered == 6);
  CHECK(everything.shortage->left_out == reasons{{"seen", 6}});
  CHECK(!rank(*release, {}, of_user({"a", "b", "c"}, 3)).shortage);

  auto asked = of_user({"a"}, 6);
  asked.exclude = {"b"};
  asked.filters = {{"genres", predicate_op::contains, true, "War", 0, {}}};
  auto hidden = card("c"), deleted = card("d"), expired = card("e");
  hidden.hidden = deleted.deleted = true;
  expired.expires = 1000;
  auto mixed = rank(*release, snapshot_of({hidden, deleted, expired, card("f", {"War"})}), asked);
  REQUIRE(mixed.shortage);
  CHECK(mixed.shortage->left_out ==
        reasons{{"deleted", 1}, {"excluded", 1}, {"expired", 1}, {"filter", 1}, {"hidden", 1}, {"seen", 1}});

  auto capped = load("[[rule]]\nkind = 'cap'\nattribute = 'genres'\nop = 'contains'\ntext = 'War'\nmost = 1\n"
                     "[[rule]]\nkind = 'pin'\nitem = 'p'\nposition = 2\n");
  auto few = rank(*capped, snapshot_of({card("a", {"War"}), card("b", {"War"}), card("c", {"War"})}),
                  of_user({"d"}, 9));
  REQUIRE(few.shortage);
  CHECK(few.items.size() == 4); // One of three, e, f, and the pinned one, which no source gave.
  CHECK(few.shortage->considered == 6);
  CHECK(few.shortage->left_out == reasons{{"cap", 2}, {"seen", 1}});

  asked = of_user({}, 3);
  asked.exclude = {"d"};
  auto like = similar(*release, {}, "c", asked);
  REQUIRE(like.shortage);
  CHECK(like.shortage->left_out["excluded"] == 1);
  auto none = similar(*release, {}, "nobody", asked);
  REQUIRE(none.shortage);
  CHECK(none.shortage->considered == 0);
  CHECK(none.shortage->left_out.empty());
}

TEST_CASE("a model with vectors gives candidates by nearest neighbours") {
  troupe::testing::temp_dir dir;
  bundle out{dir.path()};
  out.model("bpr", "a\nb\nc\nd\n",
            weights{}
                .add<float>("item_factors", "[4,2]", {1, 0, 0, 1, .9f, .1f, .1f, .9f})
                .add<float>("item_bias", "[4]", {0, 0, 0, 0})
                .add<float>("user_factors", "[1,2]", {1, 0}));
  out.put("models/bpr/users.txt", "u\n");
  out.done();
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);

  auto got = rank(**release, {}, of_user({"a"}, 2));

  CHECK(got.items[0].item == "c");
  CHECK(got.items[0].sources.names().front() == "nearest");
  CHECK(ids(similar(**release, {}, "b", of_user({}, 1))) == std::vector<std::string>{"d"});
}

TEST_CASE("nearest neighbours are found where a filter leaves few of them") {
  troupe::testing::temp_dir dir;
  bundle out{dir.path()};
  constexpr int count = 200;
  std::string names;
  std::vector<float> factors;
  std::vector<item_attributes> cards;
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
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);
  auto asked = of_user({}, 1);
  asked.filters = {{"genres", predicate_op::contains, false, "Rare", 0, {}}};

  auto got = rank(**release, snapshot_of(cards), asked);

  REQUIRE(ids(got) == std::vector<std::string>{"150"});
  CHECK(got.items[0].sources.names().front() == "nearest");
}

TEST_CASE("those who are ranked together get what each of them gets alone") {
  troupe::testing::temp_dir dir;
  bundle out{dir.path()};
  std::string names;
  std::vector<float> factors;
  for (int i = 0; i < 300; ++i) {
    names += fmt::format("t{}\n", i);
    factors.insert(factors.end(), {std::sin(static_cast<float>(i)), std::cos(static_cast<float>(i))});
  }
  out.model("bpr", names,
            weights{}
                .add<float>("item_factors", "[300,2]", factors)
                .add<float>("item_bias", "[300]", std::vector<float>(300, 0))
                .add<float>("user_factors", "[2,2]", {1, 0, 0, 1}));
  out.put("models/bpr/users.txt", "u\nv\n");
  out.done();
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);
  auto hidden = card("t17");
  hidden.hidden = true;
  auto plain = snapshot_of({card("t3")}), other = snapshot_of({hidden});
  std::array asked{of_user({"t5"}, 5), of_user({}, 9), of_user({"t1", "t2"}, 3)};
  asked[1].user = "v";
  asked[1].exclude = {"t80"};
  asked[2].user = "nobody";
  std::array inputs{rank_input{&plain, &asked[0]}, rank_input{&other, &asked[1]},
                    rank_input{&other, &asked[2]}};
  std::vector<std::vector<std::string>> together;

  rank_together(**release, inputs, [&](std::size_t i, std::optional<ranking> made) {
    CHECK(i == together.size());
    REQUIRE(made);
    together.push_back(ids(*made));
  });

  REQUIRE(together.size() == 3);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(together[i] == ids(rank(**release, *inputs[i].items, asked[i])));

  inputs[1].until = deadline{deadline::clock::time_point{}};
  std::vector<bool> answered;
  rank_together(**release, inputs, [&](std::size_t, auto made) { answered.push_back(made.has_value()); });
  CHECK(answered == std::vector<bool>{true, false, true}); // Nobody waits for the second any more.
}

TEST_CASE("with `rerank` a dear model scores the best of the others alone, and who is not among these stands "
          "behind them") {
  troupe::testing::temp_dir dir;
  auto load_dcn = [&](const std::string& rules) {
    bundle out{dir / rules.substr(0, 4)};
    out.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {6, 5, 4, 3, 2, 1}), 0.1);
    // The more clicks the worse.
    out.model("dcn", six_items,
              weights{}
                  .add<float>("number.mean", "[1]", {0})
                  .add<float>("number.deviation", "[1]", {1})
                  .add<float>("cross.0.weight", "[2,2]", {0, 0, 0, 0})
                  .add<float>("cross.0.bias", "[2]", {0, 0})
                  .add<float>("deep.0.weight", "[1,2]", {0, 0})
                  .add<float>("deep.0.bias", "[1]", {0})
                  .add<float>("head.weight", "[1,3]", {-1, 0, 0})
                  .add<float>("head.bias", "[1]", {0}),
              9,
              boost::json::parse(
                  R"({"features":[{"name":"item_activity.clicks","entity":"item","kind":"number"}]})")
                  .as_object());
    out.put("rules.toml", rules);
    out.done();
    auto release = load_release(dir / rules.substr(0, 4), test_options());
    REQUIRE_MESSAGE(release, (release ? std::string{} : render(release.error())));
    return *release;
  };
  item_snapshot items{test_space(),
                      {clicked("a", 4), clicked("b", 3), clicked("c", 2), clicked("d", 1), clicked("e", 0)},
                      {{}, {"item_activity.clicks"}, {}, {}}};
  auto asked = of_user({}, 2);
  asked.candidates = {"a", "b", "c", "d", "e"};

  CHECK(ids(rank(*load_dcn("# of all"), items, asked)) == std::vector<std::string>{"e", "d"});
  auto release = load_dcn("[candidates]\nrerank = 3\n");
  CHECK(ids(rank(*release, items, asked)) == std::vector<std::string>{"c", "b"});
  asked.n = 5; // As many as are needed are scored, whatever the rules say.
  CHECK(ids(rank(*release, items, asked)) == std::vector<std::string>{"e", "d", "c", "b", "a"});
  asked.n = 1;
  auto best = rank(*release, items, asked).items.at(0);
  CHECK(best.item == "c");
  CHECK(best.models.size() == 2);
  asked.n = 3;
  auto three = rank(*release, items, asked);
  CHECK(ids(three) == std::vector<std::string>{"c", "b", "a"});
}

TEST_CASE("a model that gives a number that is not one says nothing, and the others rank on") {
  auto ranked = [](float of_a) {
    troupe::testing::temp_dir dir;
    bundle made{dir.path()};
    made.model("popularity", six_items, weights{}.add<float>("item_score", "[6]", {of_a, 5, 5, 5, 5, 5}));
    made.model("bpr", six_items,
               weights{}
                   .add<float>("item_factors", "[6,1]", {1, 1, 1, 1, 1, 1})
                   .add<float>("item_bias", "[6]", {1, 2, 4, 3, 5, 6})
                   .add<float>("user_factors", "[0,1]", {}));
    made.done();
    auto loaded = load_release(dir.path(), test_options());
    REQUIRE_MESSAGE(loaded, (loaded ? std::string{} : render(loaded.error())));
    auto asked = of_user({"f"}, 5);
    asked.candidates = {"a", "b", "c", "d", "e"};
    auto got = rank(**loaded, snapshot_of({}), asked);
    for (auto& each : got.items)
      CHECK(std::isfinite(each.score));
    return ids(got);
  };

  CHECK(ranked(std::nanf("")) == std::vector<std::string>{"e", "c", "d", "b", "a"});
  CHECK(ranked(5) == std::vector<std::string>{"e", "c", "d", "b", "a"}); // Nor does one with equal scores.
}
