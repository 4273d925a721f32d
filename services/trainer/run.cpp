#include "services/trainer/run.hpp"

#include "services/feature_store/log_stream.hpp"
#include "services/trainer/publisher.hpp"
#include "services/trainer/snapshot.hpp"
#include "services/trainer/worker_group.hpp"

#include "common/core/hash.hpp"
#include "common/log/log.hpp"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <fstream>
#include <thread>

namespace troupe::trainer {

namespace json = boost::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

constexpr store::family_id runs = 0;
constexpr auto publish_every = 2s;

std::string text_in(const json::object& from, std::string_view key) {
  auto* value = from.if_contains(key);
  return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

expected<std::string> read_text(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  if (!in)
    return fail(ec::not_found, "cannot read {}", file.string());
  return std::string{std::istreambuf_iterator<char>{in}, {}};
}

/// Whole or not at all.
expected<void> write_text(const fs::path& file, std::string_view text) {
  auto part = file;
  part += ".part";
  {
    std::ofstream out{part, std::ios::binary};
    out << text;
    if (!out.flush())
      return fail(ec::io_failed, "cannot write {}", part.string());
  }
  std::error_code problem;
  fs::rename(part, file, problem);
  if (problem)
    return fail(ec::io_failed, "cannot write {}: {}", file.string(), problem.message());
  return {};
}

class carrier {
public:
  carrier(const run_parts& parts, const run_order& order, run_status& status, const std::atomic<wish>& wanted,
          const std::function<void(const run_status&)>& tell)
      : parts_{parts}, order_{order}, status_{status}, wanted_{wanted}, tell_{tell}, folder_{parts.folder /
                                                                                             order.id} {
    if (parts.registry)
      publisher_ = std::make_unique<publisher>(parts.registry, order);
  }

  expected<void> run() {
    std::error_code problem;
    fs::create_directories(folder_, problem);
    if (problem)
      return fail(ec::io_failed, "cannot create {}: {}", folder_.string(), problem.message());
    TROUPE_TRY(data, prepare_data());
    TROUPE_CHECK(write_text(folder_ / "config.toml", order_.worker_config));
    note_production();
    TROUPE_TRY(done, train());
    TROUPE_TRY(manifest, describe(data, done));
    status_.manifest = manifest;
    TROUPE_CHECK(write_text(folder_ / "manifest.json", manifest));
    return publish();
  }

  void end() {
    if (!publisher_)
      return;
    auto state = status_.state == wire::TrainState::done     ? 1
                 : status_.state == wire::TrainState::failed ? 2
                                                             : 3;
    if (auto told = publisher_->end(state, status_.error); !told)
      log::warn("run-not-published", "trainer could not tell the registry how run {} ended: {}", order_.id,
                render(told.error()));
  }

private:
  bool go_on() const { return wanted_ == wish::go_on; }

  void stage(std::string name) {
    status_.stage = std::move(name);
    tell_(status_);
  }

  /// Puts the configuration that is in production where the ranks measure it beside the new one. A registry
  /// that is away costs the comparison, not the run: the gate says so.
  void note_production() {
    auto file = folder_ / "production.toml";
    if (!publisher_ || !order_.run.register_model || fs::exists(file))
      return;
    auto config = publisher_->production_config();
    if (config && !config->empty())
      config = write_text(file, *config).map([&] { return *config; });
    if (!config)
      log::warn("production-not-known", "trainer does not measure production beside run {}: {}", order_.id,
                render(config.error()));
  }

  /// The file to train on; what is known of it stands beside it, written last.
  expected<json::object> prepare_data() {
    stage("loading");
    if (order_.run.data != "log") {
      file_ = order_.run.data;
      TROUPE_TRY(hash, hash_file(file_));
      json::object known{{"source", order_.run.data}, {"sha256", hash.sha256}, {"bytes", hash.bytes}};
      TROUPE_CHECK(check_data(known));
      return known;
    }
    file_ = folder_ / "interactions.parquet";
    auto note = folder_ / "interactions.json";
    if (auto text = read_text(note)) {
      boost::system::error_code problem;
      auto known = json::parse(*text, problem);
      if (!problem && known.is_object() && fs::exists(file_))
        return known.get_object();
    }
    if (!parts_.log)
      return fail(ec::unavailable, "the catalog has no ingest: there is no log to train on");
    feature_store::log_stream log{parts_.log};
    snapshot_options options;
    options.event_types = order_.run.event_types;
    options.exclude_arms = order_.run.exclude_arms;
    options.memory_bytes = parts_.settings->snapshot_memory_bytes;
    for (auto& each : order_.run.offsets)
      options.offsets.push_back(std::stoull(each));
    options.tell = [this](std::uint64_t read, std::uint64_t total) {
      status_.step = read;
      status_.steps_total = total;
      tell_(status_);
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
    TROUPE_CHECK(write_text(note, canonical(known)));
    return known;
  }

  expected<void> check_data(const json::object& known) const {
    if (auto hash = text_in(known, "sha256");
        !order_.run.data_sha256.empty() && hash != order_.run.data_sha256)
      return fail(ec::conflict, "the data of {} have the hash {}, not {}", order_.run.data, hash,
                  order_.run.data_sha256);
    return {};
  }

  expected<json::object> train() {
    auto result = folder_ / "result.json";
    if (auto text = read_text(result)) { // trained in an earlier life
      boost::system::error_code problem;
      auto done = json::parse(*text, problem);
      if (!problem && done.is_object())
        return done.get_object();
    }
    group_options options;
    options.program = parts_.worker;
    options.config = folder_ / "config.toml";
    options.data = file_;
    options.out = folder_;
    options.ranks = order_.run.ranks;
    options.hang_after = order_.run.hang_after;
    options.max_restarts = order_.run.max_restarts;
    options.resume = fs::exists(folder_ / "checkpoints");
    auto before = status_.restarts;
    std::uint64_t sent_step = 0;
    auto next_flush = clock::now() + publish_every;
    auto begun = clock::now();
    std::uint64_t first_step = 0;
    std::string stage;
    TROUPE_TRY(done, train_with_workers(options, [&](const group_progress& now) {
                 if (now.stage != stage || now.step < first_step) {
                   stage = now.stage;
                   first_step = now.step;
                   begun = clock::now();
                 }
                 bool moved = now.stage != status_.stage || now.step != status_.step ||
                              before + now.restarts != status_.restarts;
                 status_.restarts = before + now.restarts;
                 status_.stage = now.stage.empty() ? "loading" : now.stage;
                 status_.step = now.step;
                 status_.steps_total = now.steps_total;
                 status_.samples_per_second = now.samples_per_second;
                 auto seconds = std::chrono::duration<double>(clock::now() - begun).count();
                 status_.seconds_left = now.step > first_step && now.steps_total >= now.step
                                            ? seconds / static_cast<double>(now.step - first_step) *
                                                  static_cast<double>(now.steps_total - now.step)
                                            : 0;
                 if (now.stage == "fitting") {
                   status_.metrics["loss"] = now.loss;
                   status_.metrics["learning_rate"] = now.learning_rate;
                   status_.metrics["gradient_norm"] = now.gradient_norm;
                   if (publisher_ && now.step != sent_step) {
                     sent_step = now.step;
                     publisher_->add("loss", now.step, now.loss);
                     publisher_->add("learning_rate", now.step, now.learning_rate);
                     publisher_->add("gradient_norm", now.step, now.gradient_norm);
                     publisher_->add("samples_per_second", now.step, now.samples_per_second);
                   }
                 }
                 if (moved)
                   tell_(status_);
                 if (publisher_ && clock::now() >= next_flush) {
                   // A registry that is away is tried again less often than the ranks are looked after.
                   next_flush = clock::now() + (publisher_->flush() ? publish_every : 5 * publish_every);
                 }
                 return go_on();
               }));
    TROUPE_CHECK(write_text(result, json::serialize(done)));
    return done;
  }

  expected<std::string> describe(const json::object& data, const json::object& done) {
    stage("publishing");
    model_ = text_in(done, "model");
    if (model_.empty())
      model_ = folder_ / "model";
    json::object manifest;
    manifest["format"] = 1;
    manifest["name"] = order_.model_name;
    manifest["run"] = order_.id;
    manifest["seed"] = order_.seed;
    manifest["ranks"] = order_.run.ranks;
    manifest["config"] = order_.worker_config;
    manifest["config_sha256"] = sha256_hex(
        {reinterpret_cast<const std::byte*>(order_.worker_config.data()), order_.worker_config.size()});
    auto known = data;
    known["event_types"] = json::array(order_.run.event_types.begin(), order_.run.event_types.end());
    known["exclude_arms"] = json::array(order_.run.exclude_arms.begin(), order_.run.exclude_arms.end());
    manifest["data"] = std::move(known);
    manifest["views"] = json::object{};
    TROUPE_TRY(binary, hash_file(parts_.worker));
    manifest["binary"] =
        json::object{{"program", parts_.worker.filename().string()}, {"sha256", binary.sha256}};
    json::array parents;
    if (!order_.parent.empty())
      parents.emplace_back(order_.parent);
    manifest["parents"] = std::move(parents);
    if (auto* metrics = done.if_contains("metrics"); metrics != nullptr && metrics->is_object()) {
      manifest["metrics"] = *metrics;
      for (auto& [name, value] : metrics->get_object())
        if (value.is_number()) {
          auto number = value.to_number<double>();
          status_.metrics[std::string{name}] = number;
          if (publisher_)
            publisher_->add(std::string{name}, status_.step, number);
        }
    }
    json::object files;
    std::error_code problem;
    for (auto& each : fs::directory_iterator{model_, problem}) {
      if (!each.is_regular_file())
        continue;
      auto name = each.path().filename().string();
      TROUPE_TRY(hash, hash_file(each.path()));
      files[name] = json::object{{"sha256", hash.sha256}, {"bytes", hash.bytes}};
      if (name == "weights.safetensors")
        manifest["weights"] = json::object{{"file", name}, {"sha256", hash.sha256}, {"bytes", hash.bytes}};
    }
    if (problem || files.empty())
      return fail(ec::corrupt, "the worker left no model in {}", model_.string());
    manifest["files"] = std::move(files);
    std::string kind = "unknown";
    if (auto text = read_text(model_ / "model.json")) {
      auto about = json::parse(*text, problem_);
      if (!problem_ && about.is_object()) {
        kind = text_in(about.get_object(), "kind");
        if (auto* views = about.get_object().if_contains("views"); views != nullptr && views->is_object())
          manifest["views"] = *views; // those whose features the model reads
        if (auto* of = about.get_object().if_contains("data"); of != nullptr && of->is_object())
          if (auto split = text_in(of->get_object(), "split"); !split.empty())
            manifest["data"].get_object()["split"] = split;
      }
    }
    manifest["kind"] = kind;
    return canonical(manifest);
  }

  /// Tries for `registry_patience`. A registry that is not there does not cost the model: it stays in its
  /// folder, and the status says so.
  expected<void> publish() {
    if (!publisher_) {
      status_.error =
          fmt::format("not published: the catalog has no registry; the model is in {}", model_.string());
      return {};
    }
    auto until = deadline::in(parts_.settings->registry_patience);
    for (;;) {
      auto done = publish_once();
      if (done)
        return {};
      if (!go_on())
        return fail(ec::canceled, "publishing was stopped");
      if (remedy_of(done.error().code) != remedy::retry_later || until.passed()) {
        status_.error =
            fmt::format("not registered: {}; the model is in {}", done.error().text, model_.string());
        log::warn("model-not-registered", "trainer keeps the model of run {} in {}: {}", order_.id,
                  model_.string(), render(done.error()));
        return {};
      }
      std::this_thread::sleep_for(500ms);
    }
  }

  expected<void> publish_once() {
    TROUPE_CHECK(publisher_->flush());
    auto manifest = json::parse(status_.manifest, problem_).get_object();
    for (auto& [name, about] : manifest["files"].get_object()) {
      auto sha256 = text_in(about.get_object(), "sha256");
      TROUPE_CHECK(publisher_->upload(model_ / std::string{name}, sha256,
                                      about.get_object()["bytes"].to_number<std::uint64_t>()));
      publisher_->artefact(std::string{name}, sha256);
    }
    TROUPE_CHECK(publisher_->flush());
    if (!order_.run.register_model)
      return {};
    TROUPE_TRY(version, publisher_->register_model(status_.manifest));
    status_.metrics["model_version"] = static_cast<double>(version);
    log::info("model-registered", "trainer registered model {} version {} of run {}", order_.model_name,
              version, order_.id);
    return {};
  }

  const run_parts& parts_;
  const run_order& order_;
  run_status& status_;
  const std::atomic<wish>& wanted_;
  const std::function<void(const run_status&)>& tell_;
  fs::path folder_;
  fs::path file_;
  fs::path model_;
  std::unique_ptr<publisher> publisher_;
  boost::system::error_code problem_;
};

} // namespace

std::string canonical(const json::value& value) {
  std::string out;
  if (value.is_object()) {
    std::vector<std::string> names;
    for (auto& [name, inner] : value.get_object())
      names.emplace_back(name);
    std::ranges::sort(names);
    for (auto& name : names)
      out += fmt::format("{}{}:{}", out.empty() ? "" : ",", json::serialize(json::value(name)),
                         canonical(value.get_object().at(name)));
    return "{" + out + "}";
  }
  if (value.is_array()) {
    for (auto& each : value.get_array())
      out += (out.empty() ? "" : ",") + canonical(each);
    return "[" + out + "]";
  }
  return json::serialize(value);
}

expected<std::shared_ptr<run_journal>> run_journal::open(const fs::path& folder) {
  store::options options;
  options.families = {"runs"};
  options.layout = "trainer-journal 1";
  options.cache_bytes = 4 << 20;
  options.write_buffer_bytes = 4 << 20;
  TROUPE_TRY(db, store::database::open(folder, options));
  auto made = std::make_shared<run_journal>();
  made->db_ = std::move(db);
  return made;
}

expected<void> run_journal::save(const run_order& order, const run_status& status) {
  json::object metrics;
  for (auto& [name, value] : status.metrics)
    metrics[name] = value;
  json::object entry{{"config", order.config},
                     {"parent", order.parent},
                     {"state", static_cast<int>(status.state)},
                     {"error", status.error},
                     {"stage", status.stage},
                     {"step", status.step},
                     {"steps_total", status.steps_total},
                     {"restarts", status.restarts},
                     {"manifest", status.manifest},
                     {"metrics", std::move(metrics)}};
  return db_->put(runs, order.id, json::serialize(entry), store::durability::synced);
}

namespace {

expected<run_journal::entry> decode(const std::string& id, std::string_view text) {
  boost::system::error_code problem;
  auto value = json::parse({text.data(), text.size()}, problem);
  if (problem || !value.is_object())
    return fail(ec::corrupt, "the journal's entry of run {} cannot be read", id);
  auto& from = value.get_object();
  auto number = [&](const char* key) { return from.at(key).to_number<std::uint64_t>(); };
  TROUPE_TRY(order, read_order(id, text_in(from, "config"), text_in(from, "parent")));
  run_status status;
  status.id = id;
  status.state = static_cast<wire::TrainState>(number("state"));
  status.error = text_in(from, "error");
  status.stage = text_in(from, "stage");
  status.step = number("step");
  status.steps_total = number("steps_total");
  status.restarts = static_cast<std::uint32_t>(number("restarts"));
  status.manifest = text_in(from, "manifest");
  for (auto& [name, each] : from.at("metrics").get_object())
    status.metrics[std::string{name}] = each.to_number<double>();
  return run_journal::entry{std::move(order), std::move(status)};
}

} // namespace

expected<std::optional<run_journal::entry>> run_journal::find(const std::string& id) const {
  TROUPE_TRY(text, db_->find(runs, id));
  if (!text)
    return std::optional<entry>{};
  TROUPE_TRY(read, decode(id, *text));
  return std::optional<entry>{std::move(read)};
}

expected<std::vector<run_journal::entry>> run_journal::all() const {
  std::vector<entry> out;
  auto at = db_->scan(runs);
  for (; at.valid(); at.next()) {
    TROUPE_TRY(read, decode(std::string{at.key()}, at.value()));
    out.push_back(std::move(read));
  }
  TROUPE_CHECK(at.check());
  return out;
}

std::optional<run_status> carry_out(const run_parts& parts, const run_order& order, run_status status,
                                    const std::atomic<wish>& wanted,
                                    const std::function<void(const run_status&)>& tell) {
  status.state = wire::TrainState::running;
  status.error.clear();
  carrier work{parts, order, status, wanted, tell};
  auto done = parts.journal->save(order, status);
  if (done)
    done = work.run();
  if (!done && wanted == wish::stop)
    return std::nullopt;
  if (done)
    status.state = wire::TrainState::done;
  else if (wanted == wish::cancel && done.error().code == ec::canceled)
    status.state = wire::TrainState::canceled;
  else
    status.state = wire::TrainState::failed;
  if (!done)
    status.error = render(done.error());
  status.seconds_left = 0;
  status.stage = "ended";
  work.end();
  if (auto saved = parts.journal->save(order, status); !saved)
    log::error("run-not-saved", "trainer cannot write how run {} ended: {}", order.id, render(saved.error()));
  log::info("run-ended", "run {} of trainer is {}{}{}", order.id, wire::EnumNameTrainState(status.state),
            status.error.empty() ? "" : ": ", status.error);
  return status;
}

} // namespace troupe::trainer
