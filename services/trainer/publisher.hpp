#pragma once

#include "services/trainer/run_order.hpp"

#include "common/core/time.hpp"
#include "common/net/client.hpp"

#include <boost/json/array.hpp>

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

  /// The points that wait, to be kept on disk, and such points again.
  boost::json::array unsent() const;
  void add_unsent(const boost::json::array& points);

  /// Sends a file as a blob, from where the registry has it. ec::conflict where it is not the file `sha256`
  /// any more.
  expected<void> upload(const std::filesystem::path& file, const std::string& sha256);

  /// A version with the alias production, and the configuration it was trained with; empty where it was not
  /// trained here.
  struct in_production {
    std::string version; ///< name:number
    std::string config;
  };

  /// What is in production under this model's name; where that is nothing, all models of the release in
  /// production: the deployer sets the alias at each of them.
  expected<std::vector<in_production>> production();

  /// Registers the model; gives its version. What the gate said is in the log.
  expected<std::uint64_t> register_model(const std::string& manifest);

  /// The last update: the run has ended. `state` is of wire::RunState.
  expected<void> end(int state, std::string error);

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
  std::size_t sent_points_ = 0; ///< Those of `pending_`, which stand first in `points_`.
  chunk pending_;               ///< An update that may have arrived.
  std::uint64_t dropped_ = 0;
};

} // namespace troupe::trainer
