#pragma once

#include "services/gateway/actors/arm_reporter.hpp"
#include "services/gateway/actors/fallback_items.hpp"
#include "services/gateway/actors/request_actor.hpp"
#include "services/gateway/actors/routing_client.hpp"
#include "services/gateway/actors/slate_sender.hpp"
#include "services/gateway/gateway_deps.hpp"

#include "common/net/payload.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/deployer_generated.h"

#include <boost/json.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <optional>

/// What the gateway's tests share.
namespace troupe::gateway {

inline chunk bytes_of(const flatbuffers::FlatBufferBuilder& out) {
  return net::bytes_of(out);
}

/// A service behind the gateway: what it is asked waits until the test answers, or is answered as `on` says.
struct fake_service {
  struct question {
    std::optional<std::uint32_t> replica;
    wire::Kind kind;
    chunk payload;
    deadline until;
    net::client::done then;
    net::trace_context trace;

    void answer(chunk payload) const {
      net::reply made;
      made.payload = std::move(payload);
      then(std::move(made));
    }
    /// What another service would answer it with.
    std::function<void(expected<chunk>)> as_responder() const {
      return [one = *this](expected<chunk> got) {
        if (got)
          one.answer(std::move(*got));
        else
          one.then(unexpected<error>{got.error()});
      };
    }
    void fail(ec code, const std::string& text) const { then(unexpected<error>{error{code, text}}); }
  };

  void on(wire::Kind kind, std::function<chunk(const question&)> answer) {
    std::lock_guard lock{mutex};
    answers[kind] = std::move(answer);
  }
  /// From now on its questions of that kind wait.
  void hold(wire::Kind kind) {
    std::lock_guard lock{mutex};
    answers.erase(kind);
  }

  backend behind(std::uint32_t replicas = 1) {
    return backend{replicas, [this](std::optional<std::uint32_t> replica, wire::Kind kind, chunk payload,
                                    deadline until, net::client::done then, net::trace_context trace) {
                     question one{replica, kind, std::move(payload), until, std::move(then), trace};
                     std::function<chunk(const question&)> answer;
                     bool over = false;
                     {
                       std::lock_guard lock{mutex};
                       over = closed;
                       if (auto found = answers.find(kind); found != answers.end())
                         answer = found->second;
                       else if (!over)
                         asked.push_back(one);
                       changed.notify_all();
                     }
                     if (over)
                       one.fail(ec::stopping, "the test is over");
                     else if (answer)
                       one.answer(answer(one));
                   }};
  }

  /// The first question that waits; waits for it.
  question next() {
    std::unique_lock lock{mutex};
    REQUIRE(changed.wait_for(lock, std::chrono::seconds{20}, [&] { return !asked.empty(); }));
    auto first = std::move(asked.front());
    asked.pop_front();
    return first;
  }
  std::size_t waiting() {
    std::lock_guard lock{mutex};
    return asked.size();
  }
  /// Fails what waits, and whatever is asked from now on: whoever asks a next question ends, too.
  void close() {
    std::deque<question> left;
    {
      std::lock_guard lock{mutex};
      closed = true;
      left.swap(asked);
    }
    for (const auto& each : left)
      each.fail(ec::stopping, "the test is over");
  }

  std::mutex mutex;
  bool closed = false;
  std::condition_variable changed;
  std::deque<question> asked;
  std::map<wire::Kind, std::function<chunk(const question&)>> answers;
};

/// What an actor of the gateway stands on, with services that the test plays.
struct gateway_parts {
  testing::temp_dir folder;
  metrics::registry numbers;
  std::shared_ptr<gateway::config> settings = std::make_shared<gateway::config>();
  fake_service ingest, features, registry, deployer, ranker, gateways;
  std::uint32_t feature_replicas = 1;
  gateway::peers peers;
  bool nobody = false;             ///< The catalog has no service but the gateway.
  std::optional<backends> sockets; ///< In place of the services that the test plays.
  deps_ptr deps;

  /// A second time: as after a restart.
  void open_deps() {
    if (deps)
      deps->outbox->stop();
    deps.reset();
    gateway_deps::open_options options;
    options.settings = settings;
    options.peers = peers;
    options.metrics = &numbers;
    options.state = folder / "state";
    options.key_file = folder / "api-keys.toml";
    if (sockets)
      options.behind = *sockets;
    else if (!nobody)
      options.behind = {ingest.behind(), features.behind(feature_replicas), registry.behind(),
                        deployer.behind(), ranker.behind()};
    deps = gateway_deps::open(std::move(options)).value();
  }
};

inline http::request request_of(const std::string& method, const std::string& path,
                                const std::string& body = {}, http::header_list headers = {}) {
  http::request asked;
  asked.method = method;
  auto mark = path.find('?');
  asked.path = path.substr(0, mark);
  asked.query = mark == std::string::npos ? "" : path.substr(mark + 1);
  asked.body = body;
  asked.headers = std::move(headers);
  asked.peer = "127.0.0.1";
  return asked;
}

inline std::string header_of(const http::response& from, const std::string& name) {
  for (const auto& [key, value] : from.headers)
    if (key == name)
      return value;
  return {};
}

/// The status of a problem document; checks its shape on the way.
inline unsigned problem_of(const http::response& given, const std::string& code) {
  auto read = boost::json::parse(given.body);
  CHECK(given.content_type == "application/problem+json");
  CHECK(read.at("status").to_number<unsigned>() == given.status);
  CHECK(boost::json::value_to<std::string>(read.at("code")) == code);
  CHECK(!boost::json::value_to<std::string>(read.at("detail")).empty());
  CHECK(read.at("type").is_string());
  CHECK(read.at("title").is_string());
  return given.status;
}

inline std::string text_of(const boost::json::value& from) {
  return boost::json::value_to<std::string>(from);
}

inline chunk table_bytes(std::uint64_t version, const std::vector<arm>& arms,
                         const std::string& shadow_release = {}) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::Arm>> made;
  for (const auto& each : arms)
    made.push_back(
        wire::CreateArm(out, out.CreateString(each.name), out.CreateString(each.release), each.weight));
  auto list = out.CreateVector(made);
  auto salt = out.CreateString("s"), shadow = out.CreateString(shadow_release),
       rollout = out.CreateString("x");
  out.Finish(wire::CreateRoutingTable(out, version, list, salt, shadow, rollout), "TRPD");
  return bytes_of(out);
}

/// A gateway that serves: its requests are asked as over HTTP, its actors run on threads.
class served_gateway : public gateway_parts {
public:
  served_gateway() = default;
  ~served_gateway() {
    for (auto& each : actors_)
      caf::anon_send_exit(each, caf::exit_reason::user_shutdown);
    actors_.clear();
    if (deps)
      deps->outbox->stop();
    for (auto* each : {&ingest, &features, &registry, &deployer, &ranker, &gateways})
      each->close();
    if (deps) {
      deps->fallback_items = nullptr;
      deps->requests_at_work.clear();
    }
  }

  void open() {
    open_deps();
    deps->fallback_items = own(spawn_fallback_items(system_, deps));
    deps->requests_at_work = spawn_requests(system_, 2);
    own(deps->requests_at_work.front());
    holders_at_rest_ = deps.use_count();
  }
  /// Waits until no request is at work but `others`; a request that is answered may still have a shadow to
  /// ask.
  void wait_for_requests(long others = 0) {
    constexpr long holders = 1; // The exchange of a request.
    for (auto until = deadline::in(std::chrono::seconds{20});
         deps.use_count() > holders_at_rest_ + others * holders;) {
      REQUIRE(!until.passed());
      std::this_thread::yield();
    }
  }
  void route(const std::vector<arm>& arms, const std::string& shadow = {}) {
    auto table = routing_table::read(table_bytes(1, arms, shadow)).value();
    deps->routing.set(std::make_shared<const routing_table>(std::move(table)));
  }
  template <class Handle>
  Handle own(Handle actor) {
    actors_.push_back(caf::actor_cast<caf::actor>(actor));
    return actor;
  }

  std::future<http::response> ask_later(http::request asked) {
    auto answer = std::make_shared<std::promise<http::response>>();
    serve(deps, std::move(asked),
          http::responder{[answer](http::response given) { answer->set_value(std::move(given)); }});
    return answer->get_future();
  }
  http::response ask(const std::string& method, const std::string& path, const std::string& body = {},
                     http::header_list headers = {}) {
    return ask_later(request_of(method, path, body, std::move(headers))).get();
  }
  boost::json::value good(const std::string& method, const std::string& path, const std::string& body = {}) {
    auto given = ask(method, path, body);
    REQUIRE_MESSAGE(given.status == 200, given.body);
    return boost::json::parse(given.body);
  }

  caf::actor_system& system() noexcept { return system_; }

private:
  struct caf_config : caf::actor_system_config {
    caf_config() { set("scheduler.max-threads", std::size_t{2}); }
  };
  caf_config config_;
  caf::actor_system system_{config_};
  std::vector<caf::actor> actors_;
  long holders_at_rest_ = 0; ///< Of deps.
};

} // namespace troupe::gateway
