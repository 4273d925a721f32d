#include "services/trainer/run.hpp"

#include "services/trainer/model_manifest.hpp"
#include "services/trainer/publisher.hpp"
#include "services/trainer/run_data.hpp"
#include "services/trainer/run_folders.hpp"
#include "services/trainer/worker_group.hpp"

#include "common/core/file.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/log/log.hpp"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <thread>

namespace troupe::trainer {

namespace json = boost::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

constexpr auto publish_every = 2s;
constexpr auto unsent = "unsent.json"; ///< Metric points that the registry has not.

bool can_come_later(const error& err) {
  return disposition_of(err.code) == error_disposition::retry_later;
}

class run_executor {
public:
  run_executor(const run_deps& deps, const run_order& order, run_status& status,
               const std::atomic<requested_state>& requested,
               const std::function<void(const run_status&)>& report)
      : deps_{deps}, order_{order}, status_{status},
        requested_{requested}, report_{report}, folder_{deps.folder / order.id} {
    if (deps.registry)
      publisher_ = std::make_unique<publisher>(deps.registry, order);
  }

  expected<void> run() {
    std::error_code problem;
    fs::create_directories(folder_, problem);
    if (problem)
      return fail(ec::io_failed, "cannot create {}: {}", folder_.string(), problem.message());
    stage("loading");
    TROUPE_TRY(data, prepare_data({deps_, order_, folder_, status_, report_, requested_}));
    file_ = data.file;
    TROUPE_CHECK(write_file_atomically(folder_ / "config.toml", as_bytes(order_.worker_config)));
    note_production();
    TROUPE_TRY(done, train());
    stage("publishing");
    model_ = model_folder(done);
    report_metrics(done);
    TROUPE_TRY(manifest, model_manifest({order_, data.known, done, not_measured_, deps_.worker, model_}));
    status_.manifest = manifest;
    TROUPE_CHECK(write_file_atomically(folder_ / "manifest.json", as_bytes(manifest)));
    return publish();
  }

  /// Tells the registry how the run ended; what it does not hear now waits on disk.
  void end() {
    if (!publisher_)
      return;
    auto state = status_.state == wire::TrainState::done     ? 1
                 : status_.state == wire::TrainState::failed ? 2
                                                             : 3;
    // A model that waits for the registry is told with its end, later.
    auto told = status_.publication == publication::waiting
                    ? expected<void>{unexpected<error>{error{ec::unavailable, "the registry is away"}}}
                    : publisher_->end(state, status_.error);
    bool refused = status_.publication == publication::refused;
    if (told) {
      if (!refused)
        status_.publication = publication::complete;
      std::error_code problem;
      fs::remove(folder_ / unsent, problem);
      return;
    }
    status_.publication = can_come_later(told.error()) ? publication::waiting
                          : refused                    ? publication::refused
                                                       : publication::complete;
    if (auto kept = write_file_atomically(folder_ / unsent, as_bytes(json::serialize(publisher_->unsent())));
        !kept)
      log::warn("points-not-kept", "trainer cannot keep the metrics of run {}: {}", order_.id,
                render(kept.error()));
    log::warn("run-not-published", "trainer could not tell the registry how run {} ended{}: {}", order_.id,
              status_.publication == publication::waiting ? ", and tries again" : "", render(told.error()));
  }

  /// The rest of what the registry shall know, from what an earlier `run` left on disk.
  void publish_rest() {
    if (!publisher_)
      return;
    if (auto text = read_file(folder_ / unsent))
      if (auto points = parse_json(*text); points && points->is_array())
        publisher_->add_unsent(points->get_array());
    if (status_.state == wire::TrainState::done && !status_.metrics.contains("model_version")) {
      auto done = read_json_object(folder_ / result_file);
      model_ = model_folder(done ? *done : json::object{});
      auto published = publish_once();
      if (!published)
        return not_published_yet(published.error());
      status_.error.clear();
    }
    status_.publication = publication::complete;
    end();
  }

private:
  bool go_on() const { return requested_ == requested_state::running; }

  void stage(std::string name) {
    status_.stage = std::move(name);
    report_(status_);
  }

  /// Puts the configurations that are in production where the ranks measure them beside the new one. A
  /// registry that is away costs the comparison, not the run: the gate says so.
  void note_production() {
    auto file = folder_ / "production.json";
    if (!publisher_ || !order_.run.register_model || fs::exists(file))
      return;
    auto known = publisher_->production();
    auto noted = known ? expected<void>{} : expected<void>{unexpected<error>{known.error()}};
    if (known && !known->empty()) {
      json::array all;
      for (auto& each : *known)
        all.push_back(json::object{{"model", each.version}, {"config", each.config}});
      noted = write_file_atomically(file, as_bytes(json::serialize(all)));
    }
    if (noted)
      return;
    not_measured_ = fmt::format("the registry did not say what is in production: {}", noted.error().text);
    log::warn("production-not-known", "trainer does not measure production beside run {}: {}", order_.id,
              render(noted.error()));
  }

  expected<json::object> train() {
    auto result = folder_ / result_file;
    if (auto done = read_json_object(result)) // trained in an earlier life
      return std::move(*done);
    group_options options;
    options.program = deps_.worker;
    options.config = folder_ / "config.toml";
    options.data = file_;
    options.out = folder_;
    options.ranks = order_.run.ranks;
    options.hang_after = order_.run.hang_after;
    options.max_restarts = order_.run.max_restarts;
    options.resume = fs::exists(folder_ / checkpoint_folder);
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
                   report_(status_);
                 if (publisher_ && clock::now() >= next_flush) {
                   // A registry that is away is tried again less often than the ranks are looked after.
                   next_flush = clock::now() + (publisher_->flush() ? publish_every : 5 * publish_every);
                 }
                 return go_on();
               }));
    TROUPE_CHECK(write_file_atomically(result, as_bytes(json::serialize(done))));
    return done;
  }

  /// What was measured is told with the status and to the registry.
  void report_metrics(const json::object& done) {
    auto* metrics = find_object(done, "metrics");
    if (metrics == nullptr)
      return;
    for (auto& [name, value] : *metrics) {
      if (!value.is_number())
        continue;
      auto number = value.to_number<double>();
      status_.metrics[std::string{name}] = number;
      if (publisher_)
        publisher_->add(std::string{name}, status_.step, number);
    }
  }

  fs::path model_folder(const json::object& done) const {
    auto named = text_or(done, "model");
    return named.empty() ? folder_ / "model" : fs::path{named};
  }

  /// Tries for `registry_patience`. A registry that is not there does not cost the model: it stays in its
  /// folder, the status says so, and the registry is tried again later.
  expected<void> publish() {
    if (!publisher_) {
      status_.error =
          fmt::format("not published: the catalog has no registry; the model is in {}", model_.string());
      return {};
    }
    auto until = deadline::in(deps_.settings->registry_patience);
    for (;;) {
      auto done = publish_once();
      if (done) {
        status_.publication = publication::complete;
        return {};
      }
      if (!go_on())
        return fail(ec::canceled, "publishing was stopped");
      if (!can_come_later(done.error()) || until.passed()) {
        not_published(done.error());
        return {};
      }
      std::this_thread::sleep_for(500ms);
    }
  }

  /// Of a later attempt: the same again says nothing new, and what is final ends the run for the registry
  /// too.
  void not_published_yet(const error& why) {
    if (can_come_later(why))
      return;
    not_published(why);
    end();
  }

  void not_published(const error& why) {
    bool waits = can_come_later(why);
    status_.publication = waits       ? publication::waiting
                          : uploaded_ ? publication::complete
                                      : publication::refused;
    status_.error = fmt::format("not registered{}: {}; the model is in {}",
                                waits ? " yet, it is tried again" : "", why.text, model_.string());
    log::warn("model-not-registered", "trainer keeps the model of run {} in {}: {}", order_.id,
              model_.string(), render(why));
  }

  expected<void> publish_once() {
    TROUPE_CHECK(publisher_->flush());
    TROUPE_TRY(manifest, parse_json(status_.manifest));
    auto* fields = manifest.if_object();
    auto* files = fields != nullptr ? find_object(*fields, "files") : nullptr;
    if (files == nullptr)
      return fail(ec::corrupt, "the manifest of run {} names no files", order_.id);
    for (auto& [name, about] : *files) {
      auto sha256 = about.is_object() ? text_or(about.get_object(), "sha256") : std::string{};
      TROUPE_CHECK(publisher_->upload(model_ / std::string{name}, sha256));
      publisher_->artefact(std::string{name}, sha256);
    }
    TROUPE_CHECK(publisher_->flush());
    uploaded_ = true;
    if (!order_.run.register_model)
      return {};
    TROUPE_TRY(version, publisher_->register_model(status_.manifest));
    status_.metrics["model_version"] = static_cast<double>(version);
    log::info("model-registered", "trainer registered model {} version {} of run {}", order_.model_name,
              version, order_.id);
    return {};
  }

  const run_deps& deps_;
  const run_order& order_;
  run_status& status_;
  const std::atomic<requested_state>& requested_;
  const std::function<void(const run_status&)>& report_;
  fs::path folder_;
  fs::path file_;
  fs::path model_;
  std::string not_measured_; ///< Why the ranks are not asked to measure production.
  bool uploaded_ = false;    ///< The registry has every file of the model.
  std::unique_ptr<publisher> publisher_;
};

void tidy(const run_deps& deps, const run_order& order, const run_status& status) {
  if (status.state == wire::TrainState::done && status.publication == publication::complete)
    drop_work_files(deps.folder / order.id);
  drop_old_folders(deps.folder, *deps.journal, deps.settings->keep_runs);
  deps.training_sets->drop_old([&] { return needed_training_sets(deps.folder, *deps.journal); });
}

} // namespace

std::optional<run_status> execute_run(const run_deps& deps, const run_order& order, run_status status,
                                      const std::atomic<requested_state>& requested,
                                      const std::function<void(const run_status&)>& report) {
  status.state = wire::TrainState::running;
  status.error.clear();
  run_executor work{deps, order, status, requested, report};
  auto done = deps.journal->save(order, status);
  if (done)
    done = work.run();
  if (!done && requested == requested_state::stopped)
    return std::nullopt;
  if (done)
    status.state = wire::TrainState::done;
  else if (requested == requested_state::canceled && done.error().code == ec::canceled)
    status.state = wire::TrainState::canceled;
  else
    status.state = wire::TrainState::failed;
  if (!done)
    status.error = render(done.error());
  status.seconds_left = 0;
  status.stage = "ended";
  work.end();
  if (auto saved = deps.journal->save(order, status); !saved)
    log::error("run-not-saved", "trainer cannot write how run {} ended: {}", order.id, render(saved.error()));
  else
    tidy(deps, order, status);
  log::info("run-ended", "run {} of trainer is {}{}{}", order.id, wire::EnumNameTrainState(status.state),
            status.error.empty() ? "" : ": ", status.error);
  return status;
}

bool publish_again(const run_deps& deps, const run_journal::entry& ended,
                   const std::atomic<requested_state>& requested) {
  auto& order = ended.order;
  auto status = ended.status;
  std::function<void(const run_status&)> nobody = [](const run_status&) {};
  run_executor work{deps, order, status, requested, nobody};
  work.publish_rest();
  if (status.publication == publication::waiting)
    return false;
  if (auto saved = deps.journal->save(order, status); !saved) {
    log::error("run-not-saved", "trainer cannot write that run {} is published: {}", order.id,
               render(saved.error()));
    return false;
  }
  tidy(deps, order, status);
  log::info("run-published", "the registry has run {} of trainer now{}{}", order.id,
            status.error.empty() ? "" : ": ", status.error);
  return true;
}

} // namespace troupe::trainer
