#include "services/deployer/rollout_store.hpp"

#include "common/event/slate.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::deployer;

namespace {

rollout made(std::string id, std::int64_t started) {
  rollout out;
  out.id = std::move(id);
  out.spec_text = "release = 'new'\nsteps = [20, 100]";
  out.spec = *rollout_spec::parse(out.spec_text);
  out.release = "new";
  out.from = "old";
  out.weights = out.spec.steps;
  out.state = RolloutState::running;
  out.started = started;
  return out;
}

wire::DecisionT decision(std::string metric) {
  wire::DecisionT out;
  out.metric = std::move(metric);
  out.n = 7;
  out.value = 0.5;
  return out;
}

/// A report of so many answers of the canary, as its bytes.
std::string report(const std::string& gateway, std::uint64_t number, std::uint64_t answers,
                   const std::string& arm = "canary") {
  flatbuffers::FlatBufferBuilder out;
  std::vector<std::uint64_t> bounds{1'000, 2'000}, counts{answers, 0, 0};
  std::vector arms{wire::CreateArmCountsDirect(out, arm.c_str(), arm == "canary" ? "new" : "old", answers, 1,
                                               0, &bounds, &counts)};
  out.Finish(wire::CreateArmReportDirect(out, gateway.c_str(), number, &arms), "TRPD");
  return {reinterpret_cast<const char*>(out.GetBufferPointer()), out.GetSize()};
}

std::uint64_t count(rollout_store& into, const std::string& bytes, bool* again = nullptr) {
  bool seen_before = false;
  auto next = into.count_report(*flatbuffers::GetRoot<wire::ArmReport>(bytes.data()), 100, seen_before);
  if (again)
    *again = seen_before;
  REQUIRE(next);
  return *next;
}

/// Counted in the database itself.
std::size_t kept_decisions(const std::filesystem::path& path) {
  store::options options;
  options.families = {"rollouts", "order", "decisions", "facts", "reports", "offsets", "answered"};
  options.layout = "deployer 1";
  auto db = *store::database::open(path, std::move(options));
  std::size_t count = 0;
  for (auto at = db->scan(2); at.valid(); at.next())
    ++count;
  return count;
}

/// What the log holds of one place of an answer: clicks know their request alone.
record seen(const std::string& type, const std::string& user, int position, std::int64_t at,
            std::uint64_t routed_by = 1) {
  record out;
  out.id = type + user + std::to_string(position) + std::to_string(at);
  out.type = type;
  out.user = user;
  out.item = "i";
  out.request_id = "request of " + user + " by " + std::to_string(routed_by);
  out.event_time = from_micros(at);
  if (type == "impression")
    out.attributes = {{"arm", std::string{"canary"}},
                      {"position", static_cast<double>(position)},
                      {"release", std::string{"new"}},
                      {"routing_version", static_cast<double>(routed_by)}};
  return out;
}

} // namespace

TEST_CASE("a rollout and its decisions are as they were written, after every reopening") {
  testing::temp_dir dir;
  {
    auto first = *rollout_store::open(dir / "j");
    CHECK(first->table().version == 0);
    CHECK(first->find("current").error().code == ec::not_found);
    REQUIRE(first->write({made("a", 1), {decision("x"), decision("y")}, true, 50}));
    auto next = made("a", 1);
    next.step = 1;
    REQUIRE(first->write({next, {decision("z")}, true, 60}));
  }
  auto second = *rollout_store::open(dir / "j");

  auto shown = *second->show("current");
  CHECK(shown.rollout_id == "a");
  CHECK(shown.step == 2);
  REQUIRE(shown.decisions.size() == 3);
  CHECK(shown.decisions[0]->metric == "x");
  CHECK(shown.decisions[2]->metric == "z");
  CHECK(shown.decisions[2]->n == 7);
  CHECK(second->table().version == 2);
  CHECK(second->table().says == table_of(*second->find("a")));
  CHECK(second->seen().begins == 60);
  CHECK(second->seen().step == 1);
}

TEST_CASE("of many decisions on a rollout the newest are kept") {
  testing::temp_dir dir;
  auto first = *rollout_store::open(dir / "j");
  std::vector<wire::DecisionT> many(4'000);
  for (auto& each : many)
    each.metric = "early";
  for (int i = 0; i < 3; ++i)
    REQUIRE(first->write({made("a", 1), many, false, {}}));
  REQUIRE(first->write({made("a", 1), {decision("last")}, false, {}}));

  CHECK(first->show("a")->decisions.back()->metric == "last");
  first.reset();
  CHECK(kept_decisions(dir / "j") == 10'000);
}

TEST_CASE("rollouts are listed newest first, by pages") {
  testing::temp_dir dir;
  auto all = *rollout_store::open(dir / "j");
  for (int i = 0; i < 5; ++i)
    REQUIRE(all->write({made("r" + std::to_string(i), i), {}, false, std::nullopt}));

  auto page = *all->list("", 2);
  REQUIRE(page.rollouts.size() == 2);
  CHECK(page.rollouts[0]->rollout_id == "r4");
  CHECK(!page.last);
  auto rest = *all->list("r3", 10);
  CHECK(rest.rollouts.size() == 3);
  CHECK(rest.last);
  CHECK(all->list("nobody", 1).error().code == ec::not_found);
}

TEST_CASE("a report of a gateway counts once, whatever happens between sending and answering") {
  testing::temp_dir dir;
  bool again = false;
  {
    auto first = *rollout_store::open(dir / "j");
    REQUIRE(first->write({made("a", 1), {}, true, 50}));
    CHECK(count(*first, report("gateway/0", 1, 10)) == 2);
  }
  auto second = *rollout_store::open(dir / "j");

  CHECK(count(*second, report("gateway/0", 1, 10), &again) == 2); // The answer was lost: it comes again.
  CHECK(again);
  CHECK(count(*second, report("gateway/0", 2, 5)) == 3);
  CHECK(count(*second, report("gateway/1", 1, 4)) == 2);
  CHECK(count(*second, report("gateway/1", 2, 100, "another arm")) == 3);
  auto* canary = second->seen().find("canary");
  REQUIRE(canary);
  CHECK(canary->answers == 19);
  CHECK(canary->errors == 3);
  CHECK(canary->latency.total() == 19);
}

TEST_CASE("impressions and clicks count once each, over every reopening and every overlap of batches") {
  testing::temp_dir dir;
  std::vector<record> records{seen("impression", "u1", 1, 100), seen("impression", "u1", 2, 100),
                              seen("click", "u1", 2, 101), seen("impression", "u2", 1, 20),
                              seen("rating", "u1", 1, 100)};
  auto first_batch = batch::trusted(encode_batch(records, 0, 0));
  std::vector<record> more{seen("click", "u1", 1, 102)};
  auto second_batch = batch::trusted(encode_batch(more, 0, 5));
  {
    auto first = *rollout_store::open(dir / "j");
    REQUIRE(first->write({made("a", 1), {}, true, 50}));
    REQUIRE(first->count_records(0, {}, 0)); // The partition was empty when the reader came.
    std::vector<batch> one{first_batch};
    CHECK(*first->count_records(0, one, 5) == 3);
  }
  auto second = *rollout_store::open(dir / "j");
  CHECK(second->offsets().at(0) == 5);
  std::vector<batch> both{first_batch, second_batch};
  CHECK(*second->count_records(0, both, 6) == 1);

  auto rate = rate_of(second->seen().find("canary")->cells);
  CHECK(rate.answers == 1); // The answer of u2 was shown before the step began to count.
  CHECK(rate.impressions == 2);
  CHECK(rate.clicks == 2);
}

TEST_CASE("the slate of an answer counts as one answer and an impression per item, clicks by its request") {
  testing::temp_dir dir;
  auto first = *rollout_store::open(dir / "j");
  REQUIRE(first->write({made("a", 1), {}, true, 50}));
  REQUIRE(first->count_records(0, {}, 0));
  auto page = [](const std::string& user, std::int64_t at, std::uint64_t routed_by, std::uint32_t items) {
    slate out;
    out.user = user;
    out.request_id = "request of " + user + " by " + std::to_string(routed_by);
    out.shown_at = from_micros(at);
    out.arm = "canary";
    out.release = "new";
    out.routing_version = routed_by;
    for (std::uint32_t i = 1; i <= items; ++i)
      out.items.push_back({"i" + std::to_string(i), i, 1});
    return std::move(out).to_record();
  };
  std::vector<record> records{
      seen("click", "u1", 1, 99),      page("u1", 100, 1, 10), page("u2", 101, 1, 4),
      page("u3", 102, 2, 5),           page("u4", 20, 1, 5),   seen("click", "u2", 3, 103),
      seen("impression", "u5", 1, 104)}; // Of a gateway that is not new yet.

  std::vector<batch> one{batch::trusted(encode_batch(records, 0, 0))};
  CHECK(*first->count_records(0, one, records.size()) == 4);

  auto rate = rate_of(first->seen().find("canary")->cells);
  CHECK(rate.answers == 3);
  CHECK(rate.impressions == 15);
  CHECK(rate.clicks == 2);
}

TEST_CASE(
    "a click counts for the answer that it follows, whichever is in the log first, and for no other step's") {
  testing::temp_dir dir;
  std::uint64_t offset = 0;
  auto log = [&](rollout_store& into, std::vector<record> list) {
    std::vector<batch> one{batch::trusted(encode_batch(list, 0, offset))};
    offset += list.size();
    return *into.count_records(0, one, offset);
  };
  {
    auto first = *rollout_store::open(dir / "j");
    REQUIRE(first->count_records(0, {}, 0));
    REQUIRE(first->write({made("a", 1), {}, true, 50}));
    log(*first, {seen("impression", "slow", 1, 100)});
    log(*first, {seen("click", "quick", 1, 101)}); // Its impression is on its way.
    auto next = made("a", 1);
    next.step = 1;
    REQUIRE(first->write({next, {}, true, 200}));
    // Shown by the table of before, clicked after the change: neither arm's.
    CHECK(log(*first, {seen("click", "slow", 1, 300), seen("impression", "late", 1, 300, 1)}) == 0);
    log(*first, {seen("click", "quick", 1, 310, 2), seen("click", "quick", 1, 311, 2)});
  }
  auto second = *rollout_store::open(dir / "j");
  log(*second, {seen("impression", "quick", 1, 309, 2), seen("click", "quick", 1, 312, 2),
                seen("click", "nobody", 1, 320, 2)});

  auto rate = rate_of(second->seen().find("canary")->cells);
  CHECK(rate.answers == 1);
  CHECK(rate.clicks == 3);
}

TEST_CASE("a step begins to count at nothing") {
  testing::temp_dir dir;
  auto all = *rollout_store::open(dir / "j");
  REQUIRE(all->write({made("a", 1), {}, true, 50}));
  count(*all, report("gateway/0", 1, 10));
  CHECK(all->seen().find("canary")->answers == 10);

  auto next = made("a", 1);
  next.step = 1;
  REQUIRE(all->write({next, {}, true, 70}));

  CHECK(all->seen().find("canary")->answers == 0);
  CHECK(all->seen().find("production") == nullptr);
  CHECK(all->seen().begins == 70);
}

TEST_CASE("a store whose bytes are damaged says so instead of going on") {
  testing::temp_dir dir;
  {
    store::options options;
    options.families = {"rollouts", "order", "decisions", "facts", "reports", "offsets"};
    options.layout = "deployer 1";
    auto db = *store::database::open(dir / "j", std::move(options));
    REQUIRE(db->put(3, "routing", "no table", store::durability::synced));
  }
  CHECK(rollout_store::open(dir / "j").error().code == ec::corrupt);
}
