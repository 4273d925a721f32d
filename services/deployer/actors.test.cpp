#include "services/deployer/actors.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/ingest_generated.h"
#include "schemas/ranker_generated.h"
#include "schemas/registry_generated.h"

#include <doctest/doctest.h>

#include <deque>

using namespace troupe;
using namespace troupe::deployer;
using namespace std::chrono_literals;

namespace {

const std::string old_release(64, 'a'), new_release(64, 'b');

/// A service behind the deployer, as it sees it: what was asked waits until the test answers.
struct remote {
  struct question {
    std::uint32_t replica;
    wire::Kind kind;
    chunk payload;
    net::client::done then;
  };
  std::deque<question> asked;
  bool away = false;

  net::ask_function asker() {
    return [this](std::uint32_t replica, wire::Kind kind, chunk payload, deadline, net::client::done then) {
      if (away)
        return then(fail(ec::unavailable, "nobody is there"));
      asked.push_back({replica, kind, std::move(payload), std::move(then)});
    };
  }
  question next() {
    REQUIRE(!asked.empty());
    auto first = std::move(asked.front());
    asked.pop_front();
    return first;
  }
};

void tell(remote::question& to, const flatbuffers::FlatBufferBuilder& with) {
  net::reply made;
  made.payload = bytes_of(with);
  to.then(std::move(made));
}

struct house : troupe::testing::actor_fixture {
  troupe::testing::temp_dir dir;
  metrics::registry numbers;
  std::shared_ptr<service_metrics> counted = std::make_shared<service_metrics>(numbers);
  std::shared_ptr<deployer::config> settings = std::make_shared<deployer::config>();
  remote rankers, registry;
  release_reconciler_actor reconciler;
  rollout_controller_actor controller;
  std::uint32_t replicas = 2;

  house() {
    settings->settle = 0ms;
    live();
  }

  void live() {
    release_reconciler_deps deps;
    deps.rankers = rankers.asker();
    deps.replicas = replicas;
    deps.settings = settings;
    deps.metrics = counted;
    reconciler = own(spawn_release_reconciler(system, std::move(deps)));
    rollout_controller_deps with;
    with.rollouts = *rollout_store::open(dir / "j");
    with.reconciler = reconciler;
    with.replicas = replicas;
    with.registry = registry.asker();
    with.settings = settings;
    with.metrics = counted;
    controller = own(spawn_rollout_controller(system, std::move(with), false));
    run();
  }

  void die() {
    caf::anon_send_exit(controller, caf::exit_reason::kill);
    caf::anon_send_exit(reconciler, caf::exit_reason::kill);
    controller = nullptr;
    reconciler = nullptr;
    run();
    // What was under way is lost with the process.
    rankers.asked.clear();
    registry.asked.clear();
  }

  using answer_box = std::shared_ptr<std::optional<expected<chunk>>>;

  answer_box send(wire::Kind kind, const flatbuffers::FlatBufferBuilder& out,
                  deadline::clock::duration left = 60s) {
    auto got = std::make_shared<std::optional<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = kind;
    asked->payload = bytes_of(out);
    asked->until = deadline::in(left);
    asked->respond = net::responder::to([got](expected<chunk> result) { got->emplace(std::move(result)); });
    caf::anon_send(controller, net::request_atom::value, std::move(asked));
    run();
    return got;
  }

  template <class Table>
  static const Table* read(const answer_box& from) {
    REQUIRE(*from);
    REQUIRE_MESSAGE((*from)->has_value(), (*from)->error().text);
    return flatbuffers::GetRoot<Table>((**from)->data());
  }

  static error failure(const answer_box& from) {
    REQUIRE(*from);
    REQUIRE(!(*from)->has_value());
    return (*from)->error();
  }

  answer_box poll(std::uint64_t known, std::chrono::microseconds wait) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRoutingQuery(out, known, static_cast<std::uint64_t>(wait.count())), "TRPD");
    return send(wire::Kind::routing, out);
  }

  std::uint64_t version() { return read<wire::RoutingTable>(poll(0, 0us))->version(); }

  answer_box start(const std::string& id, const std::string& spec) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRolloutStartDirect(out, id.c_str(), spec.c_str()), "TRPD");
    return send(wire::Kind::rollout_start, out);
  }

  answer_box change(const std::string& id, RolloutAction action) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRolloutChangeDirect(out, id.c_str(), action, "says the test"), "TRPD");
    return send(wire::Kind::rollout_change, out);
  }

  wire::RolloutT shown(const std::string& id = "current") {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRolloutQueryDirect(out, id.c_str()), "TRPD");
    wire::RolloutT value;
    read<wire::Rollout>(send(wire::Kind::rollout_show, out))->UnPackTo(&value);
    return value;
  }

  /// The registry finds the release of a start.
  void resolve(const std::string& id) {
    auto asked = registry.next();
    CHECK(asked.kind == wire::Kind::release_show);
    wire::ReleaseT release;
    release.id = id;
    release.manifest = R"({"models":[]})";
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::Release::Pack(out, &release), "TRPR");
    tell(asked, out);
    run();
  }

  /// Every ranker that was asked says that it holds what `state` says of each release it was told.
  void rankers_say(const std::string& id, const char* state, const char* why = "") {
    for (auto asked = std::exchange(rankers.asked, {}); auto& each : asked) {
      flatbuffers::FlatBufferBuilder out;
      std::vector releases{wire::CreateLoadedReleaseDirect(out, id.c_str(), state, why)};
      if (id != old_release)
        releases.push_back(wire::CreateLoadedReleaseDirect(out, old_release.c_str(), "ready", ""));
      out.Finish(wire::CreateLoadedReleasesDirect(out, &releases), "TRPK");
      tell(each, out);
    }
    run();
  }

  /// A second goes by for everybody.
  void tick() { advance(1s); }

  /// The release in production from the start of most tests.
  void first_release() {
    start("first", "release = 'old'");
    resolve(old_release);
    for (int i = 0; i < 20 && shown("first").state != RolloutState::done; ++i) {
      rankers_say(old_release, "ready");
      if (!registry.asked.empty())
        resolve(old_release); // Its manifest names no models.
      tick();
    }
    REQUIRE(shown("first").state == RolloutState::done);
    rankers_say(old_release, "ready");
  }

  void report(std::uint64_t number, const std::string& arm, const std::string& release, std::uint64_t answers,
              std::uint64_t errors) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<std::uint64_t> bounds{1'000, 500'000}, counts{answers, 0, 0};
    std::vector arms{
        wire::CreateArmCountsDirect(out, arm.c_str(), release.c_str(), answers, errors, 0, &bounds, &counts)};
    out.Finish(wire::CreateArmReportDirect(out, "gateway/0", number, &arms), "TRPD");
    CHECK(read<wire::ArmReportReply>(send(wire::Kind::arm_report, out))->next_number() == number + 1);
  }

  void running(const std::string& spec =
                   "release = 'new'\nsteps = [50, 100]\npause = '0s'\n[verdict]\nclick_rate = false") {
    start("r", spec);
    resolve(new_release);
    for (int i = 0; i < 20 && shown("r").state != RolloutState::running; ++i) {
      rankers_say(new_release, "ready");
      tick();
    }
    REQUIRE(shown("r").state == RolloutState::running);
  }
};

} // namespace

TEST_CASE_FIXTURE(house, "the first release is in production as soon as every ranker holds it") {
  start("first", "release = 'old'");
  resolve(old_release);
  CHECK(shown().state == RolloutState::preparing);
  CHECK(version() == 0);
  CHECK(rankers.asked.size() == 2);
  CHECK(rankers.asked[0].kind == wire::Kind::prepare);

  rankers_say(old_release, "loading");
  tick();
  CHECK(shown().state == RolloutState::preparing);
  rankers_say(old_release, "ready");
  tick();

  CHECK(shown().state == RolloutState::promoting);
  auto table = poll(0, 0us);
  REQUIRE(read<wire::RoutingTable>(table)->arms()->size() == 1);
  CHECK(read<wire::RoutingTable>(table)->arms()->Get(0)->release()->str() == old_release);
  resolve(old_release);
  CHECK(shown().state == RolloutState::done);
}

TEST_CASE_FIXTURE(house, "a canary goes on by what the gateways report, and back by it") {
  first_release();
  running();
  auto before = version();

  report(1, "canary", new_release, 600, 0);
  auto waits = shown();
  REQUIRE(waits.arms.size() == 2);
  CHECK(waits.arms[0]->arm == "canary");
  CHECK(waits.arms[0]->counted == 600);
  CHECK(waits.arms[0]->needed == 500);
  CHECK(waits.arms[1]->answers == 0);
  tick();
  CHECK(shown().step == 2);
  CHECK(version() == before + 1);
  report(2, "canary", new_release, 600, 60);
  tick();

  auto end = shown();
  CHECK(end.state == RolloutState::rolled_back);
  CHECK(version() == before + 2);
  auto& why =
      *std::ranges::find_if(end.decisions, [](auto& each) { return each->verdict == Verdict3::fail; });
  CHECK(why->metric == "error_rate");
  CHECK(why->action == "roll back");
  CHECK(why->value == doctest::Approx(0.1));
  CHECK(why->bound == doctest::Approx(0.01));
  CHECK(why->n == 600);
}

TEST_CASE_FIXTURE(house, "a start sent twice is one rollout, and another one waits for its end") {
  first_release();
  start("r", "release = 'new'");
  resolve(new_release);

  CHECK(read<wire::Rollout>(start("r", "release = 'new'"))->rollout_id()->str() == "r");
  CHECK(failure(start("r", "release = 'other'")).code == ec::conflict);
  CHECK(failure(start("s", "release = 'new'")).code == ec::conflict);
  CHECK(read<wire::Rollout>(change("r", RolloutAction::abort))->state() == RolloutState::rolled_back);
  start("s", "release = 'new'");
  resolve(new_release);
  CHECK(shown().rollout_id == "s");
  CHECK(failure(start("bad id", "release = 'new'")).code == ec::invalid_argument);
  CHECK(failure(start("t", "release =")).code == ec::invalid_argument);
}

TEST_CASE_FIXTURE(house, "a start of what is unknown, or in production already, is refused") {
  first_release();
  auto unknown = start("r", "release = 'nothing'");
  registry.next().then(fail(ec::not_found, "there is no release 'nothing'"));
  run();
  CHECK(failure(unknown).code == ec::not_found);
  auto same = start("r", "release = 'old'");
  resolve(old_release);
  CHECK(failure(same).code == ec::conflict);
  CHECK(shown().rollout_id == "first");
}

TEST_CASE_FIXTURE(house, "a release that a ranker cannot hold fails the rollout and changes no arm") {
  first_release();
  auto before = version();
  start("r", "release = 'new'");
  resolve(new_release);

  for (int i = 0; i < 20 && shown().state != RolloutState::failed; ++i) {
    rankers_say(new_release, "failed", "its bytes are not those of its manifest");
    tick();
  }

  CHECK(shown().state == RolloutState::failed);
  CHECK(shown().reason.find("its bytes are not those") != std::string::npos);
  CHECK(version() == before);
}

TEST_CASE_FIXTURE(house, "a ranker that was away is told again what to hold") {
  first_release();
  running();
  for (auto& each : rankers.asked)
    each.then(fail(ec::unavailable, "connection lost"));
  rankers.asked.clear();
  run();

  tick();

  REQUIRE(rankers.asked.size() == 2);
  CHECK(rankers.asked[0].kind == wire::Kind::prepare);
  CHECK(rankers.asked[1].replica == 1);
}

TEST_CASE_FIXTURE(house,
                  "a ranker that has been silent for long holds no rollout up, and is told when it answers") {
  first_release();
  start("r", "release = 'new'\nprepare_timeout = '1h'");
  resolve(new_release);
  auto second = [&](expected<net::reply> (*says)()) {
    auto asked = std::exchange(rankers.asked, {});
    for (auto& each : asked)
      if (each.replica == 1)
        each.then(says());
      else
        rankers.asked.push_back(std::move(each));
  };
  auto silent = []() -> expected<net::reply> { return fail(ec::unavailable, "nobody is there"); };
  for (int i = 0; i < 50; ++i) {
    second(silent);
    rankers_say(new_release, "ready");
    tick();
  }
  CHECK(shown().state == RolloutState::preparing); // It may yet come back.

  for (int i = 0; i < 20 && shown().state == RolloutState::preparing; ++i) {
    second(silent);
    rankers_say(new_release, "ready");
    tick();
  }

  CHECK(shown().state == RolloutState::running);
  auto asked = std::ranges::find(rankers.asked, 1u, &remote::question::replica);
  REQUIRE(asked != rankers.asked.end());
  CHECK(asked->kind == wire::Kind::prepare);
}

TEST_CASE_FIXTURE(house, "a rollout does not begin while no ranker answers, however long") {
  first_release();
  start("r", "release = 'new'\nprepare_timeout = '1h'");
  resolve(new_release);

  for (int i = 0; i < 100; ++i) {
    for (auto asked = std::exchange(rankers.asked, {}); auto& each : asked)
      each.then(fail(ec::unavailable, "nobody is there"));
    run();
    tick();
  }

  CHECK(shown().state == RolloutState::preparing);
}

TEST_CASE_FIXTURE(house, "an abort is answered and published while rankers, registry and gateways are away") {
  first_release();
  running();
  auto before = version();
  rankers.away = registry.away = true;

  auto got = read<wire::Rollout>(change("current", RolloutAction::abort))->state();

  CHECK(got == RolloutState::rolled_back);
  auto table = poll(before, 60s);
  CHECK(read<wire::RoutingTable>(table)->version() == before + 1);
  CHECK(read<wire::RoutingTable>(table)->arms()->Get(0)->release()->str() == old_release);
}

TEST_CASE_FIXTURE(
    house, "a promotion that is taken back while the registry is away is back at once; its aliases follow") {
  first_release();
  running();
  registry.away = true;
  CHECK(read<wire::Rollout>(change("r", RolloutAction::promote))->state() == RolloutState::promoting);
  tick();
  CHECK(shown().state == RolloutState::promoting);
  auto before = version();

  CHECK(read<wire::Rollout>(change("r", RolloutAction::abort))->state() == RolloutState::aborting);
  CHECK(version() == before + 1);
  tick();
  CHECK(shown().state == RolloutState::aborting);
  registry.away = false;
  tick();
  resolve(old_release);
  resolve(new_release);
  CHECK(shown().state == RolloutState::rolled_back);
}

TEST_CASE_FIXTURE(
    house, "a routing table is answered at once when it is newer, else when it changes or the wait is over") {
  auto early = poll(0, 10s), patient = poll(0, 50s);
  CHECK(!*early);
  advance(10s);
  CHECK(read<wire::RoutingTable>(early)->version() == 0);
  CHECK(!*patient);

  first_release();

  CHECK(read<wire::RoutingTable>(patient)->version() == 1);
  auto now = version();
  CHECK(now == 2);
  CHECK(read<wire::RoutingTable>(poll(now - 1, 50s))->version() == now);
  CHECK(failure(poll(now + 1, 50s)).code == ec::conflict);
}

TEST_CASE_FIXTURE(house, "callers that wait for a routing table are bounded") {
  settings->max_waiters = 2;
  auto one = poll(0, 10s), two = poll(0, 10s), three = poll(0, 10s);
  CHECK(!*one);
  CHECK(!*two);
  CHECK(failure(three).code == ec::overloaded);
  caf::anon_send(controller, drain_atom::value);
  run();
  CHECK(read<wire::RoutingTable>(one)->version() == 0);
  CHECK(read<wire::RoutingTable>(two)->version() == 0);
}

TEST_CASE_FIXTURE(house, "starts that wait for the registry are bounded") {
  std::vector<answer_box> waiting;
  for (int i = 0; i < 16; ++i)
    waiting.push_back(start(fmt::format("r{}", i), "release = 'old'"));

  auto one_more = start("more", "release = 'old'");

  CHECK(failure(one_more).code == ec::overloaded);
  for (auto& each : waiting)
    CHECK(!*each);
}

TEST_CASE_FIXTURE(house,
                  "changes that wait for a step to be written are bounded, and a stop answers all of them") {
  // A controller whose disk does not answer.
  auto silent = own(system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[self](commit_atom, const commit_ptr&) { return self->make_response_promise(); },
            [self](seen_atom, const std::string&) { return self->make_response_promise(); }};
  }));
  rollout_deps deps;
  deps.record.id = "r";
  deps.record.spec_text = "release = 'new'";
  deps.record.spec = *rollout_spec::parse(deps.record.spec_text);
  deps.record.release = new_release;
  deps.record.from = old_release;
  deps.record.weights = {0.5, 1};
  deps.record.state = RolloutState::running;
  deps.controller = caf::actor_cast<caf::weak_actor_ptr>(silent);
  deps.reconciler = reconciler;
  deps.settings = settings;
  deps.metrics = counted;
  auto rollout = own(spawn_rollout(system, std::move(deps)));
  auto pause = [&] {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateRolloutChangeDirect(out, "r", RolloutAction::pause), "TRPD");
    auto got = std::make_shared<std::optional<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = wire::Kind::rollout_change;
    asked->payload = bytes_of(out);
    asked->respond = net::responder::to([got](expected<chunk> result) { got->emplace(std::move(result)); });
    caf::anon_send(rollout, net::request_atom::value, std::move(asked));
    run();
    return got;
  };

  std::vector<answer_box> waiting;
  for (int i = 0; i < 65; ++i) // The first is being written, 64 wait.
    waiting.push_back(pause());
  CHECK(failure(pause()).code == ec::overloaded);
  for (auto& each : waiting)
    CHECK(!*each);

  caf::anon_send_exit(rollout, caf::exit_reason::user_shutdown);
  run();
  for (auto& each : waiting)
    CHECK(failure(each).code == ec::stopping);
}

TEST_CASE_FIXTURE(house, "a request whose deadline has passed is not done") {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateRolloutStartDirect(out, "r", "release = 'new'"), "TRPD");
  CHECK(failure(send(wire::Kind::rollout_start, out, -1s)).code == ec::too_late);
  CHECK(registry.asked.empty());
}

TEST_CASE_FIXTURE(house, "stopped half-way every request has its answer") {
  first_release();
  auto waits = poll(version(), 50s), starts = start("r", "release = 'new'");
  CHECK(!*waits);
  CHECK(!*starts);

  caf::anon_send_exit(controller, caf::exit_reason::user_shutdown);
  run();

  CHECK(read<wire::RoutingTable>(waits)->version() == 2);
  CHECK(failure(starts).code == ec::stopping);
  CHECK(failure(poll(0, 0us)).code == ec::internal); // The endpoint before it answers `stopping`.
}

TEST_CASE_FIXTURE(house, "killed after any step the rollout goes on from its store to the same end") {
  first_release();
  start("r", "release = 'new'\nsteps = [50, 100]\npause = '0s'\n[verdict]\nclick_rate = false");
  resolve(new_release);
  std::uint64_t number = 1;
  std::vector<RolloutState> seen;

  for (int life = 0; life < 40 && shown("r").state != RolloutState::done; ++life) {
    auto now = shown("r");
    if (seen.empty() || seen.back() != now.state)
      seen.push_back(now.state);
    die();
    live();
    CHECK(shown("r").state == now.state);
    CHECK(shown("r").step == now.step);
    if (now.state == RolloutState::running)
      report(number++, "canary", new_release, 600, 0);
    rankers_say(new_release, "ready");
    if (!registry.asked.empty())
      resolve(new_release), resolve(old_release);
    tick();
  }

  CHECK(seen == std::vector{RolloutState::preparing, RolloutState::running, RolloutState::promoting});
  CHECK(shown("r").state == RolloutState::done);
  CHECK(read<wire::RoutingTable>(poll(0, 0us))->arms()->Get(0)->release()->str() == new_release);
}

TEST_CASE_FIXTURE(house, "the reader gives the log to the controller from where it was, each record once") {
  first_release();
  running("release = 'new'\nsteps = [50, 100]");
  remote log;
  log_reader_deps deps;
  deps.log = log.asker();
  deps.controller = controller;
  deps.settings = settings;
  deps.metrics = counted;
  auto reader = own(spawn_log_reader(system, deps));
  run();
  auto ends = [&](std::uint64_t next) {
    auto asked = log.next();
    REQUIRE(asked.kind == wire::Kind::log_info);
    flatbuffers::FlatBufferBuilder out;
    std::vector<wire::PartitionInfo> all{{0, 0, next, 0, 0}};
    out.Finish(wire::CreateLogInfo(out, out.CreateVectorOfStructs(all)), "TRPI");
    tell(asked, out);
    run();
  };
  auto records = [&](std::uint64_t base, std::vector<record> list) {
    auto asked = log.next();
    REQUIRE(asked.kind == wire::Kind::fetch);
    flatbuffers::FlatBufferBuilder out;
    auto bytes = encode_batch(list, 0, base);
    auto inner = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    std::vector batches{wire::CreateLogBatch(out, inner)};
    auto end = base + list.size();
    out.Finish(wire::CreateFetchReply(out, out.CreateVector(batches), end), "TRPI");
    tell(asked, out);
    run();
    return flatbuffers::GetRoot<wire::Fetch>(asked.payload.data())->offset();
  };
  auto routed_by = version();
  auto seen = [&](const char* type, int position) {
    record out;
    out.id = fmt::format("{}{}", type, position);
    out.type = type;
    out.user = "u1";
    out.item = "i1";
    out.event_time = wall_now();
    out.request_id = "request";
    if (out.type == "impression")
      out.attributes = {{"arm", std::string{"canary"}},
                        {"position", static_cast<double>(position)},
                        {"release", new_release},
                        {"routing_version", static_cast<double>(routed_by)}};
    return out;
  };
  auto clicks = [&] {
    auto now = ask<window_ptr>(controller, seen_atom::value, std::string{"r"});
    REQUIRE(now);
    auto rate = rate_of((*now)->find("canary")->cells);
    return std::pair{rate.impressions, rate.clicks};
  };

  ends(7); // What was there before is not read.
  CHECK(records(7, {seen("impression", 1), seen("impression", 2), seen("click", 2)}) == 7);
  CHECK(clicks() == std::pair<std::uint64_t, std::uint64_t>{2, 1});
  log.next().then(fail(ec::unavailable, "the log is away"));
  run();
  tick();
  caf::anon_send_exit(reader, caf::exit_reason::kill);
  die();
  log.asked.clear();
  live();
  deps.controller = controller;
  own(spawn_log_reader(system, deps));
  run();
  ends(12);
  // The answer holds what was read before, too.
  CHECK(records(8, {seen("impression", 2), seen("click", 2), seen("click", 1)}) == 10);

  CHECK(clicks() == std::pair<std::uint64_t, std::uint64_t>{2, 2});
}
