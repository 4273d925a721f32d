#include "services/ranker/serving/rank_codec.hpp"

#include "services/ranker/test_actors.hpp"

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

chunk request_with(const std::vector<flatbuffers::Offset<wire::Filter>>& filters,
                   flatbuffers::FlatBufferBuilder& out) {
  out.Finish(wire::CreateRankDirect(out, "release", "arm", "u", nullptr, nullptr, &filters), "TRPK");
  return net::bytes_of(out);
}

} // namespace

TEST_CASE("each operation of a filter means on the wire what it means in rules") {
  struct expectation {
    wire::FilterOp op;
    attribute_value holds, fails;
  };
  for (auto& each :
       {expectation{wire::FilterOp::equals, std::string{"War"}, std::string{"Drama"}},
        expectation{wire::FilterOp::contains, text_list{"War"}, text_list{"Drama"}},
        expectation{wire::FilterOp::at_least, 3.0, 2.0}, expectation{wire::FilterOp::at_most, 3.0, 4.0},
        expectation{wire::FilterOp::one_of, std::string{"Horror"}, std::string{"Drama"}}}) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<std::string> list{"Horror"};
    auto words =
        out.CreateVectorOfStrings(each.op == wire::FilterOp::one_of ? list : std::vector<std::string>{});
    auto name = out.CreateString("genres"), text = out.CreateString("War");
    auto got = decode_rank(request_with({wire::CreateFilter(out, name, each.op, false, text, 3, words)}, out),
                           {"genres"});
    REQUIRE_MESSAGE(got, (got ? std::string{} : got.error().text));
    auto& filter = got->asked.filters.at(0);
    CHECK(filter.holds(&each.holds));
    CHECK(!filter.holds(&each.fails));
  }
}

TEST_CASE("a filter of an operation that is not known here is told apart from one that is wrong") {
  flatbuffers::FlatBufferBuilder out;
  auto name = out.CreateString("genres");
  auto unknown = static_cast<wire::FilterOp>(static_cast<int>(wire::FilterOp::MAX) + 1);

  auto got = decode_rank(request_with({wire::CreateFilter(out, name, unknown)}, out), {"genres"});

  REQUIRE(!got);
  CHECK(got.error().code == ec::unsupported_version);
}

TEST_CASE("an answer says why it is short, and nothing of it where it is not") {
  ranking made;
  auto whole = encode_ranking(made, "release", nullptr, nullptr, {});
  made.shortage.emplace().considered = 3;
  made.shortage->left_out = {{"seen", 2}, {"filter", 1}};

  auto bytes = encode_ranking(made, "release", nullptr, nullptr, {});

  CHECK(!flatbuffers::GetRoot<wire::RankReply>(whole.data())->left_out());
  auto* reply = flatbuffers::GetRoot<wire::RankReply>(bytes.data());
  CHECK(reply->considered() == 3);
  REQUIRE(reply->left_out()->size() == 2);
  CHECK(reply->left_out()->Get(1)->reason()->str() == "seen");
  CHECK(reply->left_out()->Get(1)->items() == 2);
}

TEST_CASE("what an answer lacks is said to people and to programs") {
  ranking made;
  made.degraded = {{"deadline", 0.25, "deadline: model slow scored 3 of 4 candidates"},
                   {"items", 1, "items: old"}};

  auto bytes = encode_ranking(made, "release", nullptr, nullptr, {});

  auto* reply = flatbuffers::GetRoot<wire::RankReply>(bytes.data());
  REQUIRE(reply->lacks()->size() == 2);
  CHECK(reply->degraded()->Get(0)->str() == "deadline: model slow scored 3 of 4 candidates");
  CHECK(reply->lacks()->Get(0)->code()->str() == "deadline");
  CHECK(reply->lacks()->Get(0)->share() == 0.25);
  CHECK(reply->lacks()->Get(1)->text()->str() == "items: old");
  auto whole = encode_ranking({}, "release", nullptr, nullptr, {});
  CHECK(!flatbuffers::GetRoot<wire::RankReply>(whole.data())->lacks());
}

TEST_CASE("what a later version writes of items is told apart from what is wrong") {
  flatbuffers::FlatBufferBuilder out;
  auto unknown = static_cast<wire::ItemChange>(static_cast<int>(wire::ItemChange::MAX) + 1);
  std::vector written{wire::CreateWrittenItemDirect(out, "i", unknown)};
  out.Finish(wire::CreateSimilarDirect(out, "release", "i", 3, nullptr, nullptr, nullptr, &written), "TRPK");

  auto got = decode_similar(net::bytes_of(out), {});

  REQUIRE(!got);
  CHECK(got.error().code == ec::unsupported_version);
}

TEST_CASE("the ages of features grow while a user lies in the cache") {
  user_features user;
  user.features.push_back({"f", wire::FeatureStatus::present, 50, {}});
  user.features.push_back({"g", wire::FeatureStatus::missing, -1, {}});
  user.read = deadline::clock::time_point{};

  auto bytes = encode_ranking({}, "release", &user, nullptr, user.read + std::chrono::milliseconds{3});

  auto* reply = flatbuffers::GetRoot<wire::RankReply>(bytes.data());
  CHECK(reply->release()->str() == "release");
  CHECK(reply->features()->Get(0)->age_us() == 3050);
  CHECK(reply->features()->Get(1)->age_us() == -1);
  auto plain = encode_ranking({}, "release", nullptr, nullptr, user.read);
  CHECK(flatbuffers::GetRoot<wire::RankReply>(plain.data())->features()->size() == 0);
}
