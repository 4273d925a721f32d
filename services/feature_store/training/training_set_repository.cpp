#include "services/feature_store/training/training_set_repository.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/plain_name.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/text_start.hpp"
#include "common/core/time.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

namespace troupe::feature_store {

namespace fs = std::filesystem;

namespace {

expected<void> move(const fs::path& from, const fs::path& to) {
  std::error_code problem;
  fs::rename(from, to, problem);
  if (problem)
    return fail(errno_code(problem.value()), "cannot rename {} to {}: {}", from.string(), to.string(),
                problem.message());
  return {};
}

expected<void> drop(const fs::path& folder) {
  std::error_code problem;
  fs::remove_all(folder, problem);
  if (problem)
    return fail(errno_code(problem.value()), "cannot remove {}: {}", folder.string(), problem.message());
  return {};
}

/// The names of the folders in `where` that may be those of training sets.
std::vector<std::string> names_in(const fs::path& where) {
  std::vector<std::string> names;
  std::error_code problem;
  for (auto& each : fs::directory_iterator{where, problem})
    if (auto name = each.path().filename().string(); is_plain_name(name) && each.is_directory(problem))
      names.push_back(std::move(name));
  return names;
}

unexpected<error> not_kept(const std::string& name) {
  return fail(ec::not_found,
              "the feature store keeps no training set {}: `troupe training-set list` shows those it keeps, "
              "`troupe training-set build` makes one",
              name);
}

expected<void> check_name(const std::string& name) {
  if (is_plain_name(name))
    return {};
  return fail(
      ec::invalid_argument,
      "\"{}\" cannot be the name of a training set: 1 to 128 letters, digits, - _ and ., the first of "
      "them no dot",
      text_start(name, 200));
}

/// So that the disk has all of it before it gets its place.
expected<void> sync_set(const fs::path& folder) {
  TROUPE_TRY(manifest, read_training_manifest(folder));
  for (auto& each : manifest.parts)
    TROUPE_CHECK(sync_file(folder / each));
  TROUPE_CHECK(sync_file(folder / training_manifest_file));
  return sync_file(folder);
}

} // namespace

expected<std::unique_ptr<training_set_repository>> training_set_repository::open(fs::path folder) {
  std::unique_ptr<training_set_repository> made{new training_set_repository{std::move(folder)}};
  for (auto& each : {made->building_, made->old_}) {
    std::error_code problem;
    fs::create_directories(each, problem);
    if (problem)
      return fail(errno_code(problem.value()), "cannot create {}: {}", each.string(), problem.message());
  }
  TROUPE_CHECK(made->recover());
  for (auto& name : names_in(made->folder_)) {
    auto found = made->load(name);
    if (found)
      made->sets_[name] = std::move(*found);
    else
      log::warn("training-set-not-read",
                "feature store cannot give out training set {}: {}; build it again, or remove it", name,
                render(found.error()));
  }
  return made;
}

/// An exchange that was cut off is ended; where the new set is not there, or the disk has not all of it, the
/// old one comes back.
expected<void> training_set_repository::recover() {
  for (auto& name : names_in(building_)) {
    auto fresh = building_ / name;
    if (!fs::exists(fresh / training_manifest_file))
      continue; // The next build goes on there.
    if (auto check = verify_training_set(fresh); check && check->same) {
      TROUPE_CHECK(sync_set(fresh));
      TROUPE_CHECK(exchange(name));
    } else {
      log::warn("training-set-not-whole",
                "feature store drops the new training set {}, which was not yet in its place: {}; build it "
                "again",
                name, check ? "its values are not those that its manifest says" : render(check.error()));
      TROUPE_CHECK(drop(fresh));
    }
  }
  for (auto& name : names_in(old_))
    if (fs::exists(folder_ / name))
      drop_aside(name);
    else
      TROUPE_CHECK(move(old_ / name, folder_ / name));
  return {};
}

expected<training_set_repository::kept> training_set_repository::load(const std::string& name) const {
  auto folder = folder_ / name;
  TROUPE_TRY(manifest, read_training_manifest(folder));
  kept out;
  auto files = manifest.parts;
  files.emplace_back(training_manifest_file);
  for (auto& each : files) {
    struct stat is {};
    if (::lstat((folder / each).c_str(), &is) != 0 || !S_ISREG(is.st_mode))
      return fail(ec::corrupt, "{} is not there, or no file", (folder / each).string());
    out.files[each] = static_cast<std::uint64_t>(is.st_size);
    out.about.bytes += static_cast<std::uint64_t>(is.st_size);
    if (each == training_manifest_file)
      out.about.made_at = std::int64_t{is.st_mtim.tv_sec} * 1'000'000 + is.st_mtim.tv_nsec / 1'000;
  }
  out.about.name = name;
  out.about.rows = manifest.rows;
  out.about.content_sha256 = manifest.content_sha256;
  out.manifest = std::make_shared<const training_manifest>(std::move(manifest));
  return out;
}

std::shared_ptr<const training_manifest> training_set_repository::find(const std::string& name) const {
  std::lock_guard lock{mutex_};
  auto found = sets_.find(name);
  return found == sets_.end() ? nullptr : found->second.manifest;
}

std::vector<training_set_repository::entry>
training_set_repository::list(const std::string& after, std::size_t limit, bool& last) const {
  limit = std::min(limit == 0 ? most_listed : limit, most_listed);
  std::vector<entry> out;
  std::lock_guard lock{mutex_};
  auto at = sets_.upper_bound(after);
  for (; at != sets_.end() && out.size() < limit; ++at)
    out.push_back(at->second.about);
  last = at == sets_.end();
  return out;
}

expected<training_set_repository::page>
training_set_repository::read(const std::string& name, const std::string& file, std::uint64_t offset,
                              std::size_t max_bytes, const std::string& content_sha256) const {
  TROUPE_CHECK(check_name(name));
  if (max_bytes == 0 || max_bytes > most_bytes)
    return fail(ec::invalid_argument, "cannot read {} bytes of training set {} at once: 1 to {}", max_bytes,
                name, most_bytes);
  std::unique_lock lock{mutex_};
  auto found = sets_.find(name);
  if (found == sets_.end())
    return not_kept(name);
  auto& about = found->second.about;
  if (!content_sha256.empty() && content_sha256 != about.content_sha256)
    return fail(ec::conflict, "training set {} has the content hash {} now, not {}: it was built again", name,
                about.content_sha256, content_sha256);
  auto known = found->second.files.find(file);
  if (known == found->second.files.end())
    return fail(ec::not_found, "training set {} has no file \"{}\"", name, text_start(file, 200));
  page out;
  out.size = known->second;
  out.set_bytes = about.bytes;
  if (offset > out.size)
    return fail(ec::invalid_argument, "{} of training set {} has {} bytes, none at {}", file, name, out.size,
                offset);
  // Never by a link that leads somewhere else.
  TROUPE_TRY(from, raw_file::open(folder_ / name / file, O_RDONLY | O_NOFOLLOW));
  lock.unlock(); // The file stays readable when its set is replaced or removed.
  auto wanted = std::min<std::uint64_t>(max_bytes, out.size - offset);
  TROUPE_TRY(bytes, from.read(offset, wanted));
  if (bytes.size() < wanted)
    return fail(ec::corrupt, "{} of training set {} ends at {}, not at {}: remove the set and build it again",
                file, name, offset + bytes.size(), out.size);
  out.bytes = std::move(bytes);
  return out;
}

expected<training_set_repository::entry> training_set_repository::remove(const std::string& name) {
  TROUPE_CHECK(check_name(name));
  std::lock_guard lock{mutex_};
  auto found = sets_.find(name);
  auto folder = folder_ / name;
  if (found == sets_.end() && !fs::exists(folder) && !fs::exists(building_ / name))
    return not_kept(name);
  TROUPE_CHECK(drop(building_ / name));
  entry gone;
  gone.name = name;
  if (found == sets_.end()) {
    TROUPE_CHECK(drop(folder));
    return gone;
  }
  gone = found->second.about;
  // The manifest first: without it the rest is no set, whatever happens.
  std::error_code problem;
  if (!fs::remove(folder / training_manifest_file, problem) && problem)
    return fail(errno_code(problem.value()), "cannot remove training set {}: {}", name, problem.message());
  sets_.erase(found);
  TROUPE_CHECK(drop(folder));
  log::info("training-set-removed", "feature store removed training set {} of {} rows", name, gone.rows);
  return gone;
}

expected<void> training_set_repository::clear(const std::string& name) {
  return drop(building_ / name);
}

expected<void> training_set_repository::publish(const std::string& name) {
  TROUPE_CHECK(sync_set(building_ / name));
  std::lock_guard lock{mutex_};
  auto exchanged = exchange(name);
  auto there = load(name); // What is there is what is given out, also where the disk failed half-way.
  if (there)
    sets_[name] = std::move(*there);
  else if (exchanged)
    return unexpected<error>{std::move(there).error()};
  return exchanged;
}

/// The old set steps aside, the new one takes its place, the old one goes: at each point one of them is
/// whole.
expected<void> training_set_repository::exchange(const std::string& name) {
  auto fresh = building_ / name, place = folder_ / name, aside = old_ / name;
  if (fs::exists(place)) {
    TROUPE_CHECK(drop(aside));
    TROUPE_CHECK(move(place, aside));
  }
  if (auto moved = move(fresh, place); !moved) {
    if (fs::exists(aside))
      TROUPE_CHECK(move(aside, place));
    return moved;
  }
  for (auto& each : {folder_, building_, old_})
    TROUPE_CHECK(sync_file(each));
  drop_aside(name);
  return {};
}

/// The new set has its place: an old one that cannot be removed costs room, no more. The next exchange or
/// start tries again.
void training_set_repository::drop_aside(const std::string& name) const {
  if (auto gone = drop(old_ / name); !gone)
    log::warn("training-set-not-removed", "feature store cannot remove the old training set {}: {}", name,
              render(gone.error()));
}

void training_set_repository::total(std::uint64_t& sets, std::uint64_t& bytes) const {
  std::lock_guard lock{mutex_};
  sets = sets_.size();
  bytes = 0;
  for (auto& [name, each] : sets_)
    bytes += each.about.bytes;
}

} // namespace troupe::feature_store
