#pragma once

#include "tests/support/fleet.hpp"

namespace troupe::testing {

/// Settings under which a rollout takes seconds.
inline constexpr auto quick_rollouts = R"(
[deployer.settings]
analysis_interval = "100ms"
settle = "500ms"
ranker_poll = "100ms"
)";

/// `troupe generate` into `out`; the summary it prints.
inline json generate(const fleet& by, const std::filesystem::path& out, std::uint64_t events,
                     std::vector<std::string> more = {}) {
  std::vector<std::string> words{
      "generate", "--quiet", "--out",   out.string(), "--events", std::to_string(events),
      "--users",  "2000",    "--items", "500"};
  words.insert(words.end(), more.begin(), more.end());
  return by.ask(words, 300s);
}

/// `troupe ingest PATH`; the summary it prints.
inline json ingest(const fleet& by, const std::filesystem::path& path, const std::string& mapping = {},
                   std::chrono::milliseconds limit = 300s) {
  std::vector<std::string> words{"ingest", path.string()};
  if (!mapping.empty())
    words.insert(words.end(), {"--mapping", mapping});
  return by.ask(words, limit);
}

/// Puts shipped feature views and schemas into the data folder, where the services of the fleet look for
/// them.
inline void configure(const fleet& target, const std::string& views, const std::string& schemas = {}) {
  auto services = source_dir() / "services";
  std::filesystem::copy_file(services / "feature_store" / "views" / (views + ".toml"),
                             target.data() / "views" / "v.toml");
  if (!schemas.empty())
    std::filesystem::copy_file(services / "validator" / "schemas" / (schemas + ".toml"),
                               target.data() / "schemas" / "s.toml");
}

} // namespace troupe::testing
