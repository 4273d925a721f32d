#pragma once

#include "services/validator/config.hpp"
#include "services/validator/metrics.hpp"
#include "services/validator/schema_folder.hpp"
#include "services/validator/state_store.hpp"

#include "common/actor/health.hpp"
#include "common/core/bytes.hpp"

#include "schemas/envelope_generated.h"

#include <filesystem>
#include <memory>
#include <string>

namespace troupe::validator {

/// The bytes of a wire::Validate. `rows` is copied to an address that fits it, so that the receiver reads it
/// in place.
chunk encode_validate(std::string_view source, std::uint64_t first_row, byte_view rows);

/// Everything the service does, without actors and sockets: bytes of a request in, bytes of its answer out.
/// Concurrency: one caller at a time. Blocks on the disk where a schema has a unique field, and when profiles
/// are written.
class engine {
public:
  /// Fails when a schema is broken or the state cannot be read. `schemas` and `state` are folders.
  static expected<std::unique_ptr<engine>> open(const config& with, const std::filesystem::path& schemas,
                                                const std::filesystem::path& state, metrics::registry& counts,
                                                health::report report = {});

  /// Writes the profiles.
  ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// The answer to a request of that kind: validate, profile, schemas. Malformed bytes: ec::corrupt.
  expected<chunk> answer(wire::Kind kind, const chunk& payload);

  validator_metrics& counts() noexcept { return counts_; }

private:
  engine(const config& with, std::filesystem::path schemas, metrics::registry& counts, health::report report);

  expected<chunk> validate(const chunk& payload);
  expected<chunk> profile(const chunk& payload) const;
  expected<chunk> schemas() const;
  expected<void> reload_when_due();
  void report(const validation& judged, std::string_view source);

  config config_;
  schema_folder folder_;
  validator_metrics counts_;
  health::report report_;
  std::shared_ptr<store::database> db_;
  std::unique_ptr<unique_index> unique_;
  std::unique_ptr<profile_store> profiles_;
  std::chrono::steady_clock::time_point looked_at_{};
};

} // namespace troupe::validator
