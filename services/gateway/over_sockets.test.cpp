#include "services/gateway/test_gateway.hpp"

#include "common/event/record.hpp"
#include "common/net/endpoint.hpp"

#include "schemas/ingest_generated.h"
#include "schemas/ranker_generated.h"

#include <thread>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;
namespace json = boost::json;

namespace {

/// An ingest, a deployer and a ranker that say what the test wants; their side of each story is kept.
struct fake_fleet : served_gateway {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, record> log;
  std::uint64_t answers_reported = 0, shadows_reported = 0;
  std::map<std::string, int> ranked; ///< By arm.
  std::string answering;             ///< The release that answers, where not the one asked for.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> waited_for; ///< By the last ranking.
  std::map<std::string, wire::ItemChange> written;                 ///< Before the last ranking.
  std::uint64_t trace_low = 0;                                     ///< Of the last ranking.
  std::vector<std::unique_ptr<net::endpoint>> endpoints;
  std::vector<std::shared_ptr<net::client>> clients;

  backend serve(const std::string& name, net::handler_map handlers) {
    net::endpoint_options options;
    options.address = "ipc://" + (folder / (name + ".sock")).string();
    options.identity = name;
    endpoints.push_back(net::endpoint::open(options, std::move(handlers)).value());
    net::client_options asking;
    asking.service = name;
    asking.addresses = {options.address};
    asking.caller = "gateway/0";
    clients.push_back(net::client::open(asking).value());
    return backend{clients.back()};
  }

  void open() {
    net::handler_map ingest, deployer, ranker;
    ingest[wire::Kind::append] = [this](net::request req) {
      const auto* asked = flatbuffers::GetRoot<wire::Append>(req.payload.data());
      auto held = batch::open(chunk::copy({reinterpret_cast<const std::byte*>(asked->batch()->data()),
                                           asked->batch()->size()}))
                      .value();
      flatbuffers::FlatBufferBuilder out;
      std::vector<flatbuffers::Offset<wire::RowResult>> rows;
      {
        std::lock_guard lock{mutex};
        for (std::size_t i = 0; i < held.size(); ++i) {
          auto rec = to_record(held[i]);
          bool fresh = log.emplace(rec.id, rec).second;
          rows.push_back(wire::CreateRowResult(out, fresh ? wire::Outcome::added : wire::Outcome::duplicate));
        }
        changed.notify_all();
      }
      std::vector<wire::PartitionOffset> places{{3, log.size()}};
      auto list = out.CreateVector(rows);
      out.Finish(wire::CreateAppendReply(out, list, out.CreateVectorOfStructs(places)), "TRPI");
      req.respond.reply(bytes_of(out));
    };
    deployer[wire::Kind::routing] = [](net::request req) {
      flatbuffers::FlatBufferBuilder out;
      std::vector<flatbuffers::Offset<wire::Arm>> arms{
          wire::CreateArm(out, out.CreateString("production"), out.CreateString("r1"), 0.5),
          wire::CreateArm(out, out.CreateString("canary"), out.CreateString("r2"), 0.5)};
      auto list = out.CreateVector(arms);
      auto salt = out.CreateString("s"), shadow = out.CreateString("r3"), rollout = out.CreateString("x");
      out.Finish(wire::CreateRoutingTable(out, 1, list, salt, shadow, rollout), "TRPD");
      req.respond.reply(bytes_of(out));
    };
    deployer[wire::Kind::arm_report] = [this](net::request req) {
      const auto* asked = flatbuffers::GetRoot<wire::ArmReport>(req.payload.data());
      {
        std::lock_guard lock{mutex};
        if (asked->arms())
          for (const auto* each : *asked->arms())
            answers_reported += each->answers();
        if (asked->shadow())
          for (const auto* each : *asked->shadow())
            shadows_reported += each->compared();
        changed.notify_all();
      }
      flatbuffers::FlatBufferBuilder out;
      out.Finish(wire::CreateArmReportReply(out, asked->number() + 1, 1), "TRPD");
      req.respond.reply(bytes_of(out));
    };
    auto rank = [this](net::request req) {
      const auto* asked = flatbuffers::GetRoot<wire::Rank>(req.payload.data());
      {
        std::lock_guard lock{mutex};
        ++ranked[asked->arm()->str() + "/" + asked->release()->str()];
        if (asked->arm()->str() != "shadow") {
          trace_low = req.info.trace.trace_low;
          waited_for.clear();
          written.clear();
          for (std::uint32_t i = 0; asked->written() && i < asked->written()->size(); ++i)
            written[asked->written()->Get(i)->item()->str()] = asked->written()->Get(i)->change();
          for (std::size_t i = 0; asked->min_offsets() && i < asked->min_offsets()->size(); ++i)
            waited_for.emplace_back(asked->min_offsets()->Get(static_cast<std::uint32_t>(i))->partition(),
                                    asked->min_offsets()->Get(static_cast<std::uint32_t>(i))->offset());
        }
      }
      flatbuffers::FlatBufferBuilder out;
      std::vector<flatbuffers::Offset<wire::RankedItem>> items;
      for (std::uint32_t i = 0; i < asked->n(); ++i) {
        auto item = out.CreateString(fmt::format("i{}", i)),
             title = out.CreateString(fmt::format("Title {}", i));
        wire::RankedItemBuilder made{out};
        made.add_item(item);
        made.add_title(title);
        made.add_score(1.0 / (i + 1));
        made.add_propensity(0.25);
        items.push_back(made.Finish());
      }
      auto list = out.CreateVector(items);
      auto release = out.CreateString(answering.empty() ? asked->release()->str() : answering);
      wire::RankReplyBuilder made{out};
      made.add_release(release);
      made.add_items(list);
      out.Finish(made.Finish(), "TRPK");
      req.respond.reply(bytes_of(out));
    };
    ranker[wire::Kind::rank] = rank;
    backends behind;
    behind.ingest = serve("ingest", std::move(ingest));
    behind.deployer = serve("deployer", std::move(deployer));
    behind.ranker = serve("ranker", std::move(ranker));
    sockets = behind;
    served_gateway::open();
    own(spawn_routing_client(system(), deps, {}));
    own(spawn_arm_reporter(system(), deps));
    own(spawn_slate_sender(system(), deps, [](std::function<void()> task) -> expected<void> {
      task();
      return {};
    }));
    for (auto until = deadline::in(20s); deps->routing.get()->version == 0 && !until.passed();)
      std::this_thread::yield();
  }

  bool wait(const std::function<bool()>& done) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, 20s, done);
  }
};

} // namespace

TEST_CASE(
    "a ranked answer shows its arm, keeps it, enters the log as one slate and is reported to the deployer") {
  fake_fleet fleet;
  fleet.settings->rank_timeout = 20s;
  fleet.open();
  std::map<std::string, std::string> arm_of;
  std::string request;

  for (int turn = 0; turn < 2; ++turn)
    for (int user = 0; user < 20; ++user) {
      auto name = "u" + std::to_string(user);
      auto answer = fleet.good("GET", "/v1/users/" + name + "/recommendations?n=3");
      request = text_of(answer.at("request_id"));
      CHECK(answer.at("degraded").as_array().empty());
      REQUIRE(answer.at("items").as_array().size() == 3);
      CHECK(text_of(answer.at("items").at(0).at("title")) == "Title 0");
      auto& arm = arm_of[name];
      if (turn == 1)
        CHECK(arm == text_of(answer.at("arm")));
      arm = text_of(answer.at("arm"));
      CHECK(text_of(answer.at("release")) == (arm == "canary" ? "r2" : "r1"));
    }

  CHECK(fleet.wait([&] { return fleet.log.size() == 40; }));
  CHECK(fleet.wait([&] { return fleet.answers_reported == 40 && fleet.shadows_reported > 0; }));
  {
    std::lock_guard lock{fleet.mutex};
    CHECK(fleet.ranked.size() == 3);
    CHECK(fleet.ranked["shadow/r3"] > 0);
    REQUIRE(fleet.log.contains("slate:" + request));
    const auto& seen = fleet.log["slate:" + request];
    CHECK(seen.kind == record_kind::slate);
    CHECK(seen.request_id == request);
    std::map<std::string, attribute_value> said;
    for (const auto& each : seen.attributes)
      said[each.name] = each.value;
    REQUIRE(seen.shown.size() == 3);
    CHECK(seen.shown[2].propensity == 0.25);
    CHECK(seen.shown[2].position == 3);
    CHECK(!said.contains("degraded"));
    CHECK(said["arm"] == attribute_value{arm_of["u19"]});
  }
  auto inspected = fleet.good("GET", "/v1/requests/" + request);
  CHECK(inspected.at("items").as_array().size() == 3);
  CHECK(text_of(inspected.at("rollout")) == "x");
}

TEST_CASE("when the ranker goes away the answer is what was shown most, flagged, and counted as an error of "
          "its arm") {
  fake_fleet fleet;
  fleet.open();
  fleet.good("GET", "/v1/users/u1/recommendations?n=3");
  fleet.endpoints.pop_back();

  json::value answer;
  for (auto until = deadline::in(60s); !until.passed();) {
    answer = fleet.good("GET", "/v1/users/u1/recommendations?n=3");
    if (!answer.at("items").as_array().empty())
      break;
  }

  CHECK(!answer.at("degraded").as_array().empty());
  CHECK(!text_of(answer.at("arm")).empty());
  REQUIRE(answer.at("items").as_array().size() == 3);
  CHECK(text_of(answer.at("items").at(0).at("title")).starts_with("Title"));
  // A deleted item is not shown from the moment its deletion is acknowledged.
  fleet.good("DELETE", "/v1/items/i1");
  auto after = fleet.good("GET", "/v1/users/u1/recommendations?n=3");
  for (const auto& each : after.at("items").as_array())
    CHECK(text_of(each.at("item")) != "i1");
}

TEST_CASE("the token of a write makes a read wait for it, and the trace goes on to the ranker") {
  fake_fleet fleet;
  fleet.open();

  auto wrote = fleet.ask(
      "POST", "/v1/events",
      R"([{"id":"e1","type":"click","user":"u1","item":"i1","event_time":"2026-01-01T00:00:00Z"}])");
  std::string token;
  for (const auto& [name, value] : wrote.headers)
    if (name == "X-Consistency-Token")
      token = value;
  CHECK(token == "3:1");
  CHECK(text_of(json::parse(wrote.body).at("token")) == token);
  auto read = fleet.ask("GET", "/v1/users/u1/recommendations", {},
                        {{"X-Consistency-Token", token},
                         {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}});

  CHECK(read.status == 200);
  std::lock_guard lock{fleet.mutex};
  CHECK(fleet.waited_for == std::vector<std::pair<std::uint32_t, std::uint64_t>>{{3, 1}});
  CHECK(fleet.trace_low == 0x8448eb211c80319cu);
}

TEST_CASE("the token of a write of items says to the ranker what became of each") {
  fake_fleet fleet;
  fleet.open();
  auto after = [&](const std::string& token) {
    CHECK(fleet.ask("GET", "/v1/users/u1/recommendations", {}, {{"X-Consistency-Token", token}}).status ==
          200);
    std::lock_guard lock{fleet.mutex};
    return fleet.written;
  };
  using changes = std::map<std::string, wire::ItemChange>;

  auto deleted = text_of(fleet.good("DELETE", "/v1/items/i1").at("token"));
  auto many = text_of(fleet
                          .good("POST", "/v1/items",
                                R"([{"id":"a","item":"i2","attributes":{"hidden":true}},
                                    {"id":"b","item":"i3","attributes":{"title":"T"}},
                                    {"id":"c","item":"i4","attributes":{"deleted":true}},
                                    {"id":"a","item":"i2","attributes":{"hidden":true}}])")
                          .at("token"));

  CHECK(deleted == "3:1;i1");
  CHECK(after(deleted) == changes{{"i1", wire::ItemChange::deleted}});
  // The second row of i2 is there already: perhaps it is not the newest of its item.
  CHECK(many == "3:4;i4;+i2;+i3");
  CHECK(after(many) == changes{{"i2", wire::ItemChange::written},
                               {"i3", wire::ItemChange::written},
                               {"i4", wire::ItemChange::deleted}});
  CHECK(after(text_of(fleet
                          .good("POST", "/v1/events",
                                R"({"id":"e","type":"click","user":"u1","item":"i1",
                                    "event_time":"2026-01-01T00:00:00Z"})")
                          .at("token")))
            .empty());
}

TEST_CASE("an answer and its slate name the release that answered, not the one that was asked for") {
  fake_fleet fleet;
  fleet.answering = "r0";
  fleet.open();

  auto answer = fleet.good("GET", "/v1/users/u1/recommendations?n=1");

  CHECK(text_of(answer.at("release")) == "r0");
  auto id = "slate:" + text_of(answer.at("request_id"));
  CHECK(fleet.wait([&] { return fleet.log.contains(id); }));
  std::lock_guard lock{fleet.mutex};
  bool named = false;
  for (const auto& each : fleet.log[id].attributes)
    named |= each.name == "release" && each.value == attribute_value{std::string{"r0"}};
  CHECK(named);
}
