#include "services/cli/train_commands.hpp"

#include "common/command_line/command_line.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace troupe::cli {

namespace {

struct train_options {
  std::string protocol;
  std::string data;
  std::string config;
  std::string model;
  std::string out;
  std::vector<std::string> settings;
  unsigned threads = 0;
  bool quiet = false;
};

/// Becomes troupe-train; returns only where that fails.
expected<void> become_trainer(const context& context, std::vector<std::string> arguments) {
  std::error_code err;
  auto self = std::filesystem::read_symlink("/proc/self/exe", err);
  auto program = (err ? context.program : self).parent_path() / "troupe-train";
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(nullptr);
  ::execv(program.c_str(), argv.data());
  return fail(errno_code(errno), "cannot start {}: {}", program.string(), errno_text(errno));
}

std::vector<std::string> shared_arguments(const context& context, const train_options& options) {
  std::vector<std::string> out;
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty())
      out.insert(out.end(), {name, value});
  };
  add("--config", options.config);
  add("--model", options.model);
  add("--out", options.out);
  for (auto& setting : options.settings)
    add("--set", setting);
  if (options.threads > 0)
    add("--threads", std::to_string(options.threads));
  if (context.json)
    out.emplace_back("--json");
  if (options.quiet)
    out.emplace_back("--quiet");
  return out;
}

void add_shared_options(command_line::command& sub, train_options& options) {
  sub.add_option("--config", options.config, "TOML file; `troupe-train keys` lists its keys");
  sub.add_option("--model", options.model, "popularity, item_knn, ease, ials, bpr, sasrec; over the file");
  sub.add_option("--set", options.settings, "key=value over the file");
  sub.add_option("--threads", options.threads, "0: one a processor");
  sub.add_flag("--quiet", options.quiet, "No progress line");
}

} // namespace

void add_train_commands(command_line::command& app, context& context) {
  auto options = std::make_shared<train_options>();
  auto* evaluate = app.add_command("evaluate", "Train on a benchmark's training part and measure accuracy");
  evaluate->add_option("protocol", options->protocol, "ml-1m-ncf, ml-1m-sasrec or leave-last-out")
      ->required();
  evaluate->add_option("--data", options->data, "Folder of the benchmark; for leave-last-out a file")
      ->required();
  evaluate->add_option("--out", options->out, "Keep the model in this folder");
  add_shared_options(*evaluate, *options);
  context.command(*evaluate, [&context, options] {
    auto arguments = shared_arguments(context, *options);
    arguments.insert(arguments.begin(), {"evaluate", options->protocol, "--data", options->data});
    return become_trainer(context, std::move(arguments));
  });

  auto* fit = app.add_command("fit", "Train on a file of interactions, without a fleet");
  fit->add_option("--data", options->data, "File of interactions: user item [time] a line")->required();
  fit->add_option("--out", options->out, "Folder for the model")->required();
  add_shared_options(*fit, *options);
  context.command(*fit, [&context, options] {
    auto arguments = shared_arguments(context, *options);
    arguments.insert(arguments.begin(), {"fit", "--data", options->data});
    return become_trainer(context, std::move(arguments));
  });
}

} // namespace troupe::cli
