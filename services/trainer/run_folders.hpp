#pragma once

#include "services/trainer/run_journal.hpp"

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>

namespace troupe::trainer {

/// In the folder of a run: which content of a training set it has chosen, as JSON (`sha256`).
constexpr auto training_set_note = "training-set.json";

/// In the folder of a run: what the ranks said when they were done, and the folder of their checkpoints.
constexpr auto result_file = "result.json";
constexpr auto checkpoint_folder = "checkpoints";

/// The content hashes of the training sets that runs which have not ended were told to train on.
std::set<std::string> needed_training_sets(const std::filesystem::path& runs, const run_journal& journal);

/// Removes from the folder of a run that the registry has what the model does not need: the snapshot of the
/// log and the checkpoints.
void drop_work_files(const std::filesystem::path& folder);

/// Keeps the newest `keep` of the folders of runs, and every folder that is still needed: that of a run that
/// has not ended, and of a model that is nowhere else. The others are removed. Any thread; a folder that
/// cannot be removed is logged.
void drop_old_folders(const std::filesystem::path& runs, const run_journal& journal, std::size_t keep);

} // namespace troupe::trainer
