#pragma once

#include "services/trainer/actors.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <fstream>
#include <future>
#include <optional>
#include <string>
#include <thread>

namespace troupe::trainer::testing {

/// One life of the service without its endpoint.
struct process {
  caf::actor_system_config config;
  caf::actor_system system{config};
  metrics::registry seen;
  std::shared_ptr<run_deps> deps = std::make_shared<run_deps>();
  std::shared_ptr<run_threads> threads = std::make_shared<run_threads>();
  std::optional<runs_actor> runs;

  explicit process(const std::filesystem::path& folder, trainer::config settings = {},
                   std::shared_ptr<net::client> registry = {},
                   std::shared_ptr<net::client> feature_store = {}) {
    deps->folder = folder / "runs";
    deps->seen = service_metrics{seen};
    deps->worker = TROUPE_TEST_WORKER;
    deps->settings = std::make_shared<const trainer::config>(std::move(settings));
    deps->registry = std::move(registry);
    deps->training_sets = std::make_shared<training_sets>(folder / "training-sets", std::move(feature_store));
    deps->journal = *run_journal::open(folder / "journal");
    runs = *spawn_runs(system, deps, threads);
  }

  ~process() {
    caf::anon_send_exit(caf::actor_cast<caf::actor>(*runs), caf::exit_reason::user_shutdown);
    runs.reset();
    system.await_all_actors_done();
    threads->join();
  }

  expected<chunk> ask(wire::Kind kind, const flatbuffers::FlatBufferBuilder& out) {
    auto answer = std::make_shared<std::promise<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = kind;
    asked->payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
    asked->respond = net::responder::to([answer](expected<chunk> got) { answer->set_value(std::move(got)); });
    caf::anon_send(*runs, net::request_atom::value, std::move(asked));
    return answer->get_future().get();
  }

  expected<wire::TrainState> start(const std::string& id, const std::string& toml) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateTrainStartDirect(out, id.c_str(), toml.c_str()), "TRPT");
    TROUPE_TRY(got, ask(wire::Kind::train_start, out));
    return flatbuffers::GetRoot<wire::TrainStatus>(got.data())->state();
  }

  /// Asks until `enough` says yes; gives the last answer.
  chunk ask_until(const std::string& id, wire::Kind kind,
                  const std::function<bool(const wire::TrainStatus&)>& enough) {
    for (;;) {
      flatbuffers::FlatBufferBuilder out;
      out.Finish(wire::CreateTrainQueryDirect(out, id.c_str()), "TRPT");
      auto got = ask(kind, out);
      REQUIRE(got);
      if (enough(*flatbuffers::GetRoot<wire::TrainStatus>(got->data())))
        return *got;
      std::this_thread::yield();
    }
  }

  chunk end_of(const std::string& id) {
    return ask_until(id, wire::Kind::train_status,
                     [](auto& now) { return now.state() >= wire::TrainState::done; });
  }
};

inline std::string config_in(const std::filesystem::path& folder, const std::string& more) {
  std::ofstream{folder / "data.tsv"} << "u\ti\t1\n";
  return more + "model = \"test\"\nseed = 7\n[run]\nranks = 2\ndata = \"" + (folder / "data.tsv").string() +
         "\"\n";
}

inline const wire::TrainStatus& read(const chunk& bytes) {
  return *flatbuffers::GetRoot<wire::TrainStatus>(bytes.data());
}

} // namespace troupe::trainer::testing
