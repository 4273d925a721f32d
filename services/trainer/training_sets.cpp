#include "services/trainer/training_sets.hpp"

#include "common/artefact/canonical.hpp"
#include "common/log/log.hpp"

#include <algorithm>
#include <vector>

namespace troupe::trainer {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kept_beside = 2; ///< Of the sets that no run needs.
constexpr int most_choices = 3;        ///< Of a set that is built again while it is fetched.

} // namespace

/// The whole set of this hash, where it is here; one that was changed goes.
std::optional<training_sets::found_set> training_sets::here(const std::string& sha256) const {
  auto folder = folder_ / sha256;
  if (!artefact::is_sha256(sha256) || !feature_store::read_training_manifest(folder))
    return std::nullopt;
  auto check = feature_store::verify_training_set(folder);
  std::error_code problem;
  if (check && check->same && check->computed == sha256) {
    fs::last_write_time(folder, fs::file_time_type::clock::now(), problem); // Used now: not an old one.
    return found_set{folder, *check};
  }
  log::warn("training-set-changed", "trainer drops its copy of a training set, which was changed: {}",
            folder.string());
  fs::remove_all(folder, problem);
  return std::nullopt;
}

expected<training_sets::found_set> training_sets::take(const wanted_set& want, const chosen& note,
                                                       const feature_store::fetch_options& options) {
  std::unique_lock lock{mutex_, std::defer_lock};
  while (!lock.try_lock_for(100ms))
    if (options.tell && !options.tell({0, 0, "another run fetches a training set"}))
      return fail(ec::canceled, "waiting for training set {} was canceled", want.name);
  auto& first = want.content_sha256.empty() ? want.begun : want.content_sha256;
  if (auto found = here(first)) {
    TROUPE_CHECK(note(first));
    return *found;
  }
  if (!store_)
    return fail(
        ec::not_found,
        "cannot fetch training set {}: the catalog has no feature-store; say the absolute path of one "
        "on the machine of the trainer",
        want.name);
  for (int choice = 1;; ++choice) {
    auto found = fetch(want, note, options);
    // It was built again meanwhile: nothing has been trained on the old one yet, so the new one will do.
    if (found || found.error().code != ec::conflict || !want.content_sha256.empty() || choice == most_choices)
      return found;
  }
}

expected<training_sets::found_set> training_sets::fetch(const wanted_set& want, const chosen& note,
                                                        const feature_store::fetch_options& options) const {
  TROUPE_TRY(manifest, feature_store::kept_manifest(*store_, want.name, options));
  auto& hash = manifest.content_sha256;
  if (!want.content_sha256.empty() && hash != want.content_sha256)
    return fail(ec::conflict,
                "training set {} of the feature store has the content hash {}, this run needs {} "
                "(run.data_sha256, or what it has begun to train on): build it again from the specification "
                "of then, with `offsets` as "
                "data.log_offsets in the manifest of the model says, or train a new model on what is there",
                want.name, hash, want.content_sha256);
  TROUPE_CHECK(note(hash));
  if (auto found = here(hash))
    return *found;
  auto folder = folder_ / hash;
  TROUPE_TRY(check, feature_store::fetch_training_set(*store_, manifest, folder, options));
  log::info("training-set-fetched", "trainer fetched {} rows of training set {}, content {}", check.rows,
            want.name, hash);
  return found_set{folder, check};
}

void training_sets::drop_old(const std::function<std::set<std::string>()>& needed) {
  std::unique_lock lock{mutex_, std::try_to_lock};
  if (!lock)
    return; // The end of that run looks again.
  auto of_runs = needed();
  std::vector<std::pair<fs::file_time_type, fs::path>> whole;
  std::vector<fs::path> old;
  std::error_code problem;
  for (auto& each : fs::directory_iterator{folder_, problem}) {
    auto name = each.path().filename().string();
    if (!artefact::is_sha256(name) || of_runs.contains(name))
      continue;
    if (fs::exists(each.path() / feature_store::training_manifest_file, problem))
      whole.emplace_back(each.last_write_time(problem), each.path());
    else
      old.push_back(each.path());
  }
  std::ranges::sort(whole, std::greater{});
  for (std::size_t i = kept_beside; i < whole.size(); ++i)
    old.push_back(whole[i].second);
  for (auto& each : old) {
    fs::remove_all(each, problem);
    if (problem)
      log::warn("training-set-not-removed", "trainer cannot remove the old training set {}: {}",
                each.string(), problem.message());
    else
      log::info("training-set-removed", "trainer removed the old training set {}", each.filename().string());
  }
}

} // namespace troupe::trainer
