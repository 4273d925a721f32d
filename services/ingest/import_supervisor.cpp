#include "services/ingest/import_supervisor.hpp"

#include "services/ingest/source.hpp"
#include "services/ingest/wire.hpp"

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
#include <set>

namespace troupe::ingest {

namespace {

constexpr auto sweep_every = std::chrono::minutes{10};

struct file_run {
  source_state state;
  std::string waiting;
  source_actor source;
  std::shared_ptr<const ingest_format::mapping> rules;
  unsigned restarts = 0;
  bool over = false; ///< Read to its end, given up or left out.
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
        waiting = each.waiting;
    }
    auto list = out.CreateVector(files);
    auto id = out.CreateString(run.plan.id);
    auto text = out.CreateString(run.plan.state == wire::ImportState::running ? waiting : run.plan.error);
    auto& a = all.added;
    return wire::CreateImportStatus(out, id, run.plan.state, text, list, total, all.bytes, all.rows, a.events,
                                    a.users, a.items, a.duplicates, a.quarantined, a.late, a.skipped);
  });
}

class supervisor_behavior {
public:
  explicit supervisor_behavior(import_supervisor_actor::pointer self) : self_{self} {}

  import_supervisor_actor::behavior_type make_behavior(supervisor_setup setup,
                                                       const std::vector<planned_ptr>& known) {
    setup_ = std::move(setup);
    self_->set_exit_handler([this](caf::exit_msg& message) { begin_stop(std::move(message.reason)); });
    self_->set_down_handler([this](caf::down_msg& message) { on_down(message); });
    for (auto& each : known) {
      if (each->plan->state == wire::ImportState::running)
        setup_.uploads->store().hold(each->plan->path);
      finish_if_over(take(*each)); // Killed between its last row and the note of its end.
    }
    start_next();
    sweep();
    return {[this](net::request_atom, const net::request_ptr& request) { answer(request); },
            [this](planned_atom, const planned_ptr& done) { on_planned(*done); },
            [this](report_atom, const report_ptr& report) { on_report(*report); },
            [this](again_atom, const std::string& import, std::uint64_t file) { enqueue(import, file); },
            [this](sweep_atom) { sweep(); }};
  }

  static constexpr const char* name = "imports";

private:
  void sweep() {
    setup_.uploads->sweep();
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
      auto place = setup_.uploads->store().place(upload);
      if (!place)
        return request->respond.fail(place.error());
      path = place->string();
    }
    auto found = runs_.find(id);
    if (found != runs_.end() && found->second.plan.state == wire::ImportState::running)
      return request->respond.reply(status_of(found->second));
    if (!planning_.insert(id).second)
      return request->respond.fail(
          {ec::overloaded, fmt::format("import {} is being started by somebody else", id)},
          std::chrono::milliseconds{200});
    bool anew = found != runs_.end() && found->second.plan.state == wire::ImportState::done;
    auto before = found != runs_.end() ? found->second.plan.files : std::vector<planned_file>{};
    setup_.uploads->store().hold(path);
    setup_.servers->post([log = setup_.log, self = import_supervisor_actor{self_}, request, path, mapping,
                          mapping_name, id, anew, before] {
      auto plan = whole(make_plan(id, path, mapping, mapping_name), *request);
      auto result = std::make_shared<planned>(
          planned{prepare(*log, std::move(plan), anew, before), {}, id, path, request});
      if (result->plan) {
        if (auto sources = log->sources(source_prefix(id)))
          result->sources = std::move(*sources);
        else
          result->plan = unexpected{sources.error()};
      }
      caf::anon_send(self, planned_atom::value, planned_ptr{std::move(result)});
    });
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
  /// changed) and keeps the plan.
  static expected<import_plan> prepare(event_log& log, expected<import_plan> plan, bool anew,
                                       const std::vector<planned_file>& before) {
    if (!plan)
      return plan;
    if (anew)
      TROUPE_CHECK(log.forget_sources(source_prefix(plan->id)));
    for (auto& each : plan->files)
      for (auto& old : before)
        if (old.path == each.path && (old.bytes != each.bytes || old.modified != each.modified))
          TROUPE_CHECK(log.forget_sources(source_key(plan->id, each.path)));
    TROUPE_CHECK(log.keep("import/" + plan->id, encode(*plan)));
    return plan;
  }

  void on_planned(planned& done) {
    planning_.erase(done.id);
    if (!done.plan) {
      setup_.uploads->store().release(done.path, false);
      done.request->respond.fail(done.plan.error());
      return;
    }
    log::info("import-started", "ingest takes {} files of {} as import {}", done.plan->files.size(),
              done.plan->path, done.plan->id);
    auto& run = take(done);
    finish_if_over(run);
    done.request->respond.reply(status_of(run));
    start_next();
  }

  import_run& take(planned& done) {
    auto& run = runs_[done.plan->id];
    run = {};
    run.plan = std::move(*done.plan);
    run.files.resize(run.plan.files.size());
    for (std::size_t i = 0; i < run.files.size(); ++i) {
      for (auto& [key, state] : done.sources)
        if (key == source_key(run.plan.id, run.plan.files[i].path))
          run.files[i].state = state;
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
    while (!stopping_ && !waiting_.empty() && running_ < setup_.settings->files_at_once) {
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
      file_setup how;
      how.path = run.plan.files[index].path;
      how.import = import;
      how.key = source_key(import, how.path);
      how.rules = file.rules;
      how.named = how.path == run.plan.path;
      how.batch_rows = setup_.settings->batch_rows;
      source_setup setup;
      setup.log = setup_.log;
      setup.readers = setup_.readers;
      setup.judge = setup_.judge;
      setup.key = how.key;
      setup.open = [how](const source_state& from) { return open_file(how, from); };
      setup.report = [self = caf::actor_cast<caf::weak_actor_ptr>(self_)](source_report report) {
        if (auto strong = self.lock())
          caf::anon_send(caf::actor_cast<import_supervisor_actor>(strong), report_atom::value,
                         report_ptr{std::make_shared<const source_report>(std::move(report))});
      };
      setup.import = import;
      setup.file = index;
      setup.window = setup_.settings->batches_in_flight;
      setup.longest_backoff = setup_.settings->longest_backoff;
      file.source = spawn_source(self_->system(), std::move(setup));
      self_->monitor(file.source);
      ++running_;
    }
    setup_.report.gauge("files_importing", static_cast<double>(running_));
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
    if (report.waiting != file.waiting) {
      file.waiting = report.waiting;
      if (!file.waiting.empty()) {
        log::warn("source-waits", "source {} is {}", run.plan.files[report.file].path, file.waiting);
        setup_.report.degraded(file.waiting);
      } else {
        setup_.report.ready();
      }
      bool validator = std::ranges::any_of(runs_, [](auto& each) {
        return std::ranges::any_of(each.second.files,
                                   [](auto& f) { return f.waiting.find("validator") != std::string::npos; });
      });
      setup_.report.gauge("waiting_for_validator", validator ? 1 : 0);
    }
    if (report.finished)
      ended(run, report.file, report.failure);
  }

  void ended(import_run& run, std::size_t index, const std::optional<error>& failure) {
    auto& file = run.files[index];
    file.source = source_actor{};
    file.waiting.clear();
    --running_;
    if (!failure) {
      file.over = true;
    } else if (stopping_ || failure->code == ec::canceled) {
      file.over = run.canceling;
    } else if ((remedy_of(failure->code) == remedy::retry_later || failure->code == ec::io_failed) &&
               file.restarts < setup_.settings->restarts) {
      auto wait = std::min(std::chrono::milliseconds{200} * (1 << std::min(file.restarts, 10u)),
                           setup_.settings->longest_backoff);
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
    setup_.report.failed({why.code, fmt::format("import of {} failed: {}", file.path, why.text)});
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
    setup_.servers->post([log = setup_.log, uploads = setup_.uploads, plan = run.plan] {
      if (auto kept = log->keep("import/" + plan.id, encode(plan)); !kept)
        log::error("import-not-kept", "ingest cannot keep the end of import {}: {}", plan.id,
                   render(kept.error()));
      uploads->store().release(plan.path, plan.state == wire::ImportState::done);
      uploads->sweep();
    });
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
    for (auto& [id, run] : runs_)
      for (auto& each : run.files)
        if (each.source)
          caf::anon_send(each.source, stop_atom::value);
    if (running_ == 0)
      self_->quit(reason_);
  }

  import_supervisor_actor::pointer self_;
  supervisor_setup setup_;
  std::map<std::string, import_run> runs_;
  std::set<std::string> planning_;
  std::deque<std::pair<std::string, std::size_t>> waiting_;
  std::size_t running_ = 0;
  bool stopping_ = false;
  caf::error reason_;
};

} // namespace

expected<std::vector<planned_ptr>> load_imports(event_log& log) {
  TROUPE_TRY(kept, log.kept("import/"));
  std::vector<planned_ptr> known;
  for (auto& [key, value] : kept) {
    auto plan = decode_plan(value);
    if (plan.state == wire::ImportState::running) {
      bool changed = false;
      for (auto& each : plan.files)
        if (std::filesystem::exists(each.path) && !refresh(each)) {
          TROUPE_CHECK(log.forget_sources(source_key(plan.id, each.path)));
          changed = true;
        }
      if (changed)
        TROUPE_CHECK(log.keep(key, encode(plan)));
      log::info("import-resumed", "ingest goes on with import {} of {}", plan.id, plan.path);
    }
    TROUPE_TRY(sources, log.sources(source_prefix(plan.id)));
    known.push_back(std::make_shared<planned>(planned{std::move(plan), std::move(sources), {}, {}, nullptr}));
  }
  return known;
}

import_supervisor_actor spawn_import_supervisor(caf::actor_system& system, supervisor_setup setup,
                                                std::vector<planned_ptr> known) {
  return system.spawn(
      [](import_supervisor_actor::stateful_pointer<supervisor_behavior> self, supervisor_setup s,
         const std::vector<planned_ptr>& k) { return self->state.make_behavior(std::move(s), k); },
      std::move(setup), std::move(known));
}

} // namespace troupe::ingest
