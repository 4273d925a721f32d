#include "services/feature_store/online/consumer.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/ingest_generated.h"

#include <doctest/doctest.h>

#include <deque>

using namespace troupe;
using namespace troupe::feature_store;
using namespace std::chrono_literals;

namespace {

constexpr const char* one_view =
    "[[view]]\nname='u'\nentity='user'\nsource='click'\n[[view.feature]]\nname='n'\n"
    "operator='count'\n";
constexpr const char* another_view = "[[view]]\nname='v'\nentity='user'\nsource='click'\n[[view.feature]]\n"
                                     "name='recent'\noperator='last_n'\nof='item'\nn=3\n";

chunk bytes_of(flatbuffers::FlatBufferBuilder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

/// A consumer whose log and pool are the test.
struct consuming : testing::actor_fixture {
  struct question {
    std::uint64_t tag;
    wire::Kind kind;
    std::uint64_t offset;
  };

  troupe::testing::temp_dir folder;
  metrics::registry registry;
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  std::shared_ptr<health> state = health::make("feature-store", 0);
  std::shared_ptr<feature_store::config> settings = std::make_shared<feature_store::config>();
  std::shared_ptr<state_engine> engine;
  std::deque<question> asked;
  std::deque<std::function<void()>> tasks;
  bool pool_full = false;
  int advances = 0;
  consumer_actor consumer;

  explicit consuming(const std::string& views = one_view) { begin(views); }
  ~consuming() { end(); }

  void begin(const std::string& views) {
    engine = state_engine::open(folder / "s", parse_views(views, "test").value()).value();
    consumer_deps deps;
    deps.engine = engine;
    deps.call = [this](const consumer_actor&, std::uint64_t tag, wire::Kind kind, const chunk& payload,
                       deadline) {
      asked.push_back(
          {tag, kind,
           kind == wire::Kind::fetch ? flatbuffers::GetRoot<wire::Fetch>(payload.data())->offset() : 0});
    };
    deps.run = [this](std::function<void()> task) -> expected<void> {
      if (pool_full)
        return fail(ec::overloaded, "the pool is full");
      tasks.push_back(std::move(task));
      return {};
    };
    deps.metrics = counts;
    deps.progress = std::make_shared<consumer_progress>();
    deps.settings = settings;
    deps.report = health::add(state, "consumer");
    deps.advanced = [this] { ++advances; };
    consumer = own(spawn_consumer(system, std::move(deps)));
    run();
  }
  void end() {
    caf::anon_send_exit(consumer, caf::exit_reason::user_shutdown);
    run();
    work();
    consumer = nullptr;
    engine.reset();
    asked.clear();
  }

  bool degraded() const { return state->read().components.back().is == health::condition::degraded; }

  /// Everything that the pool has to do.
  void work() {
    while (!tasks.empty()) {
      auto next = std::move(tasks.front());
      tasks.pop_front();
      next();
      run();
    }
  }
  question next() {
    REQUIRE(!asked.empty());
    auto first = asked.front();
    asked.pop_front();
    return first;
  }
  void reply(std::uint64_t tag, expected<chunk> payload) {
    auto made = payload ? expected<net::reply>{net::reply{}}
                        : expected<net::reply>{unexpected<error>{payload.error()}};
    if (payload)
      made->payload = std::move(*payload);
    caf::anon_send(consumer, net::reply_atom::value, tag,
                   net::result_ptr{std::make_shared<const expected<net::reply>>(std::move(made))});
    run();
  }
  /// The log says that its one partition ends there.
  void say_end(std::uint64_t at) {
    auto first = next();
    CHECK(first.kind == wire::Kind::log_info);
    flatbuffers::FlatBufferBuilder out;
    std::vector<wire::PartitionInfo> all{{0, 0, at, 0, 0}};
    out.Finish(wire::CreateLogInfo(out, out.CreateVectorOfStructs(all)), "TRPI");
    reply(first.tag, bytes_of(out));
  }
  /// Answers a fetch with so many clicks from an offset on.
  void give(std::uint64_t tag, std::uint64_t from, std::size_t count, std::uint64_t end) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::LogBatch>> batches;
    if (count > 0) {
      std::vector<record> clicks(count);
      for (std::size_t i = 0; i < count; ++i) {
        clicks[i].id = std::to_string(from + i);
        clicks[i].type = "click";
        clicks[i].user = "u";
        clicks[i].item = "i";
        clicks[i].event_time = from_micros(static_cast<std::int64_t>(from + i + 1) * 1'000'000);
      }
      auto bytes = encode_batch(std::span<const record>{clicks}, 0, from);
      out.ForceVectorAlignment(bytes.size(), 1, 8);
      batches.push_back(wire::CreateLogBatch(
          out, out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size())));
    }
    out.Finish(wire::CreateFetchReply(out, out.CreateVector(batches), end), "TRPI");
    reply(tag, bytes_of(out));
  }
};

} // namespace

TEST_CASE("records are applied in the pool, parked reads are told, and more are asked for after that") {
  consuming f;
  f.say_end(5);
  auto fetch = f.next();
  CHECK(fetch.offset == 0);

  f.give(fetch.tag, 0, 3, 5);
  CHECK(f.engine->applied(0, 0) == 0);
  CHECK(f.asked.empty());
  f.work();
  CHECK(f.engine->applied(0, 0) == 3);
  CHECK(f.advances == 1);
  CHECK(f.next().offset == 3);
  f.advance(f.settings->flush_interval);
  CHECK(f.engine->changed() == 1);
  f.work();
  CHECK(f.engine->changed() == 0);
}

TEST_CASE("a gap in what the log gives is not applied: the same offset is asked for again, later and later") {
  consuming f;
  f.say_end(9);
  auto fetch = f.next();
  f.give(fetch.tag, 0, 2, 9);
  f.work();
  fetch = f.next();

  for (auto wait : {100ms, 200ms, 300ms}) {
    f.give(fetch.tag, 5, 2, 9);
    CHECK(f.tasks.empty());
    f.advance(wait - 1ms);
    CHECK(f.asked.empty());
    f.advance(1ms);
    CHECK(f.next().offset == 2);
  }
  CHECK(f.degraded());
  f.give(fetch.tag, 2, 2, 9);
  f.work();
  CHECK(f.engine->applied(0, 0) == 4);
  CHECK(!f.degraded());
}

TEST_CASE(
    "a log that ends before what is applied was replaced: nothing is applied, and the service says so") {
  consuming f;
  f.say_end(4);
  auto fetch = f.next();
  f.give(fetch.tag, 0, 4, 4);
  f.work();

  for (auto wait : {100ms, 200ms, 300ms}) {
    f.give(f.next().tag, 0, 0, 2);
    f.advance(wait);
  }
  CHECK(f.engine->applied(0, 0) == 4);
  CHECK(f.tasks.empty());
  CHECK(f.degraded());
}

TEST_CASE("a service that is away is asked again at most every two seconds; a full pool likewise") {
  consuming f;
  auto first = f.next();
  for (int i = 0; i < 30; ++i) {
    f.reply(first.tag, fail(ec::unavailable, "away"));
    f.advance(2s);
    CHECK(f.asked.size() == 1);
    f.asked.clear();
  }
  f.asked.push_back(first);
  f.say_end(3);
  auto fetch = f.next();
  f.pool_full = true;
  f.give(fetch.tag, 0, 3, 3);
  CHECK(f.asked.empty());
  f.pool_full = false;
  f.advance(100ms);
  CHECK(f.next().offset == 0);
}

TEST_CASE("a new view follows the log from its beginning by itself, and joins the others when it is as far") {
  consuming f;
  f.say_end(4);
  f.give(f.next().tag, 0, 4, 4);
  f.work();
  f.end();
  f.begin(std::string{one_view} + another_view);
  f.say_end(4);

  auto young = f.next(), old = f.next();
  CHECK(young.offset == 0);
  CHECK(old.offset == 4);
  f.give(young.tag, 0, 4, 4);
  f.work();
  CHECK(f.asked.empty()); // One loop for both.
  f.give(old.tag, 4, 2, 6);
  f.work();
  CHECK(f.engine->applied(0, 0) == 6);
  CHECK(f.engine->applied(1, 0) == 6);
}

TEST_CASE("a view does not join one that is being applied to: it would miss those records") {
  consuming f;
  f.say_end(4);
  f.give(f.next().tag, 0, 4, 4);
  f.work();
  f.end();
  f.begin(std::string{one_view} + another_view);
  f.say_end(6);
  auto young = f.next(), old = f.next();
  f.give(young.tag, 0, 4, 6);
  f.give(old.tag, 4, 2, 6);

  f.work();
  CHECK(f.next().offset == 4);
  CHECK(f.next().offset == 6);
  f.give(young.tag, 4, 2, 6);
  f.work();
  CHECK(f.engine->applied(0, 0) == 6);
  CHECK(f.engine->applied(1, 0) == 6);
}

TEST_CASE("a consumer that is stopped while records are applied ends when they are written") {
  consuming f;
  f.say_end(3);
  f.give(f.next().tag, 0, 3, 3);
  caf::anon_send_exit(f.consumer, caf::exit_reason::user_shutdown);
  f.run();

  CHECK(f.tasks.size() == 2);
  f.work();
  CHECK(f.engine->applied(0, 0) == 3);
  CHECK(f.engine->changed() == 0);
  CHECK(f.asked.empty());
  f.end();
  auto again = state_engine::open(f.folder / "s", parse_views(one_view, "test").value());
  REQUIRE(again);
  CHECK((*again)->applied(0, 0) == 3);
}
