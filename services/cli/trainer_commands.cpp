#include "services/cli/trainer_commands.hpp"

#include "services/cli/reproduce.hpp"
#include "services/cli/training_run.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"

namespace troupe::cli {

namespace {

constexpr auto trainer_hint = "is the fleet up? `troupe status` says";

std::string json_of(const wire::TrainStatus& status) {
  std::string metrics;
  if (status.metrics())
    for (auto* each : *status.metrics())
      metrics += fmt::format("{}{}:{}", metrics.empty() ? "" : ",", json_string(text_of(each->name())),
                             each->value());
  auto manifest = text_of(status.manifest());
  return fmt::format("{{\"run\":{},\"state\":\"{}\",\"error\":{},\"stage\":{},\"step\":{},\"steps_total\":{},"
                     "\"samples_per_second\":{},\"seconds_left\":{},\"restarts\":{},\"metrics\":{{{}}},"
                     "\"manifest\":{}}}",
                     json_string(text_of(status.run_id())), wire::EnumNameTrainState(status.state()),
                     json_string(text_of(status.error())), json_string(text_of(status.stage())),
                     status.step(), status.steps_total(), status.samples_per_second(), status.seconds_left(),
                     status.restarts(), metrics, manifest.empty() ? "null" : manifest);
}

/// The metrics worth a line; all of them are in the JSON and in `troupe runs show`.
void print_metrics(const wire::TrainStatus& status) {
  std::string line;
  for (std::string_view name : {"hr_at_10", "ndcg_at_10", "mrr", "auc", "log_loss", "loss"}) {
    auto value = metric_of(status, name);
    if (value == 0)
      continue;
    line += fmt::format("  {} {:.4f}", name, value);
    if (auto beside = metric_of(status, fmt::format("popularity_{}", name)); beside != 0)
      line += fmt::format(" (popularity {:.4f})", beside);
  }
  if (!line.empty())
    fmt::print("{}\n", line);
}

/// Why its model has no metrics, or lacks some; empty where the manifest does not say so.
std::string not_measured(const wire::TrainStatus& status) {
  auto manifest = parse_json(text_of(status.manifest()));
  return manifest && manifest->is_object() ? text_or(manifest->get_object(), "not_measured") : std::string{};
}

void print(const context& with, const wire::TrainStatus& status) {
  if (with.json) {
    fmt::print("{}\n", json_of(status));
    return;
  }
  bool ended = status.state() >= wire::TrainState::done;
  fmt::print("run {}: {}", text_of(status.run_id()), wire::EnumNameTrainState(status.state()));
  if (!ended)
    fmt::print(", {} {} of {}", text_of(status.stage()), status.step(), status.steps_total());
  if (auto version = metric_of(status, "model_version"); version > 0)
    fmt::print(", registered as version {}", version);
  if (status.restarts() > 0)
    fmt::print(", {} restarts", status.restarts());
  fmt::print("\n");
  print_metrics(status);
  if (auto why = not_measured(status); !why.empty())
    fmt::print("  not measured: {}\n", why);
  if (auto error = text_of(status.error()); !error.empty())
    fmt::print("  {}\n", error);
}

struct train_flags {
  std::string config;
  std::string run;
  bool follow = false;
};

expected<void> finish(context& with, const wire::TrainStatus& status) {
  print(with, status);
  // A model that was trained but is not registered says why, too.
  if (status.state() == wire::TrainState::canceled || !text_of(status.error()).empty())
    with.say_no();
  return {};
}

expected<void> train(context& with, const train_flags& flags) {
  if (flags.config.empty())
    return with.wrong_usage("say what to train: troupe train CONFIG");
  TROUPE_TRY(config, read_file(flags.config));
  auto id = flags.run.empty() ? fmt::format("{}-{}", std::filesystem::path{flags.config}.stem().string(),
                                            micros_of(wall_now()))
                              : flags.run;
  TROUPE_TRY(begun, start_run(with, id, config, {}));
  if (!flags.follow)
    return finish(with, *begun);
  TROUPE_TRY(last, follow_run(with, std::string{text_of(begun->run_id())}));
  return finish(with, *last);
}

} // namespace

void add_trainer_commands(command_line::command& app, context& with) {
  auto* command = app.add_command("train", "Train a model on the fleet, from a configuration in TOML");
  auto flags = std::make_shared<train_flags>();
  command->add_option("config", flags->config,
                      "TOML: the model's keys, and in table [run] name, data, ranks, hang_after...");
  command->add_option("--run", flags->run,
                      "Id of the run: the same id again is the same run; else a new one");
  command->add_flag("--follow", flags->follow, "Show the progress until the end");
  command->allow_command();
  for (auto [name, meaning, kind] :
       {std::tuple{"status", "How far a run is", wire::Kind::train_status},
        std::tuple{"cancel", "Stop a run; its checkpoint stays", wire::Kind::train_cancel}}) {
    auto* sub = command->add_command(name, meaning);
    sub->add_option("run", flags->run, "Id of the run")->required();
    with.command(
        *sub,
        [&with, flags, kind = kind]() -> expected<void> {
          TROUPE_TRY(now, ask_run(with, kind, flags->run));
          print(with, *now);
          return {};
        },
        trainer_hint);
  }
  with.command(
      *command,
      [&with, flags, command]() -> expected<void> {
        return !command->has_command_given() ? train(with, *flags) : expected<void>{};
      },
      trainer_hint);

  auto* again = app.add_command(
      "reproduce", "Train a model, or all of a release, again from its manifest and compare the hashes");
  auto what = std::make_shared<std::string>();
  again
      ->add_option("what", *what,
                   "MODEL or MODEL:VERSION (a number, an alias, a hash), or a release: its id, the first 8 "
                   "digits or more, its name")
      ->required();
  with.command(
      *again, [&with, what] { return reproduce(with, *what); }, trainer_hint);
}

} // namespace troupe::cli
