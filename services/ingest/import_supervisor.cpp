#include "services/ingest/import_supervisor.hpp"

#include "services/ingest/sources/file_source.hpp"
#include "services/ingest/sources/source_actor.hpp"
#include "services/ingest/wire.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/ingest_format/mapping/mapping.hpp"
#include "common/log/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>

namespace troupe::ingest {

namespace {

constexpr auto sweep_every = std::chrono::minutes{10};

struct file_run {
  source_state state;
  source_wait wait = source_wait::none;
  std::string why; ///< It waits.
  source_actor source;
  std::shared_ptr<const ingest_format::mapping> rules;
  unsigned restarts = 0;
  bool over = false; ///< Read to its end, given up or left out.
};

/// A start whose plan is being made.
struct asked_import {
  net::request_ptr request;
  std::string path;
};

struct import_run {
  import_plan plan;
  std::vector<file_run> files;
  bool canceling = false;
};

chunk status_of(const import_run& run) {
  return build_message([&](auto& out) {
    std::vector<flatbuffers::Offset<wire::ImportFile>> files;
    source_state all;
    std::uint64_t total = 0;
    std::string waiting;
    for (std::size_t i = 0; i < run.files.size(); ++i) {
      auto& each = run.files[i];
      auto& file = run.plan.files[i];
      auto read = each.state.done ? file.bytes : std::min(each.state.bytes, file.bytes);
      files.push_back(wire::CreateImportFile(out, out.CreateString(file.path), file.bytes, read,
                                             each.state.rows, each.state.done));
      total += file.bytes;
      all.bytes += read;
      all.rows += each.state.rows;
      all.added += each.state.added;
      if (waiting.empty())
        waiting = each.why;
    }
    auto list = out.CreateVector(files);
    auto id = out.CreateString(run.plan.id);
    auto text = out.CreateString(run.plan.state == wire::ImportState::running ? waiting : run.plan.error);
    auto& a = all.added;
    return wire::CreateImportStatus(out, id, run.plan.state, text, list, total, all.bytes, all.rows, a.events,
                                    a.users, a.items, a.duplicates, a.quarantined, a.late, a.skipped);
  });
}

expected<import_record> record_of(const event_log& log, import_plan plan) {
  TROUPE_TRY(positions, log.positions().list(source_prefix(plan.id)));
  return import_record{std::move(plan), {positions.begin(), positions.end()}};
}

class supervisor_behavior {
public:
  explicit supervisor_behavior(import_supervisor_actor::pointer self) : self_{self} {}

  import_supervisor_actor::behavior_type make_behavior(import_supervisor_deps deps,
                                                       std::vector<import_record> known) {
    deps_ = std::move(deps);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    self_->set_down_handler([this](caf::down_msg& message) { on_down(message); });
    for (auto& each : known) {
      if (each.plan.state == wire::ImportState::running)
        deps_.uploads->store().hold(each.plan.path);
      finish_if_over(take(std::move(each))); // Killed between its last row and the note of its end.
    }
    start_next();
    sweep();
    return {
        [this](net::request_atom, const net::request_ptr& request) { answer(request); },
        [this](planned_atom, const std::string& id, const planned_ptr& record) { on_planned(id, *record); },
        [this](report_atom, const report_ptr& report) { on_report(*report); },
        [this](again_atom, const std::string& import, std::uint64_t file) { enqueue(import, file); },
        [this](sweep_atom) { sweep(); }};
  }

  static constexpr const char* name = "imports";

private:
  void sweep() {
    deps_.uploads->sweep();
    self_->delayed_send(self_, sweep_every, sweep_atom::value);
  }

  void answer(const net::request_ptr& request) {
    if (stopping_)
      return request->respond.fail({ec::stopping, "the ingest service is stopping"});
    switch (request->info.kind) {
    case wire::Kind::import_start:
      return start(request);
    case wire::Kind::import_status:
    case wire::Kind::import_cancel: {
      auto query = message<wire::ImportQuery>::open(request->payload);
      if (!query)
        return request->respond.fail(query.error());
      auto found = runs_.find((*query)->import_id()->str());
      if (found == runs_.end())
        return request->respond.fail(
            {ec::not_found, fmt::format("there is no import {}", (*query)->import_id()->str())});
      if (request->info.kind == wire::Kind::import_cancel)
        cancel(found->second);
      return request->respond.reply(status_of(found->second));
    }
    default:
      request->respond.fail({ec::invalid_argument, "not a request about imports"});
    }
  }

  void start(const net::request_ptr& request) {
    auto query = message<wire::ImportStart>::open(request->payload);
    if (!query)
      return request->respond.fail(query.error());
    auto text = [](auto* from) { return from ? from->str() : std::string{}; };
    auto path = (*query)->path()->str(), mapping = text((*query)->mapping()),
         mapping_name = text((*query)->mapping_name()), upload = text((*query)->upload());
    auto id = upload.empty() ? import_id(path, mapping) : import_id_of_upload(upload, mapping);
    if (!upload.empty()) {
      auto place = deps_.uploads->store().place(upload);
      if (!place)
        return request->respond.fail(place.error());
      path = place->string();
    }
    auto found = runs_.find(id);
    if (found != runs_.end() && found->second.plan.state == wire::ImportState::running)
      return request->respond.reply(status_of(found->second));
    if (planning_.contains(id))
      return request->respond.fail(
          {ec::overloaded, fmt::format("import {} is being started by somebody else", id)},
          std::chrono::milliseconds{200});
    bool anew = found != runs_.end() && found->second.plan.state == wire::ImportState::done;
    auto before = found != runs_.end() ? found->second.plan : import_plan{};
    deps_.uploads->store().hold(path);
    planning_.emplace(id, asked_import{request, path});
    auto posted = deps_.servers->post([log = deps_.log, self = import_supervisor_actor{self_}, request, path,
                                       mapping, mapping_name, id, anew, before] {
      auto plan = whole(make_plan(id, path, mapping, mapping_name, request->until), *request);
      auto record = prepare(*log, std::move(plan), anew, before);
      caf::anon_send(self, planned_atom::value, id,
                     planned_ptr{std::make_shared<const expected<import_record>>(std::move(record))});
    });
    if (!posted)
      on_planned(id, unexpected{posted.error()});
  }

  /// Of an upload: only when all files that were sent are there.
  static expected<import_plan> whole(expected<import_plan> plan, const net::request& request) {
    auto query = message<wire::ImportStart>::open(request.payload);
    if (!plan || !query || !(*query)->upload())
      return plan;
    std::uint64_t bytes = 0;
    for (auto& each : plan->files)
      bytes += each.bytes;
    if (plan->files.size() == (*query)->upload_files() && bytes == (*query)->upload_bytes())
      return plan;
    return fail(ec::not_found,
                "of upload {} {} files with {} bytes are here, not {} with {}: send them again",
                (*query)->upload()->str(), plan->files.size(), bytes, (*query)->upload_files(),
                (*query)->upload_bytes());
  }

  /// Forgets what must be read anew (all, when the last run came to its end; otherwise files that have
  /// changed) and keeps the plan. One that goes on where it was began when it did: records without a time are
  /// of that instant.
  static expected<import_record> prepare(event_log& log, expected<import_plan> plan, bool anew,
                                         const import_plan& before) {
    if (!plan)
      return unexpected{plan.error()};
    if (anew)
      TROUPE_CHECK(log.positions().forget(source_prefix(plan->id)));
    bool goes_on = !anew && !before.files.empty();
    for (auto& each : plan->files)
      for (auto& old : before.files)
        if (old.path == each.path && (old.bytes != each.bytes || old.modified != each.modified)) {
          goes_on = false;
          TROUPE_CHECK(log.positions().forget(source_key(plan->id, each.path)));
        }
    if (goes_on)
      plan->started = before.started;
    TROUPE_CHECK(log.metadata().put(import_key(plan->id), encode(*plan)));
    return record_of(log, std::move(*plan));
  }

  void on_planned(const std::string& id, const expected<import_record>& record) {
    auto found = planning_.extract(id);
    if (found.empty())
      return; // Answered when the stop began; a start finds the plan.
    auto& asked = found.mapped();
    if (!record) {
      deps_.uploads->store().release(asked.path, false);
      asked.request->respond.fail(record.error());
      return;
    }
    log::info("import-started", "ingest takes {} files of {} as import {}", record->plan.files.size(),
              record->plan.path, id);
    auto& run = take(*record);
    finish_if_over(run);
    asked.request->respond.reply(status_of(run));
    start_next();
  }

  import_run& take(import_record record) {
    auto& run = runs_[record.plan.id];
    run = {};
    run.plan = std::move(record.plan);
    run.files.resize(run.plan.files.size());
    for (std::size_t i = 0; i < run.files.size(); ++i) {
      auto known = record.positions.find(source_key(run.plan.id, run.plan.files[i].path));
      if (known != record.positions.end())
        run.files[i].state = known->second;
      run.files[i].over = run.files[i].state.done || run.plan.state != wire::ImportState::running ||
                          !run.plan.files[i].failure.empty();
      if (!run.files[i].over)
        waiting_.emplace_back(run.plan.id, i);
    }
    return run;
  }

  void enqueue(const std::string& import, std::uint64_t file) {
    auto found = runs_.find(import);
    if (stopping_ || found == runs_.end() || file >= found->second.files.size() ||
        found->second.files[file].over)
      return;
    waiting_.emplace_back(import, file);
    start_next();
  }

  void start_next() {
    while (!stopping_ && !waiting_.empty() && running_ < deps_.settings->files_at_once) {
      auto [import, index] = waiting_.front();
      waiting_.pop_front();
      auto& run = runs_.at(import);
      auto& file = run.files[index];
      if (file.over || file.source)
        continue;
      if (!file.rules) {
        auto rules = open_mapping(run.plan.mapping, run.plan.mapping_name);
        if (!rules) {
          give_up(run, index, rules.error());
          continue;
        }
        for (auto& each : run.files)
          each.rules = *rules;
      }
      file_source_options options;
      options.path = run.plan.files[index].path;
      options.import = import;
      options.key = source_key(import, options.path);
      options.rules = file.rules;
      options.named = options.path == run.plan.path;
      options.arrival = run.plan.started;
      options.batch_rows = deps_.settings->batch_rows;
      source_deps deps;
      options.stop = deps.stop;
      deps.log = deps_.log;
      deps.readers = deps_.readers;
      deps.validate = deps_.validate;
      deps.key = options.key;
      deps.open = [options](const source_state& from) { return open_file_source(options, from); };
      deps.report = [weak = weak_handle{import_supervisor_actor{self_}}](source_report report) {
        if (auto to = weak.lock())
          caf::anon_send(to, report_atom::value,
                         report_ptr{std::make_shared<const source_report>(std::move(report))});
      };
      deps.import = import;
      deps.file = index;
      deps.window = deps_.settings->batches_in_flight;
      deps.longest_backoff = deps_.settings->longest_backoff;
      file.source = spawn_source(self_->system(), std::move(deps));
      self_->monitor(file.source);
      ++running_;
    }
    deps_.report.gauge("files_importing", static_cast<double>(running_));
    show_lag();
  }

  void on_report(const source_report& report) {
    auto found = runs_.find(report.import);
    if (found == runs_.end() || report.file >= found->second.files.size())
      return;
    auto& run = found->second;
    auto& file = run.files[report.file];
    if (!file.source)
      return;
    if (report.state.batches > file.state.batches) {
      file.state = report.state;
      file.restarts = 0;
    }
    if (report.wait != file.wait || report.why != file.why) {
      file.wait = report.wait;
      file.why = report.why;
      if (file.wait != source_wait::none) {
        log::warn("source-waits", "source {} is {}", run.plan.files[report.file].path, file.why);
        deps_.report.degraded(file.why);
      } else {
        deps_.report.ready();
      }
      show_waits();
    }
    show_lag();
    if (report.finished)
      ended(run, report.file, report.failure);
  }

  void show_waits() {
    bool validator = std::ranges::any_of(runs_, [](auto& run) {
      return std::ranges::any_of(run.second.files,
                                 [](auto& file) { return file.wait == source_wait::validator; });
    });
    deps_.report.gauge("waiting_for_validator", validator ? 1 : 0);
  }

  /// What lies between the positions of the files and their ends.
  void show_lag() {
    std::uint64_t bytes = 0;
    for (auto& [id, run] : runs_)
      for (std::size_t i = 0; i < run.files.size(); ++i)
        if (auto size = run.plan.files[i].bytes; !run.files[i].over)
          bytes += size - std::min(run.files[i].state.bytes, size);
    deps_.lag_bytes.set(static_cast<double>(bytes));
    deps_.report.gauge("source_lag_bytes", static_cast<double>(bytes));
  }

  void ended(import_run& run, std::size_t index, const std::optional<error>& failure) {
    auto& file = run.files[index];
    file.source = source_actor{};
    file.wait = source_wait::none;
    file.why.clear();
    show_waits();
    --running_;
    if (!failure) {
      file.over = true;
    } else if (stopping_ || failure->code == ec::canceled) {
      file.over = run.canceling;
    } else if ((disposition_of(failure->code) == error_disposition::retry_later ||
                failure->code == ec::io_failed) &&
               file.restarts < deps_.settings->restarts) {
      auto wait = std::min(std::chrono::milliseconds{200} * (1 << std::min(file.restarts, 10u)),
                           deps_.settings->longest_backoff);
      ++file.restarts;
      log::warn("source-restarts", "source {} starts again in {} ms: {}", run.plan.files[index].path,
                wait.count(), render(*failure));
      self_->delayed_send(self_, wait, again_atom::value, run.plan.id, std::uint64_t{index});
    } else {
      give_up(run, index, *failure);
    }
    finish_if_over(run);
    if (stopping_ && running_ == 0)
      return self_->quit(reason_);
    start_next();
  }

  void give_up(import_run& run, std::size_t index, const error& why) {
    auto& file = run.plan.files[index];
    run.files[index].over = true;
    file.failure = render(why);
    deps_.report.failed({why.code, fmt::format("import of {} failed: {}", file.path, why.text)});
    log::error("source-failed", "source {} was given up after {} rows: {}", file.path,
               run.files[index].state.rows, file.failure);
    finish_if_over(run);
  }

  void finish_if_over(import_run& run) {
    if (run.plan.state != wire::ImportState::running ||
        std::ranges::any_of(run.files, [](auto& each) { return !each.over || each.source; }))
      return;
    run.plan.state = wire::ImportState::done;
    for (auto& each : run.plan.files)
      if (!each.failure.empty()) {
        run.plan.state = wire::ImportState::failed;
        run.plan.error += (run.plan.error.empty() ? "" : "; ") + each.path + ": " + each.failure;
      }
    if (run.canceling)
      run.plan.state = wire::ImportState::canceled;
    log::info("import-ended", "import {} of {} ended {}", run.plan.id, run.plan.path,
              wire::EnumNameImportState(run.plan.state));
    auto posted = deps_.servers->post([log = deps_.log, uploads = deps_.uploads, plan = run.plan] {
      if (auto kept = log->metadata().put(import_key(plan.id), encode(plan)); !kept)
        log::error("import-not-kept", "ingest cannot keep the end of import {}: {}", plan.id,
                   render(kept.error()));
      uploads->store().release(plan.path, plan.state == wire::ImportState::done);
      uploads->sweep();
    });
    if (!posted) // Its files say so at the next start.
      log::error("import-not-kept", "ingest cannot keep the end of import {}: {}", run.plan.id,
                 render(posted.error()));
  }

  void cancel(import_run& run) {
    if (run.plan.state != wire::ImportState::running)
      return;
    run.canceling = true;
    for (auto& each : run.files) {
      if (each.source)
        caf::anon_send(each.source, stop_atom::value);
      else
        each.over = true;
    }
    show_lag();
    finish_if_over(run);
  }

  /// A source that ends without a last word has died of a mistake of ours.
  void on_down(const caf::down_msg& message) {
    for (auto& [id, run] : runs_)
      for (std::size_t i = 0; i < run.files.size(); ++i)
        if (run.files[i].source && run.files[i].source.address() == message.source) {
          // Its report may still wait behind this message: nothing is lost, the log knows how far it came.
          if (message.reason == caf::exit_reason::normal || !message.reason)
            return;
          return ended(run, i, error{ec::io_failed, "the source actor died"});
        }
  }

  void begin_stop(caf::error reason) {
    if (std::exchange(stopping_, true))
      return;
    reason_ = reason == caf::exit_reason::user_shutdown ? caf::error{} : std::move(reason);
    waiting_.clear();
    for (auto& [id, asked] : planning_)
      asked.request->respond.fail({ec::stopping, "the ingest service is stopping"});
    planning_.clear();
    for (auto& [id, run] : runs_)
      for (auto& each : run.files)
        if (each.source)
          caf::anon_send(each.source, stop_atom::value);
    if (running_ == 0)
      self_->quit(reason_);
  }

  import_supervisor_actor::pointer self_;
  import_supervisor_deps deps_;
  std::map<std::string, import_run> runs_;
  std::map<std::string, asked_import> planning_; ///< By import id.
  std::deque<std::pair<std::string, std::size_t>> waiting_;
  std::size_t running_ = 0;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

expected<std::vector<import_record>> load_imports(event_log& log) {
  TROUPE_TRY(kept, log.metadata().list(import_key({})));
  std::vector<import_record> known;
  for (auto& [key, value] : kept) {
    auto plan = decode_plan(value);
    if (plan.state == wire::ImportState::running) {
      bool changed = false;
      for (auto& each : plan.files)
        if (std::filesystem::exists(each.path) && !refresh(each)) {
          TROUPE_CHECK(log.positions().forget(source_key(plan.id, each.path)));
          changed = true;
        }
      if (changed)
        TROUPE_CHECK(log.metadata().put(key, encode(plan)));
      log::info("import-resumed", "ingest goes on with import {} of {}", plan.id, plan.path);
    }
    TROUPE_TRY(record, record_of(log, std::move(plan)));
    known.push_back(std::move(record));
  }
  return known;
}

import_supervisor_actor spawn_import_supervisor(caf::actor_system& system, import_supervisor_deps deps,
                                                std::vector<import_record> known) {
  return system.spawn(
      [](import_supervisor_actor::stateful_pointer<supervisor_behavior> self,
         import_supervisor_deps dependencies, std::vector<import_record> from) {
        return self->state.make_behavior(std::move(dependencies), std::move(from));
      },
      std::move(deps), std::move(known));
}

} // namespace troupe::ingest
