#include "services/registry/service.hpp"
#include "services/trainer/testing/process.hpp"

#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include <mutex>

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::testing;
using namespace std::chrono_literals;

namespace {

/// A real registry behind a real socket, without its actor.
class open_registry {
public:
  open_registry(const std::filesystem::path& data, const std::string& address,
                std::uint64_t max_blob_bytes = 1 << 30)
      : service_{registry::service::open(data, data / "gate.toml", max_blob_bytes).value()} {
    net::handler_map handlers;
    for (auto kind : {wire::Kind::run_create, wire::Kind::run_update, wire::Kind::run_show,
                      wire::Kind::metric_read, wire::Kind::blob_put, wire::Kind::model_register,
                      wire::Kind::model_list, wire::Kind::model_show, wire::Kind::model_change})
      handlers[kind] = [this](net::request req) {
        std::lock_guard lock{mutex_};
        req.respond.finish(service_->answer(req.info.kind, req.payload));
      };
    net::endpoint_options options;
    options.address = address;
    options.identity = "registry/0";
    endpoint_ = net::endpoint::open(options, std::move(handlers)).value();
  }

  template <class Answer, class Question>
  typename Answer::NativeTableType ask(wire::Kind kind, const typename Question::NativeTableType& question) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(Question::Pack(out, &question), "TRPR");
    std::lock_guard lock{mutex_};
    auto got = service_->answer(
        kind, chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()}));
    REQUIRE_MESSAGE(got, (got ? std::string{} : render(got.error())));
    typename Answer::NativeTableType value;
    flatbuffers::GetRoot<Answer>(got->data())->UnPackTo(&value);
    return value;
  }

private:
  std::mutex mutex_;
  std::unique_ptr<registry::service> service_;
  std::unique_ptr<net::endpoint> endpoint_;
};

constexpr auto patience = 30s; ///< With a registry that is there, or comes at once.

/// `wait` is how long a call waits for a connection: short where the registry is away in any case.
std::shared_ptr<net::client> client_of(const std::string& address, std::chrono::milliseconds wait = 50ms) {
  net::client_options options;
  options.service = "registry";
  options.addresses = {address};
  options.caller = "trainer/0";
  options.connect_wait = wait;
  options.breaker_open = 50ms;
  return net::client::open(options).value();
}

trainer::config impatient(std::chrono::seconds again) {
  trainer::config settings;
  settings.registry_patience = 0s;
  settings.publish_again = again;
  return settings;
}

bool is_published(const wire::TrainStatus& now) {
  return now.error()->size() == 0;
}

} // namespace

TEST_CASE("a run that ended while the registry was away is published when it is back, with its metrics") {
  troupe::testing::temp_dir dir;
  auto address = "ipc://" + (dir / "registry").string();
  process one{dir / "trainer", impatient(1s), client_of(address)};
  REQUIRE(one.start("r1", config_in(dir.path(), "steps = 3\n")));
  auto away = one.end_of("r1");

  open_registry registry{dir / "data", address};
  auto now = one.ask_until("r1", wire::Kind::train_status, is_published);

  CHECK(read(away).state() == wire::TrainState::done);
  CHECK(read(away).error()->str().find("not registered yet") != std::string::npos);
  CHECK(read(now).state() == wire::TrainState::done);
  wire::RunQueryT question;
  question.run_id = "r1";
  auto run = registry.ask<wire::RunReply, wire::RunQuery>(wire::Kind::run_show, question);
  CHECK(run.run->state == wire::RunState::done);
  CHECK(run.run->artefacts.size() == 3);
  bool has_loss = std::ranges::any_of(run.run->metrics, [](auto& each) { return each->name == "loss"; });
  CHECK(has_loss);
  wire::ModelQueryT model;
  model.name = "test";
  CHECK(registry.ask<wire::ModelVersion, wire::ModelQuery>(wire::Kind::model_show, model).version == 1);
}

TEST_CASE("a run that no life could publish is published at the start of the next, and its checkpoints go") {
  troupe::testing::temp_dir dir;
  auto address = "ipc://" + (dir / "registry").string();
  {
    process first{dir / "trainer", impatient(24h), client_of(address)};
    REQUIRE(first.start("r1", config_in(dir.path(), "steps = 3\n")));
    first.end_of("r1");
    REQUIRE(first.start("r2", config_in(dir.path(), "steps = 3\nexit_at = 1\ncode = 2\nalways = true\n")));
    CHECK(read(first.end_of("r2")).state() == wire::TrainState::failed);
  }
  auto folder = dir / "trainer" / "runs" / "r1";
  CHECK(std::filesystem::exists(folder / "checkpoints"));

  open_registry registry{dir / "data", address};
  process second{dir / "trainer", impatient(24h), client_of(address, patience)};
  auto now = second.ask_until("r1", wire::Kind::train_status, is_published);

  CHECK(read(now).metrics()->size() > 0);
  // The failed one comes after it.
  wire::RunListT question;
  auto runs_known = [&] {
    return registry.ask<wire::RunPage, wire::RunList>(wire::Kind::run_list, question).runs;
  };
  while (runs_known().size() < 2 || runs_known().front()->state == wire::RunState::running)
    std::this_thread::yield();
  CHECK(runs_known().front()->state == wire::RunState::failed);
  CHECK(!std::filesystem::exists(folder / "checkpoints"));
  CHECK(std::filesystem::exists(folder / "model"));
}

TEST_CASE("the first model of a name gets what is in production under other names to be measured beside it") {
  troupe::testing::temp_dir dir;
  auto address = "ipc://" + (dir / "registry").string();
  open_registry registry{dir / "data", address};
  process one{dir / "trainer", impatient(24h), client_of(address, patience)};
  auto config = config_in(dir.path(), "steps = 1\n"); // ends in its table [run]
  REQUIRE(one.start("r1", config + "name = \"first\"\n"));
  CHECK(read(one.end_of("r1")).error()->str().empty());
  wire::ModelChangeT change;
  change.name = "first";
  change.version = 1;
  change.set_aliases.emplace_back("production");
  registry.ask<wire::ModelVersion, wire::ModelChange>(wire::Kind::model_change, change);

  REQUIRE(one.start("r2", config + "name = \"second\"\n"));
  CHECK(read(one.end_of("r2")).error()->str().empty());

  CHECK(!std::filesystem::exists(dir / "trainer" / "runs" / "r1" / "production.json"));
  std::ifstream in{dir / "trainer" / "runs" / "r2" / "production.json"};
  std::string noted{std::istreambuf_iterator<char>{in}, {}};
  CHECK_MESSAGE(noted.find("\"model\":\"first:1\"") != std::string::npos, noted);
  CHECK_MESSAGE(noted.find("model = ") != std::string::npos, noted);
}

TEST_CASE("of a model that the registry does not take the folder stays, of one that the gate stops it goes") {
  troupe::testing::temp_dir dir;
  auto address = "ipc://" + (dir / "registry").string();
  trainer::config settings;
  settings.registry_patience = patience; // the second registry takes the place of the first
  settings.keep_runs = 1;
  auto config = config_in(dir.path(), "steps = 1\n"); // ends in its table [run]
  std::filesystem::create_directories(dir / "data");
  std::ofstream{dir / "data" / "gate.toml"} << "[[check]]\nmetric = \"hr_at_10\"\nat_least = 0.9\n";
  process one{dir / "trainer", settings, client_of(address, patience)};
  {
    open_registry small{dir / "small", address, 3};
    REQUIRE(one.start("large", config));
    CHECK(read(one.end_of("large")).error()->str().find("max_blob_bytes") != std::string::npos);
  }
  open_registry gated{dir / "data", address};
  for (auto* id : {"g1", "g2"}) {
    REQUIRE(one.start(id, config + "experiment = \"" + id + "\"\n"));
    auto last = one.end_of(id);
    CHECK_MESSAGE(read(last).error()->str().find("quality gate") != std::string::npos,
                  read(last).error()->str());
  }

  auto runs = dir / "trainer" / "runs";
  CHECK(std::filesystem::exists(runs / "large" / "model"));
  CHECK(!std::filesystem::exists(runs / "g1"));
  CHECK(std::filesystem::exists(runs / "g2"));
}
