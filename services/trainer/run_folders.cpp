#include "services/trainer/run_folders.hpp"

#include "common/json/fields.hpp"
#include "common/log/log.hpp"

#include <algorithm>

namespace troupe::trainer {

namespace fs = std::filesystem;

namespace {

bool is_needed(const run_journal& journal, const std::string& id) {
  auto entry = journal.find(id);
  if (!entry || !*entry)
    return true; // not ours to judge
  auto& status = (*entry)->status;
  if (!status.ended() || status.publication == publication::waiting)
    return true;
  return status.state == wire::TrainState::done && status.publication != publication::complete;
}

} // namespace

std::set<std::string> needed_training_sets(const fs::path& runs, const run_journal& journal) {
  std::set<std::string> needed;
  std::error_code problem;
  for (auto& each : fs::directory_iterator{runs, problem}) {
    auto note = read_json_object(each.path() / training_set_note);
    if (!note)
      continue;
    auto entry = journal.find(each.path().filename().string());
    if (entry && *entry && (*entry)->status.ended())
      continue;
    needed.insert(text_or(*note, "sha256"));
  }
  return needed;
}

void drop_work_files(const fs::path& folder) {
  std::error_code problem;
  fs::remove(folder / "interactions.parquet", problem);
  fs::remove_all(folder / checkpoint_folder, problem);
}

void drop_old_folders(const fs::path& runs, const run_journal& journal, std::size_t keep) {
  std::vector<std::pair<fs::file_time_type, fs::path>> folders;
  std::error_code problem;
  for (auto& each : fs::directory_iterator{runs, problem})
    if (each.is_directory(problem))
      folders.emplace_back(each.last_write_time(problem), each.path());
  std::ranges::sort(folders, std::greater{});
  for (std::size_t i = keep; i < folders.size(); ++i) {
    auto& folder = folders[i].second;
    if (is_needed(journal, folder.filename().string()))
      continue;
    fs::remove_all(folder, problem);
    if (problem)
      log::warn("run-folder-not-removed", "trainer cannot remove the folder of the old run {}: {}",
                folder.string(), problem.message());
    else
      log::info("run-folder-removed", "trainer removed the folder of the old run {}",
                folder.filename().string());
  }
}

} // namespace troupe::trainer
