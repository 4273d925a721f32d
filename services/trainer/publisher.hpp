#pragma once

#include "services/trainer/run_order.hpp"

#include "common/core/time.hpp"
#include "common/net/client.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace troupe::trainer {

/// What the registry learns of a run. One thread at a time; every call blocks. Updates are numbered: one that
/// may have arrived is sent again with its number and changes nothing then. Up to 100,000 metric points wait
/// while the registry is away; of more the newest are dropped and counted.
class publisher {
public:
  publisher(std::shared_ptr<net::client> registry, const run_order& order)
      : registry_{std::move(registry)}, order_{order} {}

  void add(std::string name, std::uint64_t step, double value);
  void artefact(std::string name, std::string sha256) { artefacts_[std::move(name)] = std::move(sha256); }

  /// Sends what waits.
  expected<void> flush();

  /// Sends a file as a blob, from where the registry has it.
  expected<void> upload(const std::filesystem::path& file, const std::string& sha256, std::uint64_t bytes);

  /// The configuration of the version that is in production under this model's name; empty where there is
  /// none, or where it was not trained here.
  expected<std::string> production_config();

  /// Registers the model; gives its version.
  expected<std::uint64_t> register_model(const std::string& manifest);

  /// The last update: the run has ended. `state` is of wire::RunState.
  expected<void> end(int state, std::string error);

  std::uint64_t dropped() const noexcept { return dropped_; }

private:
  struct point {
    std::string name;
    std::uint64_t step;
    double value;
    std::int64_t at;
  };

  expected<void> create();
  expected<void> send(int state, const std::string& error);
  expected<net::reply> ask(wire::Kind kind, const chunk& payload);

  std::shared_ptr<net::client> registry_;
  run_order order_;
  bool created_ = false;
  std::uint64_t number_ = 0;
  std::vector<point> points_;
  std::map<std::string, std::string> artefacts_;
  chunk pending_; ///< An update that may have arrived.
  std::uint64_t dropped_ = 0;
};

} // namespace troupe::trainer
