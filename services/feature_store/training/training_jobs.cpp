#include "services/feature_store/training/training_jobs.hpp"

#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/feature_store_generated.h"

namespace troupe::feature_store {

chunk training_jobs::encode(const job& of) const {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainingStatusDirect(out, of.id.c_str(), static_cast<wire::TrainingState>(of.is),
                                              of.error.c_str(), of.progress.stage.c_str(),
                                              of.progress.records_total, of.progress.records_done,
                                              of.progress.rows, of.manifest.c_str()),
             "TRPF");
  return net::bytes_of(out);
}

expected<chunk> training_jobs::start(const std::string& text, const std::string& out) {
  TROUPE_TRY(spec, parse_training_spec(text, "specification"));
  if (out.empty() && !is_plain_name(spec.name))
    return fail(ec::invalid_argument,
                "name = \"{}\" cannot be that of a training set: 1 to 128 letters, digits, - _ and ., the "
                "first of them no dot",
                spec.name);
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
  fresh->kept_as = out.empty() ? spec.name : "";
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
    log::info("training-started", "feature store builds training set {}{}{}", spec.name,
              out.empty() ? "" : " in ", out);
    auto source = log_();
    auto manifest = out.empty() ? build_kept(spec, *source, options)
                                : build_training_set(spec, views_, *source, out, options);
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

/// What a build that was stopped left is taken to its end first: it goes on up to the offsets of its start.
expected<std::string> training_jobs::build_kept(const training_spec& spec, ingest::record_stream& log,
                                                const training_options& options) {
  if (auto known = kept_->find(spec.name); known && known->identity == training_set_identity(spec, views_)) {
    TROUPE_TRY(ends, log.ends());
    if (!spec.offsets.empty() || known->log_offsets == ends) {
      options.tell({"done", 0, 0, known->rows});
      return known->text;
    }
  }
  auto where = kept_->workshop(spec.name);
  auto manifest = build_training_set(spec, views_, log, where, options);
  if (!manifest && manifest.error().code == ec::conflict) { // That was another specification of this name.
    TROUPE_CHECK(kept_->clear(spec.name));
    manifest = build_training_set(spec, views_, log, where, options);
  }
  if (manifest)
    TROUPE_CHECK(kept_->publish(spec.name));
  return manifest;
}

expected<training_set_repository::entry> training_jobs::remove(const std::string& name) {
  std::lock_guard lock{mutex_};
  for (auto& [id, each] : jobs_)
    if (each->is == state::running && each->kept_as == name)
      return fail(ec::conflict,
                  "training set {} is being built: wait for its end, or stop that with Ctrl-C where `troupe "
                  "training-set build` runs",
                  name);
  return kept_->remove(name);
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
