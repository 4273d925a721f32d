#include "services/cli/trainer_commands.hpp"

#include "services/cli/ingest_progress.hpp"

#include "common/command_line/command_line.hpp"
#include "common/config/section.hpp"
#include "common/core/time.hpp"
#include "common/json/parse.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/registry_generated.h"
#include "schemas/trainer_generated.h"

#include <boost/json/parse.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <thread>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using builder = flatbuffers::FlatBufferBuilder;

constexpr auto hint = "is the fleet up? `troupe status` says";

std::string text_of(const flatbuffers::String* text) {
  return text ? text->str() : std::string{};
}

/// An answer, kept with the bytes it lives in.
template <class T>
struct answer_of {
  chunk bytes;
  const T& operator*() const { return *flatbuffers::GetRoot<T>(bytes.data()); }
  const T* operator->() const { return flatbuffers::GetRoot<T>(bytes.data()); }
};

template <class T>
expected<answer_of<T>> ask(context& with, const char* service, wire::Kind kind, const builder& out) {
  TROUPE_TRY(client, with.client(service));
  TROUPE_TRY(got, client->call(kind, net::bytes_of(out), deadline::in(10s)));
  TROUPE_CHECK(net::read_as<T>(got.payload, nullptr, fmt::format("answer of {}", service)));
  return answer_of<T>{got.payload};
}

using train_answer = answer_of<wire::TrainStatus>;

expected<train_answer> start(context& with, const std::string& id, const std::string& config,
                             const std::string& parent) {
  builder out;
  out.Finish(wire::CreateTrainStartDirect(out, id.c_str(), config.c_str(), parent.c_str()), "TRPT");
  return ask<wire::TrainStatus>(with, "trainer", wire::Kind::train_start, out);
}

expected<train_answer> query(context& with, wire::Kind kind, const std::string& id) {
  builder out;
  out.Finish(wire::CreateTrainQueryDirect(out, id.c_str()), "TRPT");
  return ask<wire::TrainStatus>(with, "trainer", kind, out);
}

double metric_of(const wire::TrainStatus& status, std::string_view name) {
  if (status.metrics())
    for (auto* each : *status.metrics())
      if (each->name() && each->name()->string_view() == name)
        return each->value();
  return 0;
}

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
  if (auto error = text_of(status.error()); !error.empty())
    fmt::print("  {}\n", error);
}

void show_bar(const wire::TrainStatus& status) {
  auto share = status.steps_total() == 0
                   ? 0.0
                   : static_cast<double>(status.step()) / static_cast<double>(status.steps_total());
  fmt::print(stderr, "\r\033[K{} {} loss {:.4f} lr {:.2g} gradient {:.3g} {:.0f} samples/s {:.0f} s left",
             bar(share, 24), text_of(status.stage()), metric_of(status, "loss"),
             metric_of(status, "learning_rate"), metric_of(status, "gradient_norm"),
             status.samples_per_second(), status.seconds_left());
  std::fflush(stderr);
}

/// Until the run has ended, or Ctrl-C; the run goes on after that.
expected<train_answer> follow(context& with, const std::string& id) {
  context::watch_interrupt();
  auto shown = stderr_is_terminal() && !with.json;
  for (;;) {
    TROUPE_TRY(now, query(with, wire::Kind::train_status, id));
    bool over = now->state() >= wire::TrainState::done || context::interrupted();
    if (shown && !over)
      show_bar(*now);
    if (over) {
      if (shown)
        fmt::print(stderr, "\r\033[K");
      return now;
    }
    std::this_thread::sleep_for(250ms);
  }
}

struct train_flags {
  std::string config;
  std::string run;
  std::string model;
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
  std::ifstream in{flags.config, std::ios::binary};
  if (!in)
    return fail(ec::not_found, "cannot read {}", flags.config);
  std::string config{std::istreambuf_iterator<char>{in}, {}};
  auto id = flags.run.empty() ? fmt::format("{}-{}", std::filesystem::path{flags.config}.stem().string(),
                                            micros_of(wall_now()))
                              : flags.run;
  TROUPE_TRY(begun, start(with, id, config, {}));
  if (!flags.follow)
    return finish(with, *begun);
  TROUPE_TRY(last, follow(with, text_of(begun->run_id())));
  return finish(with, *last);
}

expected<std::string> text_in(const json::object& from, std::string_view key) {
  auto* value = from.if_contains(key);
  if (value == nullptr || !value->is_string())
    return fail(ec::corrupt, "the manifest does not say its {}", key);
  return std::string{value->get_string()};
}

expected<std::string> weights_of(const json::object& manifest) {
  auto* weights = manifest.if_contains("weights");
  if (weights == nullptr || !weights->is_object())
    return fail(ec::corrupt, "the manifest names no weights");
  return text_in(weights->get_object(), "sha256");
}

expected<json::object> manifest_of(const std::string& text) {
  auto value = parse_json(text);
  if (!value || !value->is_object())
    return fail(ec::corrupt, "the manifest is not a JSON object");
  return std::move(value->get_object());
}

std::vector<std::string> texts_in(const json::object& from, std::string_view key) {
  std::vector<std::string> out;
  if (auto* list = from.if_contains(key); list != nullptr && list->is_array())
    for (auto& each : list->get_array())
      if (each.is_string())
        out.emplace_back(each.get_string());
  return out;
}

/// The order that trains the same model from the same data.
expected<std::string> order_from(const json::object& manifest, const std::string& name) {
  TROUPE_TRY(config, text_in(manifest, "config"));
  auto* data = manifest.if_contains("data");
  if (data == nullptr || !data->is_object())
    return fail(ec::corrupt, "the manifest does not say its data");
  auto& about = data->get_object();
  TROUPE_TRY(source, text_in(about, "source"));
  TROUPE_TRY(hash, text_in(about, "sha256"));
  auto* ranks = manifest.if_contains("ranks");
  auto order =
      fmt::format("{}[run]\nname = {}\nexperiment = \"reproduce\"\nregister = false\nranks = {}\n"
                  "data_sha256 = \"{}\"\n",
                  config, to_text(name),
                  ranks != nullptr && ranks->is_number() ? ranks->to_number<std::int64_t>() : 1, hash);
  if (source != "training-set") // the configuration names that one
    order += fmt::format("data = {}\n", to_text(source));
  for (auto* key : {"event_types", "exclude_arms"})
    if (auto texts = texts_in(about, key); !texts.empty())
      order += fmt::format("{} = {}\n", key, to_text(texts));
  std::vector<std::string> offsets;
  if (auto* list = about.if_contains("offsets"); list != nullptr && list->is_array())
    for (auto& each : list->get_array())
      if (each.is_number())
        offsets.push_back(std::to_string(each.to_number<std::uint64_t>()));
  if (!offsets.empty())
    order += fmt::format("offsets = {}\n", to_text(offsets));
  return order;
}

expected<void> reproduce(context& with, const train_flags& flags) {
  auto colon = flags.model.find(':');
  auto name = flags.model.substr(0, colon);
  auto version = colon == std::string::npos ? std::string{} : flags.model.substr(colon + 1);
  builder out;
  out.Finish(wire::CreateModelQueryDirect(out, name.c_str(), version.c_str()), "TRPR");
  TROUPE_TRY(model, ask<wire::ModelVersion>(with, "registry", wire::Kind::model_show, out));
  TROUPE_TRY(manifest, manifest_of(text_of(model->manifest())));
  TROUPE_TRY(before, weights_of(manifest));
  TROUPE_TRY(order, order_from(manifest, name));
  auto id = fmt::format("reproduce-{}-{}-{}", name, model->version(), micros_of(wall_now()));
  TROUPE_TRY(begun, start(with, id, order, fmt::format("{}:{}", name, model->version())));
  TROUPE_TRY(last, follow(with, text_of(begun->run_id())));
  if (last->state() != wire::TrainState::done)
    return fail(ec::unavailable, "run {} did not end well: {}", id, text_of(last->error()));
  TROUPE_TRY(made, manifest_of(text_of(last->manifest())));
  TROUPE_TRY(after, weights_of(made));
  bool equal = before == after;
  auto* binary = manifest.if_contains("binary");
  auto* binary_now = made.if_contains("binary");
  bool same_binary = binary != nullptr && binary_now != nullptr && *binary == *binary_now;
  if (with.json)
    fmt::print("{{\"model\":{},\"version\":{},\"run\":{},\"equal\":{},\"same_binary\":{},"
               "\"weights_before\":\"{}\",\"weights_now\":\"{}\"}}\n",
               json_string(name), model->version(), json_string(id), equal, same_binary, before, after);
  else
    fmt::print("{}:{} {}: weights {} then, {} now{}\n", name, model->version(),
               equal ? "is reproduced" : "is NOT reproduced", before, after,
               same_binary ? "" : "; the worker program is another one than then");
  if (!equal)
    with.say_no();
  return {};
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
          TROUPE_TRY(now, query(with, kind, flags->run));
          print(with, *now);
          return {};
        },
        hint);
  }
  with.command(
      *command,
      [&with, flags, command]() -> expected<void> {
        return !command->has_command_given() ? train(with, *flags) : expected<void>{};
      },
      hint);

  auto* again = app.add_command("reproduce", "Train a model again from its manifest and compare the hashes");
  again->add_option("model", flags->model, "MODEL or MODEL:VERSION (a number, an alias, a hash)")->required();
  with.command(
      *again, [&with, flags] { return reproduce(with, *flags); }, hint);
}

} // namespace troupe::cli
