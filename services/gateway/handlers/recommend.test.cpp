#include "services/gateway/test_gateway.hpp"

#include "schemas/ranker_generated.h"

#include <thread>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

/// A gateway with one arm, and a ranker that the test plays.
struct recommending : served_gateway {
  explicit recommending(const std::string& shadow = {}) {
    open();
    route({{"production", "r1", 1}}, shadow);
  }

  static chunk items(const std::string& release, const std::vector<std::string>& names) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::RankedItem>> made;
    for (const auto& each : names) {
      auto item = out.CreateString(each), title = out.CreateString("Title " + each);
      wire::RankedItemBuilder one{out};
      one.add_item(item);
      one.add_title(title);
      one.add_propensity(0.5);
      made.push_back(one.Finish());
    }
    auto list = out.CreateVector(made);
    auto by = out.CreateString(release);
    wire::RankReplyBuilder reply{out};
    reply.add_release(by);
    reply.add_items(list);
    out.Finish(reply.Finish(), "TRPK");
    return bytes_of(out);
  }
  static const wire::Rank& rank(const fake_service::question& asked) {
    return **net::read_as<wire::Rank>(asked.payload, "TRPK", "Rank");
  }
  static const wire::Similar& similar(const fake_service::question& asked) {
    return **net::read_as<wire::Similar>(asked.payload, "TRPK", "Similar");
  }
  std::future<http::response> later(const std::string& path, http::header_list headers = {}) {
    return ask_later(request_of("GET", path, {}, std::move(headers)));
  }
  boost::json::value read(std::future<http::response> answer) {
    REQUIRE(answer.wait_for(60s) == std::future_status::ready);
    auto given = answer.get();
    REQUIRE_MESSAGE(given.status == 200, given.body);
    return boost::json::parse(given.body);
  }
  /// What was counted of the arms since the last look.
  const wire::ArmReport* report() {
    report_ = deps->arms.take("gateway/0", 1);
    return report_.empty() ? nullptr : flatbuffers::GetRoot<wire::ArmReport>(report_.data());
  }

private:
  chunk report_;
};

bool fallback(const boost::json::value& answer) {
  for (const auto& each : answer.at("degraded").as_array())
    if (std::string_view{each.as_string()}.starts_with("fallback:"))
      return true;
  return false;
}

constexpr auto recommendations = "/v1/users/u/recommendations";

} // namespace

TEST_CASE("filters in the address reach the ranker for recommendations and for similar items") {
  recommending gateway;
  auto answer = gateway.later("/v1/items/i1/similar?n=3&exclude=i2&filter=not:genres:contains:Horror&"
                              "filter=year:at_least:1990");
  auto asked = gateway.ranker.next();
  const auto& similar = recommending::similar(asked);
  asked.answer(recommending::items("r1", {"i3"}));
  auto other = gateway.later(std::string{recommendations} + "?filter=year:at_most:1980");
  auto ranked = gateway.ranker.next();
  ranked.answer(recommending::items("r1", {"i3"}));

  CHECK(asked.kind == wire::Kind::similar);
  CHECK(similar.item()->str() == "i1");
  CHECK(similar.release()->str() == "r1");
  CHECK(similar.n() == 3);
  REQUIRE(similar.exclude()->size() == 2);
  CHECK(similar.exclude()->Get(0)->str() == "i2");
  CHECK(similar.exclude()->Get(1)->str() == "i1"); // The item itself is not like itself.
  REQUIRE(similar.filters()->size() == 2);
  CHECK(similar.filters()->Get(0)->attribute()->str() == "genres");
  CHECK(similar.filters()->Get(0)->not_());
  CHECK(similar.filters()->Get(0)->op() == wire::FilterOp::contains);
  CHECK(similar.filters()->Get(0)->text()->str() == "Horror");
  CHECK(similar.filters()->Get(1)->op() == wire::FilterOp::at_least);
  CHECK(similar.filters()->Get(1)->number() == 1990);
  REQUIRE(recommending::rank(ranked).filters()->size() == 1);
  CHECK(recommending::rank(ranked).filters()->Get(0)->op() == wire::FilterOp::at_most);
  auto read = gateway.read(std::move(answer));
  CHECK(text_of(read.at("items").at(0).at("item")) == "i3");
  CHECK(!read.as_object().contains("user"));
  gateway.read(std::move(other));
  CHECK(problem_of(gateway.ask("GET", "/v1/items/i1/similar?filter=genres"), "invalid_argument") == 400);
}

TEST_CASE("similar items leave no slate and say nothing about an arm; recommendations are both") {
  recommending gateway;
  auto similar = gateway.later("/v1/items/i1/similar");
  gateway.ranker.next().answer(recommending::items("r1", {"i3"}));
  gateway.read(std::move(similar));
  CHECK(gateway.deps->outbox->counters().waiting == 0);
  CHECK(gateway.report() == nullptr);

  auto recommended = gateway.later(recommendations);
  gateway.ranker.next().answer(recommending::items("r1", {"i3"}));
  gateway.read(std::move(recommended));

  CHECK(gateway.deps->outbox->counters().waiting == 1);
  REQUIRE(gateway.report());
}

TEST_CASE(
    "X-Deadline-Ms shortens the ranker's time by a tenth more, a late ranker is a fallback that the arm is "
    "not blamed for") {
  recommending gateway;
  gateway.settings->rank_timeout = 10s;
  auto answer = gateway.later(recommendations, {{"X-Deadline-Ms", "1000"}});
  auto asked = gateway.ranker.next();
  CHECK(asked.until.left() <= 900ms);
  CHECK(asked.until.left() > 0ms);

  asked.fail(ec::too_late, "the ranker took too long");

  CHECK(fallback(gateway.read(std::move(answer))));
  CHECK(gateway.report() == nullptr);
  // Without a hurry of the caller it is the release that is late.
  auto patient = gateway.later(recommendations);
  gateway.ranker.next().fail(ec::too_late, "the ranker took too long");
  CHECK(fallback(gateway.read(std::move(patient))));
  REQUIRE(gateway.report());
  for (const char* bad : {"0", "60001", "-1", "1s", " 5"})
    CHECK(problem_of(gateway.ask("GET", recommendations, {}, {{"X-Deadline-Ms", bad}}), "invalid_argument") ==
          400);
}

TEST_CASE(
    "above three quarters of max_in_flight the inspector's detail and shadow calls are left out, not an "
    "explanation that was asked for") {
  recommending gateway{"r2"};
  gateway.settings->max_in_flight = 4;
  std::vector<std::future<http::response>> answers;
  std::vector<fake_service::question> asked;
  for (int i = 0; i < 3; ++i) {
    answers.push_back(gateway.later(recommendations));
    asked.push_back(gateway.ranker.next());
    CHECK(recommending::rank(asked.back()).explain());
  }
  answers.push_back(gateway.later(recommendations));
  asked.push_back(gateway.ranker.next());
  CHECK(!recommending::rank(asked.back()).explain());
  CHECK(problem_of(gateway.ask("GET", recommendations), "overloaded") == 503);

  gateway.deps->in_flight += 4; // As busy as can be, for good.
  for (auto& each : asked)
    each.answer(recommending::items("r1", {"i1"}));
  for (auto& each : answers)
    gateway.read(std::move(each));
  CHECK(gateway.ranker.waiting() == 0); // No shadow was asked.
  gateway.deps->in_flight -= 4;

  gateway.deps->in_flight += 3;
  auto explained = gateway.later(std::string{recommendations} + "?explain=true");
  auto question = gateway.ranker.next();
  CHECK(recommending::rank(question).explain());
  question.answer(recommending::items("r1", {"i1"}));
  CHECK(gateway.read(std::move(explained)).as_object().contains("stages"));
  gateway.deps->in_flight -= 3;
}

TEST_CASE(
    "shadow_in_flight bounds the shadow calls, each compares what was shown, and a failed one is counted") {
  recommending gateway{"r2"};
  gateway.settings->shadow_in_flight = 1;
  auto one_answer = [&] {
    auto answer = gateway.later(recommendations);
    auto asked = gateway.ranker.next();
    CHECK(recommending::rank(asked).arm()->str() == "production");
    asked.answer(recommending::items("r1", {"i1", "i2"}));
    gateway.read(std::move(answer));
  };
  one_answer();
  auto shadow = gateway.ranker.next();
  CHECK(recommending::rank(shadow).release()->str() == "r2");
  CHECK(recommending::rank(shadow).arm()->str() == "shadow");

  for (int i = 0; i < 5; ++i)
    one_answer(); // Their shadows are too many.
  gateway.wait_for_requests(1);
  shadow.answer(recommending::items("r2", {"i2", "i3"}));
  gateway.wait_for_requests();
  one_answer();
  gateway.ranker.next().answer(recommending::items("r1", {"i1"})); // Another release answered in its place.
  gateway.wait_for_requests();

  const auto* seen = gateway.report();
  REQUIRE(seen);
  REQUIRE(seen->shadow()->size() == 1);
  CHECK(seen->shadow()->Get(0)->release()->str() == "r2");
  CHECK(seen->shadow()->Get(0)->compared() == 1);
  CHECK(seen->shadow()->Get(0)->overlap_sum() == doctest::Approx(0.5));
  CHECK(seen->shadow()->Get(0)->errors() == 1);
}

TEST_CASE(
    "a fallback leaves out what a token names as hidden or deleted, and says what it cannot know of others") {
  recommending gateway;
  fallback_list known{{{"i1", "One"}, {"i2", "Two"}, {"i3", "Three"}}};
  known.seen.set(0, 5);
  gateway.deps->fallback.set(std::make_shared<const fallback_list>(known));
  auto shown = [&](const std::string& token, bool* behind = nullptr) {
    auto answer = gateway.later(recommendations, {{"X-Consistency-Token", token}});
    gateway.ranker.next().fail(ec::unavailable, "nobody is there");
    auto read = gateway.read(std::move(answer));
    std::vector<std::string> out;
    for (const auto& each : read.at("items").as_array())
      out.push_back(text_of(each.at("item")));
    if (behind) {
      *behind = false;
      for (const auto& each : read.at("degraded").as_array())
        *behind |= std::string_view{each.as_string()}.starts_with("items_behind:");
    }
    return out;
  };
  using names = std::vector<std::string>;
  bool behind = false;

  CHECK(shown("0:6;i1;!i2", &behind) == names{"i3"});
  CHECK(!behind);
  CHECK(shown("0:6;i1;+i2", &behind) == names{"i2", "i3"});
  CHECK(behind);
  CHECK(shown("0:6;i1;*", &behind) == names{"i2", "i3"});
  CHECK(behind);
  CHECK(shown("0:5;i1;*", &behind) == names{"i1", "i2", "i3"}); // It has seen more than the token asks.
  CHECK(!behind);
}

TEST_CASE(
    "an answer with fewer items than asked for says why, kept for the inspector too; a full one does not") {
  recommending gateway;
  auto ask_n = [&](int n, const chunk& payload) {
    auto answer = gateway.later(fmt::format("{}?n={}", recommendations, n));
    gateway.ranker.next().answer(payload);
    return gateway.read(std::move(answer));
  };
  flatbuffers::FlatBufferBuilder out;
  std::vector left_out{wire::CreateLeftOutDirect(out, "seen", 12),
                       wire::CreateLeftOutDirect(out, "filter", 3)};
  out.Finish(wire::CreateRankReplyDirect(out, "r1", nullptr, nullptr, nullptr, nullptr, &left_out, 15),
             "TRPK");

  auto empty = ask_n(3, bytes_of(out));
  auto full = ask_n(1, recommending::items("r1", {"i1"}));

  auto why = boost::json::parse(R"({"considered":15,"left_out":{"seen":12,"filter":3}})");
  CHECK(empty.at("short_page") == why);
  CHECK(gateway.good("GET", "/v1/requests/" + text_of(empty.at("request_id"))).at("short_page") == why);
  CHECK(!full.as_object().contains("short_page"));
  // The fallback, too.
  gateway.deps->fallback.set(
      std::make_shared<const fallback_list>(fallback_list{{{"i1", "One"}, {"i2", "Two"}}}));
  auto answer = gateway.later(std::string{recommendations} + "?n=2&exclude=i1");
  gateway.ranker.next().fail(ec::unavailable, "nobody is there");
  CHECK(gateway.read(std::move(answer)).at("short_page") ==
        boost::json::parse(R"({"considered":2,"left_out":{"excluded":1}})"));
  // What its caller has deleted or hidden is left out for that.
  answer = gateway.later(recommendations, {{"X-Consistency-Token", "0:6;i1;!i2"}});
  gateway.ranker.next().fail(ec::unavailable, "nobody is there");
  CHECK(gateway.read(std::move(answer)).at("short_page") ==
        boost::json::parse(R"({"considered":2,"left_out":{"deleted":1,"hidden":1}})"));
  // Where it cannot look at its list it counts nothing.
  answer = gateway.later(std::string{recommendations} + "?filter=year:at_most:1980");
  gateway.ranker.next().fail(ec::unavailable, "nobody is there");
  auto blind = gateway.read(std::move(answer));
  CHECK(fallback(blind));
  CHECK(blind.at("items").as_array().empty());
  CHECK(!blind.as_object().contains("short_page"));
}

TEST_CASE("what an answer lacks is said by a code and a share beside the sentence, and nothing where it "
          "lacks nothing") {
  recommending gateway;
  auto ask = [&](const chunk& payload) {
    auto answer = gateway.later(recommendations);
    gateway.ranker.next().answer(payload);
    return gateway.read(std::move(answer));
  };
  flatbuffers::FlatBufferBuilder out;
  std::vector sentences{out.CreateString("deadline: model dcn scored 1 of 4 candidates")};
  std::vector lacks{wire::CreateDegradationDirect(out, "deadline", 0.75, "")};
  out.Finish(
      wire::CreateRankReplyDirect(out, "r1", nullptr, &sentences, nullptr, nullptr, nullptr, 0, &lacks),
      "TRPK");

  auto lacking = ask(bytes_of(out)), whole = ask(recommending::items("r1", {"i1"}));

  CHECK(lacking.at("degraded_codes") == boost::json::parse(R"([{"code":"deadline","share":0.75}])"));
  CHECK(!whole.as_object().contains("degraded_codes"));
}

TEST_CASE("a slate that finds no room is dropped, and the answer says so") {
  served_gateway gateway;
  gateway.settings->queue_answers = 1;
  gateway.open();
  gateway.deps->fallback.set(std::make_shared<const fallback_list>(fallback_list{{{"i1", "One"}}}));

  auto first = gateway.good("GET", recommendations), second = gateway.good("GET", recommendations);

  auto last_reason = [](const boost::json::value& from) {
    return text_of(from.at("degraded").as_array().back());
  };
  CHECK(last_reason(first) == "fallback: the last known trending items");
  CHECK(last_reason(second).starts_with("slate:"));
  CHECK(gateway.deps->outbox->counters().dropped == 1);
}
