#include "services/trainer/run_data.hpp"

#include "services/feature_store/client/training_manifest.hpp"
#include "services/ingest/client/log_stream.hpp"
#include "services/trainer/run_folders.hpp"
#include "services/trainer/snapshot.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/file.hpp"
#include "common/core/file_hash.hpp"
#include "common/json/fields.hpp"
#include "common/log/log.hpp"

#include <boost/json/serialize.hpp>

#include <utility>

namespace troupe::trainer {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

class data_preparation {
public:
  explicit data_preparation(const data_request& of)
      : deps_{of.deps}, order_{of.order}, folder_{of.folder}, status_{of.status}, report_{of.report},
        requested_{of.requested} {}

  /// The file to train on; what is known of it stands beside it, written last.
  expected<json::object> prepare() {
    if (order_.on_rows)
      return training_set();
    if (order_.run.data != "log") {
      file_ = order_.run.data;
      TROUPE_TRY(hash, hash_file(file_));
      json::object known{{"source", order_.run.data}, {"sha256", hash.sha256}, {"bytes", hash.bytes}};
      TROUPE_CHECK(check_data(known));
      return known;
    }
    file_ = folder_ / "interactions.parquet";
    auto note = folder_ / "interactions.json";
    if (auto known = read_json_object(note); known && fs::exists(file_))
      return std::move(*known);
    if (!deps_.log)
      return fail(ec::unavailable, "the catalog has no ingest: there is no log to train on");
    ingest::log_stream log{deps_.log};
    snapshot_options options;
    options.event_types = order_.run.event_types;
    options.exclude_arms = order_.run.exclude_arms;
    options.memory_bytes = deps_.settings->snapshot_memory_bytes;
    for (auto& each : order_.run.offsets)
      options.offsets.push_back(std::stoull(each));
    options.report = [this](std::uint64_t read, std::uint64_t total) {
      status_.step = read;
      status_.steps_total = total;
      report_(status_);
      return go_on();
    };
    TROUPE_TRY(known, take_snapshot(log, file_, options));
    if (auto dropped = known["dropped_events"].to_number<std::uint64_t>(); dropped > 0) {
      status_.metrics["dropped_events"] = static_cast<double>(dropped);
      log::warn("events-dropped",
                "trainer dropped {} events from the snapshot of run {}: their user or item is empty or holds "
                "a control character",
                dropped, order_.id);
    }
    TROUPE_CHECK(check_data(known));
    TROUPE_CHECK(write_file_atomically(note, as_bytes(artefact::canonical(known))));
    return known;
  }

  const fs::path& file() const noexcept { return file_; }

private:
  bool go_on() const { return requested_ == requested_state::running; }

  /// The rows that a training set holds, hashed again: one that was changed is found before the training.
  expected<json::object> training_set() {
    json::object known{{"source", "training-set"}};
    feature_store::training_check check;
    if (order_.training_set.starts_with('/')) {
      TROUPE_TRY(checked, training_set_in(order_.training_set));
      known["path"] = order_.training_set;
      check = checked;
    } else {
      TROUPE_TRY(checked, fetched_training_set());
      known["name"] = order_.training_set;
      check = checked;
    }
    known["sha256"] = check.computed;
    known["rows"] = check.rows;
    TROUPE_TRY(about, read_json_object(file_ / feature_store::training_manifest_file));
    for (auto* key : {"views", "log_offsets"})
      if (auto* found = about.if_contains(key); found != nullptr)
        known[key] = *found;
    TROUPE_CHECK(check_data(known));
    return known;
  }

  expected<feature_store::training_check> training_set_in(const fs::path& folder) {
    file_ = folder;
    TROUPE_TRY(check, feature_store::verify_training_set(file_));
    if (!check.same)
      return fail(
          ec::corrupt,
          "the parts of training set {} have the content hash {}, its manifest says {}: build it again",
          file_.string(), check.computed, check.stated);
    return check;
  }

  /// From the feature store, or from an earlier fetch. What the run has chosen it stays with, whatever has
  /// the name later; until it has trained on it, another content will do where that one is nowhere any more.
  expected<feature_store::training_check> fetched_training_set() {
    auto note = folder_ / training_set_note;
    training_sets::wanted_set want{order_.training_set, order_.run.data_sha256, {}};
    if (auto begun = read_json_object(note))
      want.begun = text_or(*begun, "sha256");
    bool trained = fs::exists(folder_ / result_file) || fs::exists(folder_ / checkpoint_folder);
    if (trained && want.content_sha256.empty())
      want.content_sha256 = want.begun;
    feature_store::fetch_options options;
    options.patience = deps_.settings->feature_store_patience;
    bool waits = false;
    options.tell = [&](const feature_store::fetch_progress& now) {
      status_.step = now.bytes;
      status_.steps_total = now.bytes_total;
      if (!now.waits_for.empty() && !std::exchange(waits, true))
        log::warn("training-set-waits", "run {} waits for training set {}: {}", order_.id, want.name,
                  now.waits_for);
      waits = !now.waits_for.empty();
      status_.stage = waits ? "waiting for the training set" : "fetching";
      report_(status_);
      return go_on();
    };
    auto choose = [&](const std::string& sha256) {
      return write_file_atomically(
          note, as_bytes(json::serialize(json::object{{"name", want.name}, {"sha256", sha256}})));
    };
    TROUPE_TRY(found, deps_.training_sets->take(want, choose, options));
    file_ = found.folder;
    return found.check;
  }

  expected<void> check_data(const json::object& known) const {
    if (auto hash = text_or(known, "sha256");
        !order_.run.data_sha256.empty() && hash != order_.run.data_sha256)
      return fail(ec::conflict, "the data of {} have the hash {}, not {}",
                  order_.on_rows ? order_.training_set : order_.run.data, hash, order_.run.data_sha256);
    return {};
  }

  const run_deps& deps_;
  const run_order& order_;
  const fs::path& folder_;
  run_status& status_;
  const std::function<void(const run_status&)>& report_;
  const std::atomic<requested_state>& requested_;
  fs::path file_;
};

} // namespace

expected<run_data> prepare_data(const data_request& of) {
  data_preparation work{of};
  TROUPE_TRY(known, work.prepare());
  return run_data{work.file(), std::move(known)};
}

} // namespace troupe::trainer
