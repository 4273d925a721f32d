#pragma once

#include "services/feature_store/training/training_spec.hpp"
#include "services/ingest/client/record_stream.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace troupe::feature_store {

struct training_progress {
  std::string stage; ///< sorting, replaying, writing, done.
  std::uint64_t records_total = 0;
  std::uint64_t records_done = 0;
  std::uint64_t rows = 0;
};

struct training_options {
  std::uint64_t memory_bytes = std::uint64_t{512} << 20; ///< Half for the sort, half for the states.
  std::size_t flush_states = 50'000;
  /// Called a few times a second; false ends the work with ec::canceled, what is done stays resumable.
  std::function<bool(const training_progress&)> tell;
};

/// Builds a training set in folder `out`: Parquet parts and manifest.json, whose text is returned.
///
/// Every label sees exactly the records that were known at its instant: records and labels are sorted by the
/// instant from which they are visible (on disk, bounded memory) and replayed through the same state engine
/// that serves online reads. Each sealed part is a checkpoint; a build that was killed goes on from the last
/// one when it is started again with the same specification, and ends in the same content. A finished one is
/// returned as it is. Fails with ec::conflict when the folder holds the result of another specification.
expected<std::string> build_training_set(const training_spec& spec, const std::vector<feature_view>& views,
                                         ingest::record_stream& log, const std::filesystem::path& out,
                                         const training_options& options = {});

/// SHA-256 of what a training set is made by: its specification with every default, and the versions of the
/// views that it reads.
std::string training_set_identity(const training_spec& spec, const std::vector<feature_view>& views);

} // namespace troupe::feature_store
