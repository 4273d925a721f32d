#include "services/ranker/ranking/pipeline.hpp"
#include "services/ranker/serving/rank_job.hpp"
#include "services/ranker/test_actors.hpp"

#include "common/core/hash.hpp"

#include <caf/send.hpp>

#include <map>
#include <set>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;
using namespace std::chrono_literals;

namespace {

struct dispatcher_fixture : ranker_fixture {
  std::shared_ptr<scoring_pool> scoring = std::make_shared<scoring_pool>(1, 100, most_together, registry);
  std::vector<dispatcher_actor> dispatchers;
  std::string release;
  std::uint32_t replicas = 1;

  dispatcher_fixture() {
    items->set(std::make_shared<const item_snapshot>(snapshot_of({card("a"), card("d")})));
    release = make_release(dir / "r", "");
    publish("r");
    settings->near_cache_ttl = 1h;
  }

  ~dispatcher_fixture() { scoring->stop(); }

  void start(std::size_t count = 1) {
    dispatcher_deps deps;
    deps.settings = settings;
    deps.releases = releases;
    deps.items = items;
    deps.scoring = scoring;
    deps.metrics = counts;
    deps.features = features.function();
    deps.replicas = replicas;
    deps.readable = readable_attributes({});
    dispatchers = spawn_dispatchers(system, deps, count);
    for (auto& each : dispatchers)
      own(each);
  }

  void send(asked_request& asked, std::size_t to = 0) {
    if (dispatchers.empty())
      start();
    caf::anon_send(dispatchers[to], net::request_atom::value, asked.request());
    run();
  }

  static flatbuffers::FlatBufferBuilder rank_of(const std::string& release, const std::string& user,
                                                const char* attribute = nullptr) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::Filter>> filters;
    if (attribute)
      filters.push_back(wire::CreateFilterDirect(out, attribute, wire::FilterOp::contains, true, "War"));
    out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", user.c_str(), nullptr, nullptr, &filters,
                                      nullptr, nullptr, 3, true),
               "TRPK");
    return out;
  }

  /// What was asked last of the feature store is answered: the user has this history.
  void answer(text_list history = {"c"}, bool deleted = false) {
    auto question = features.next();
    question.answer(user_answer(question.features(), std::move(history), 5, deleted));
    run();
  }

  static const wire::RankReply* read(const expected<chunk>& got) {
    REQUIRE_MESSAGE(got, (got ? std::string{} : render(got.error())));
    flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(got->data()), got->size()};
    REQUIRE(verifier.VerifyBuffer<wire::RankReply>("TRPK"));
    return flatbuffers::GetRoot<wire::RankReply>(got->data());
  }

  /// A request whose token says what was written of items, up to 17 of partition 3.
  struct change {
    const char* item;
    wire::ItemChange what = wire::ItemChange::written;
  };
  flatbuffers::FlatBufferBuilder after(const std::vector<change>& changes, bool more = false,
                                       const char* similar_to = nullptr) const {
    flatbuffers::FlatBufferBuilder out;
    std::vector<wire::PartitionOffset> offsets{{3, 17}};
    std::vector<flatbuffers::Offset<wire::WrittenItem>> written;
    for (auto& each : changes)
      written.push_back(wire::CreateWrittenItemDirect(out, each.item, each.what));
    if (similar_to)
      out.Finish(wire::CreateSimilarDirect(out, release.c_str(), similar_to, 6, nullptr, nullptr, &offsets,
                                           &written, more),
                 "TRPK");
    else // Nobody in particular: no features of a user are read.
      out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", "", nullptr, nullptr, nullptr, nullptr,
                                        nullptr, 6, false, 0, &offsets, &written, more),
                 "TRPK");
    return out;
  }

  /// The snapshot has seen the log up to `offset` of partition 3.
  void items_seen(std::uint64_t offset, const std::vector<item_attributes>& cards = {card("a"), card("d")}) {
    feature_store::applied_offsets applied;
    applied.set(3, offset);
    items->set(std::make_shared<const item_snapshot>(snapshot_of(cards, applied)));
  }

  static std::set<std::string> shown(const expected<chunk>& got) {
    std::set<std::string> out;
    for (auto* each : *read(got)->items())
      out.insert(each->item()->str());
    return out;
  }
  static std::string degraded(const expected<chunk>& got) {
    std::string out;
    for (auto* each : *read(got)->degraded())
      out += each->str() + "\n";
    return out;
  }

  std::string first_of(const expected<chunk>& got) { return read(got)->items()->Get(0)->item()->str(); }
};

} // namespace

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "a request reads the features of its user once in a while and explains them") {
  asked_request one{wire::Kind::rank, rank_of(release, "u")}, two{wire::Kind::rank, rank_of(release, "u")};

  send(one);
  answer();
  auto got = one.wait();

  auto* reply = read(got);
  CHECK(reply->release()->str() == release);
  CHECK(reply->items()->Get(0)->item()->str() == "d");
  CHECK(reply->degraded()->size() == 0);
  CHECK(reply->features()->Get(0)->name()->str() == "user_history.items");
  CHECK(reply->features()->Get(0)->value()->str() == "c");
  CHECK(reply->features()->Get(0)->age_us() >= 50);
  CHECK(reply->stages()->Get(0)->name()->str() == "features");
  send(two);
  CHECK(features.asked.empty());
  CHECK(first_of(two.wait()) == "d");
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "requests for one user share one read, those for another have their own") {
  asked_request one{wire::Kind::rank, rank_of(release, "u")}, two{wire::Kind::rank, rank_of(release, "u")},
      other{wire::Kind::rank, rank_of(release, "v")};

  send(one);
  send(two);
  send(other);

  CHECK(features.asked.size() == 2);
  answer();
  CHECK(first_of(one.wait()) == "d");
  CHECK(first_of(two.wait()) == "d");
  CHECK(!other.answered());
  answer();
  CHECK(first_of(other.wait()) == "d");
  CHECK(counted("troupe_ranker_joined_reads_total 1"));
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "who has less time than the read of another one begins one of his own") {
  asked_request patient{wire::Kind::rank, rank_of(release, "u")},
      hasty{wire::Kind::rank, rank_of(release, "u"), deadline::in(50ms)};

  send(patient);
  send(hasty);

  CHECK(features.asked.size() == 2);
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "the release that the features were read for answers, whichever is current then") {
  items->set(std::make_shared<const item_snapshot>(clicked_items()));
  auto dcn = make_dcn_release(dir / "dcn");
  publish("dcn");
  asked_request asked{wire::Kind::rank, rank_of(dcn, "u")};

  send(asked);
  CHECK(features.asked.front().features() ==
        std::vector<std::string>{"user_history.items", "user_ratings.mean_rating"});
  // Another takes its place while the features are on their way.
  auto swapped = std::make_shared<release_table>();
  swapped->newest = releases->get()->find(release);
  swapped->by_id[release] = swapped->newest;
  releases->set(std::move(swapped));
  items->set(std::make_shared<const item_snapshot>(test_space()));
  answer();

  auto got = asked.wait();
  auto* reply = read(got);
  CHECK(reply->release()->str() == dcn);
  CHECK(reply->items()->Get(0)->item()->str() == "b");
  CHECK(reply->items()->Get(0)->models()->Get(0)->score() == 8);
  CHECK(reply->degraded()->size() == 0);
}

TEST_CASE_FIXTURE(dispatcher_fixture, "what releases want of a user is read and kept apart") {
  auto dcn = make_dcn_release(dir / "dcn");
  publish("dcn");
  asked_request plain{wire::Kind::rank, rank_of(release, "u")}, rich{wire::Kind::rank, rank_of(dcn, "u")},
      again{wire::Kind::rank, rank_of(dcn, "u")};

  send(plain);
  CHECK(features.asked.front().features() == std::vector<std::string>{"user_history.items"});
  answer();
  send(rich);
  CHECK(features.asked.size() == 1);
  answer();
  send(again);
  CHECK(features.asked.empty());
}

TEST_CASE_FIXTURE(dispatcher_fixture, "own writes are read past the cache, from where they stand") {
  asked_request first{wire::Kind::rank, rank_of(release, "u")};
  send(first);
  answer();
  flatbuffers::FlatBufferBuilder out;
  std::vector<wire::PartitionOffset> offsets{{3, 17}};
  out.Finish(wire::CreateRankDirect(out, release.c_str(), "arm", "u", nullptr, nullptr, nullptr, nullptr,
                                    nullptr, 3, false, 0, &offsets),
             "TRPK");
  asked_request own{wire::Kind::rank, out};

  send(own);

  REQUIRE(features.asked.size() == 1);
  auto* read = flatbuffers::GetRoot<wire::ReadFeatures>(features.asked.front().payload.data());
  CHECK(read->min_offsets()->Get(0)->partition() == 3);
  CHECK(read->min_offsets()->Get(0)->offset() == 17);
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "an answer after writes of items leaves out by name what they hid or deleted, and reads "
                  "anew what they wrote") {
  items_seen(16);
  asked_request own{
      wire::Kind::rank,
      after({{"a", wire::ItemChange::deleted}, {"b", wire::ItemChange::hidden}, {"c"}, {"d"}, {"e"}})};

  send(own);
  REQUIRE(features.asked.size() == 1);
  auto question = features.next();
  auto* read_items = flatbuffers::GetRoot<wire::ReadFeatures>(question.payload.data());
  CHECK(read_items->entity()->str() == "item");
  CHECK(read_items->ids()->size() == 3);
  CHECK(read_items->min_offsets()->Get(0)->partition() == 3);
  CHECK(read_items->min_offsets()->Get(0)->offset() == 17);
  question.answer(items_answer(question.features(), {true, false, false}, {0, 0, 1}));
  run();
  auto got = own.wait();

  CHECK(shown(got) == std::set<std::string>{"d", "f"});
  CHECK(degraded(got).empty());
  for (auto* each : *read(got)->items())
    if (each->item()->str() == "d")
      CHECK(each->title()->str() == "New title");
  std::map<std::string, std::uint32_t> why;
  for (auto* each : *read(got)->left_out())
    why[each->reason()->str()] = each->items();
  CHECK(why == std::map<std::string, std::uint32_t>{{"deleted", 2}, {"hidden", 2}});
}

TEST_CASE_FIXTURE(
    dispatcher_fixture,
    "an item that its caller has written again is one, though the snapshot calls it deleted and "
    "it cannot be read") {
  auto deleted = card("b"), other = card("d");
  deleted.deleted = other.deleted = true;
  items_seen(16, {deleted, other});
  asked_request again{wire::Kind::similar, after({{"b"}}, false, "b")},
      another{wire::Kind::similar, after({{"b"}}, false, "d")},
      hidden{wire::Kind::similar, after({{"b", wire::ItemChange::hidden}}, false, "b")};

  for (auto* each : {&again, &another}) {
    send(*each);
    features.next().fail(ec::too_late, "the offsets were not applied in time");
    run();
  }

  CHECK(degraded(again.wait()).starts_with("items_behind:"));
  CHECK(another.failure().code == ec::not_found);
  send(hidden);
  CHECK(degraded(hidden.wait()).empty());
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "an item that was hidden or deleted is shown once a write has shown it again") {
  auto hidden = card("a"), deleted = card("b");
  hidden.hidden = true;
  deleted.deleted = true;
  items_seen(16, {hidden, deleted});
  asked_request own{wire::Kind::rank, after({{"a"}, {"b"}})},
      like{wire::Kind::similar, after({{"b"}}, false, "b")};

  send(own);
  auto question = features.next();
  question.answer(items_answer(question.features(), {false, false}, {0, 0}));
  run();
  send(like);
  question = features.next();
  question.answer(items_answer(question.features(), {false}, {0}));
  run();

  CHECK(shown(own.wait()) == std::set<std::string>{"a", "b", "c", "d", "e", "f"});
  CHECK(shown(like.wait()).contains("a") ==
        false); // That one is still hidden for who does not say otherwise.
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "a snapshot that has seen the writes counts, whatever a token said of its items before") {
  items_seen(17);
  asked_request own{wire::Kind::rank, after({{"a", wire::ItemChange::deleted}, {"c"}}, true)},
      like{wire::Kind::similar, after({{"c", wire::ItemChange::deleted}}, false, "c")};

  send(own);
  send(like);

  CHECK(features.asked.empty());
  auto got = own.wait();
  CHECK(shown(got).contains("a"));
  CHECK(degraded(got).empty());
  CHECK(shown(like.wait()).contains("d"));
}

TEST_CASE_FIXTURE(
    dispatcher_fixture,
    "what cannot be known of written items is said: items_behind; of a deleted one nothing is alike") {
  items_seen(16);
  asked_request more{wire::Kind::rank, after({{"a", wire::ItemChange::deleted}}, true)},
      late{wire::Kind::rank, after({{"a", wire::ItemChange::deleted}, {"c"}})},
      like{wire::Kind::similar, after({{"c", wire::ItemChange::deleted}}, false, "c")};

  send(more);
  auto got = more.wait();
  CHECK(degraded(got).starts_with("items_behind:"));
  CHECK(!shown(got).contains("a"));
  send(late);
  features.next().fail(ec::too_late, "the offsets were not applied in time");
  run();
  got = late.wait();
  CHECK(degraded(got) == "items_behind: the offsets were not applied in time\n");
  CHECK(!shown(got).contains("a"));
  send(like);
  CHECK(like.failure().code == ec::not_found);
}

TEST_CASE_FIXTURE(dispatcher_fixture, "written items are read of the replicas that keep them, all at once") {
  items_seen(16);
  replicas = 2;
  std::vector<std::string> kept[2];
  for (std::string each : {"a", "b", "c", "d", "e", "f"})
    kept[rendezvous(each, 2)].push_back(each);
  REQUIRE(!kept[0].empty());
  REQUIRE(!kept[1].empty());
  auto &one = kept[0].front(), &other = kept[1].front();
  asked_request own{wire::Kind::rank, after({{one.c_str()}, {other.c_str()}})},
      stopped{wire::Kind::rank, after({{one.c_str()}, {other.c_str()}})};

  send(own);
  auto first = features.next(), second = features.next();
  CHECK(first.replica == 0);
  CHECK(second.replica == 1);
  second.answer(items_answer(second.features(), {true}, {0}));
  run();
  CHECK(!own.answered());
  first.answer(items_answer(first.features(), {false}, {1}));
  run();

  auto got = own.wait();
  CHECK(!shown(got).contains(one));
  CHECK(!shown(got).contains(other));
  CHECK(shown(got).size() == 4);
  send(stopped);
  caf::anon_send_exit(caf::actor_cast<caf::actor>(dispatchers[0]), caf::exit_reason::user_shutdown);
  run();
  CHECK(stopped.failure().code == ec::stopping);
}

TEST_CASE_FIXTURE(
    dispatcher_fixture,
    "without the feature store, the items or its release an answer comes and says what it lacks") {
  settings->near_cache_ttl = 0ms;
  asked_request known{wire::Kind::rank, rank_of(release, "known")},
      fresh{wire::Kind::rank, rank_of(release, "u")}, old{wire::Kind::rank, rank_of(release, "known")},
      other{wire::Kind::rank, rank_of("another", "u")};
  send(known);
  answer();
  known.wait();

  send(fresh);
  features.next().fail(ec::unavailable, "no feature store");
  run();
  auto lacking = fresh.wait();
  CHECK(read(lacking)->items()->size() == 3);
  CHECK(read(lacking)->degraded()->Get(0)->str() == "features: no feature store");

  send(old);
  features.next().fail(ec::unavailable, "no feature store");
  run();
  auto kept = old.wait();
  CHECK(first_of(kept) == "d");
  CHECK(read(kept)->degraded()->Get(0)->str().starts_with("features: those of"));

  items->set(std::make_shared<const item_snapshot>(test_space()));
  send(other);
  answer();
  auto instead = other.wait();
  CHECK(read(instead)->degraded()->size() == 2);
  CHECK(read(instead)->release()->str() == release);

  releases->set(std::make_shared<const release_table>());
  asked_request nobody{wire::Kind::rank, rank_of(release, "u")};
  send(nobody);
  CHECK(nobody.failure().code == ec::unavailable);
}

TEST_CASE_FIXTURE(dispatcher_fixture, "a user that was deleted is a stranger to models that know the id") {
  settings->near_cache_ttl = 0ms;
  bundle out{dir / "factors"};
  out.model("popularity", "a\nb\nc\nd\n", weights{}.add<float>("item_score", "[4]", {4, 3, 2, 1}), 0.1);
  out.model("bpr", "a\nb\nc\nd\n",
            weights{}
                .add<float>("item_factors", "[4,2]", {-2, 0, -1, 0, 0, 0, 9, 0})
                .add<float>("item_bias", "[4]", {0, 0, 0, 0})
                .add<float>("user_factors", "[1,2]", {1, 0}));
  out.put("models/bpr/users.txt", "u\n");
  auto id = out.done();
  publish("factors");
  auto first = [&](const std::string& user, bool deleted) {
    asked_request asked{wire::Kind::rank, rank_of(id, user)};
    send(asked);
    answer({}, deleted);
    return first_of(asked.wait());
  };

  CHECK(first("u", false) == "d");
  CHECK(first("u", true) == first("nobody", false));
  CHECK(first("u", true) != "d");
}

TEST_CASE_FIXTURE(dispatcher_fixture, "items like one need no features of a user; a deleted item has none") {
  auto gone = card("a");
  gone.deleted = true;
  items->set(std::make_shared<const item_snapshot>(snapshot_of({gone})));
  auto similar_to = [&](const std::string& item, const char* attribute = nullptr) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::Filter>> filters;
    if (attribute)
      filters.push_back(wire::CreateFilterDirect(out, attribute, wire::FilterOp::equals, false, "x"));
    out.Finish(wire::CreateSimilarDirect(out, release.c_str(), item.c_str(), 3, &filters), "TRPK");
    asked_request asked{wire::Kind::similar, out};
    send(asked);
    return asked.wait();
  };

  auto got = similar_to("c");
  CHECK(first_of(got) == "d");
  CHECK(features.asked.empty());
  CHECK(similar_to("a").error().code == ec::not_found);
  CHECK(similar_to("c", "colour").error().code == ec::invalid_argument);
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "a filter on an attribute that nothing reads is refused with those that are") {
  asked_request good{wire::Kind::rank, rank_of(release, "u", "genres")},
      bad{wire::Kind::rank, rank_of(release, "u", "colour")};

  send(good);
  answer();
  CHECK(read(good.wait())->items()->size() == 3);
  send(bad);

  auto refused = bad.failure();
  CHECK(refused.code == ec::invalid_argument);
  CHECK(refused.text.find("'colour'") != std::string::npos);
  CHECK(refused.text.find("genres") != std::string::npos);
}

TEST_CASE_FIXTURE(dispatcher_fixture,
                  "a request that is none, asks too much or comes too late is answered so") {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateSimilarDirect(out, release.c_str(), "a", 1001), "TRPK");
  asked_request greedy{wire::Kind::similar, out}, garbage{wire::Kind::rank, out},
      late{wire::Kind::rank, rank_of(release, "u"), deadline{deadline::clock::time_point{}}};
  garbage.request()->payload = chunk::own(std::string(64, 'x'));

  send(greedy);
  send(garbage);
  send(late);

  CHECK(greedy.failure().code == ec::invalid_argument);
  CHECK(garbage.failure().code == ec::corrupt);
  CHECK(late.failure().code == ec::too_late);
  // Refusals are counted and timed too.
  CHECK(counted("troupe_ranker_refused_total 3"));
  CHECK(counted("troupe_ranker_answer_seconds_count 3"));
}

TEST_CASE_FIXTURE(dispatcher_fixture, "a request beyond those that may wait for features is refused") {
  settings->max_waiting = 1;
  asked_request first{wire::Kind::rank, rank_of(release, "u")},
      second{wire::Kind::rank, rank_of(release, "u")}, third{wire::Kind::rank, rank_of(release, "u")};

  send(first);
  send(second);
  CHECK(second.failure().code == ec::overloaded);
  answer();
  first.wait();

  settings->near_cache_ttl = 0ms;
  send(third);
  answer();
  CHECK(first_of(third.wait()) == "d");
}

TEST_CASE_FIXTURE(dispatcher_fixture, "stopped half-way every request is answered, and all dispatchers end") {
  start(2);
  asked_request one{wire::Kind::rank, rank_of(release, "u")}, two{wire::Kind::rank, rank_of(release, "v")};
  send(one, 0);
  send(two, 1);

  caf::anon_send_exit(caf::actor_cast<caf::actor>(dispatchers[0]), caf::exit_reason::user_shutdown);
  run();

  CHECK(one.failure().code == ec::stopping);
  CHECK(two.failure().code == ec::stopping);
  // An answer that comes now is nobody's.
  answer();
  answer();
}

TEST_CASE("the user of a request is found by reading no more than that, and in garbage there is none") {
  auto out = dispatcher_fixture::rank_of("release", "somebody");
  auto bytes = net::bytes_of(out);
  CHECK(peek_user(bytes) == "somebody");
  // Cut and changed in every place it is read or not, but never past the end: the sanitizers watch.
  std::string text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  for (std::size_t i = 0; i < text.size(); ++i) {
    peek_user(chunk::copy(as_bytes(text.substr(0, i))));
    auto changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 0x80);
    peek_user(chunk::copy(as_bytes(changed)));
  }
  CHECK(peek_user(chunk::own(std::string(64, 'x'))).empty());
}
