#pragma once

#include "services/registry/model_ledger.hpp"
#include "services/registry/run_ledger.hpp"

#include "common/net/envelope.hpp"

namespace troupe::registry {

/// The registry without its sockets: answers a request of any of its kinds. One thread.
class service {
public:
  static expected<std::unique_ptr<service>> open(const std::filesystem::path& data,
                                                 std::filesystem::path gate_file,
                                                 std::uint64_t max_blob_bytes,
                                                 const service_metrics& seen = {});

  /// The payload of the answer; ec::corrupt for a payload that is not the message of `kind`, ec::internal
  /// where a part of us threw: one request never ends the process.
  expected<chunk> answer(wire::Kind kind, const chunk& payload);

private:
  expected<chunk> answer_as(wire::Kind kind, const chunk& payload);
  service(std::shared_ptr<store::database> db, blob_store blobs, std::filesystem::path gate_file,
          const service_metrics& seen)
      : blobs_{std::move(blobs)}, runs_{db}, models_{db, blobs_, std::move(gate_file), seen} {}

  expected<chunk> answer_about_runs(wire::Kind kind, const chunk& payload);
  expected<chunk> answer_about_blobs(wire::Kind kind, const chunk& payload);
  expected<chunk> answer_about_models(wire::Kind kind, const chunk& payload);

  blob_store blobs_;
  run_ledger runs_;
  model_ledger models_;
};

} // namespace troupe::registry
