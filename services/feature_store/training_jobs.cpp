#include "services/feature_store/training_jobs.hpp"

#include "common/core/hash.hpp"
#include "common/log/log.hpp"

#include "schemas/feature_store_generated.h"

namespace troupe::feature_store {

chunk training_jobs::encode(const job& of) const {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainingStatusDirect(out, of.id.c_str(), static_cast<wire::TrainingState>(of.is),
                                              of.error.c_str(), of.progress.stage.c_str(),
                                              of.progress.records_total, of.progress.records_done,
                                              of.progress.rows, of.manifest.c_str()),
             "TRPF");
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

expected<chunk> training_jobs::start(const std::string& text, const std::string& out) {
  TROUPE_TRY(spec, parse_training_spec(text, "specification"));
  if (out.empty())
    return fail(ec::invalid_argument, "a training set needs a folder to go to");
  auto id = to_hex(hash_wide(spec.canonical() + "\n" + out));
  std::lock_guard lock{mutex_};
  if (stopping_)
    return fail(ec::stopping, "the feature store is draining");
  if (auto known = jobs_.find(id); known != jobs_.end() && known->second->is == state::running)
    return encode(*known->second);
  for (auto& [other, each] : jobs_)
    if (each->is == state::running)
      return fail(ec::overloaded, "training set {} is being built; one is built at a time", other);
  if (thread_.joinable())
    thread_.join();
  auto fresh = std::make_shared<job>();
  fresh->id = id;
  fresh->progress.stage = "sorting";
  jobs_[id] = fresh;
  thread_ = std::thread{[this, fresh, spec = std::move(spec), out] {
    training_options options;
    options.memory_bytes = memory_bytes_;
    options.tell = [&](const training_progress& now) {
      std::lock_guard inner{mutex_};
      rows_.add(static_cast<double>(now.rows > fresh->progress.rows ? now.rows - fresh->progress.rows : 0));
      fresh->progress = now;
      return !fresh->cancel;
    };
    log::info("training-started", "feature store builds training set {} in {}", spec.name, out);
    auto source = log_();
    auto manifest = build_training_set(spec, views_, *source, out, options);
    std::lock_guard inner{mutex_};
    if (manifest) {
      fresh->is = state::done;
      fresh->manifest = std::move(*manifest);
      fresh->progress.stage = "done";
      log::info("training-done", "feature store wrote {} rows of training set {}", fresh->progress.rows,
                spec.name);
    } else {
      fresh->is = manifest.error().code == ec::canceled ? state::canceled : state::failed;
      fresh->error = render(manifest.error());
      if (fresh->is == state::failed)
        log::warn("training-failed", "feature store could not build training set {}: {}", spec.name,
                  fresh->error);
    }
  }};
  return encode(*fresh);
}

expected<chunk> training_jobs::query(const std::string& id, bool cancel) {
  std::lock_guard lock{mutex_};
  auto known = jobs_.find(id);
  if (known == jobs_.end())
    return fail(ec::not_found, "there is no training set {} here; start it again, it goes on where it was",
                id);
  if (cancel)
    known->second->cancel = true;
  return encode(*known->second);
}

void training_jobs::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    for (auto& [id, each] : jobs_)
      each->cancel = true;
  }
  if (thread_.joinable())
    thread_.join();
}

} // namespace troupe::feature_store
