#include "services/trainer/train/command.hpp"

#include "common/command_line/command_line.hpp"
#include "common/command_line/exit_codes.hpp"
#include "common/tensor/blas_kernels.hpp"

#include <exception>
#include <iostream>

namespace {

int run(int argc, char** argv) {
  using namespace troupe;
  trainer::command_options options;
  command_line::program app{"troupe-train",
                            "Trains and evaluates models; `troupe fit` and `troupe evaluate` become it."};
  app.require_command();
  app.options_anywhere();
  app.add_option("--config", options.config_file, "TOML file; `troupe-train keys` lists its keys");
  app.add_option("--set", options.settings, "key=value over the file");
  app.add_option("--model", options.model,
                 "popularity, item_knn, ease, ials, bpr, sasrec or two_tower, over the file");
  app.add_option("--threads", options.threads, "Of this process, over the file; 0: as the file says");
  app.add_option("--out", options.out, "Folder for the model");
  app.add_flag("--json", options.json, "Print JSON");
  app.add_flag("--quiet", options.quiet, "No progress line");
  auto* evaluate = app.add_command("evaluate", "Train on a benchmark's training part and ask its questions");
  evaluate->add_option("protocol", options.protocol, "ml-1m-ncf, ml-1m-sasrec or leave-last-out")->required();
  evaluate->add_option("--data", options.data, "Folder of the benchmark; for leave-last-out a file")
      ->required();
  auto* fit = app.add_command("fit", "Train on a file of interactions and write the model");
  fit->add_option("--data", options.data, "File of interactions: user item [time] a line")->required();
  auto* keys = app.add_command("keys", "List the keys of a configuration");
  if (auto end = app.parse(argc, argv))
    return *end;
  if (keys->given()) {
    std::cout << trainer::help_on_keys();
    return 0;
  }
  auto config = trainer::read_options(options);
  expected<void> done;
  if (config) {
    auto blas = tensor::choose_blas_kernels(argv, config->threads);
    done = evaluate->given() ? trainer::run_evaluate(options, *config, blas)
                             : trainer::run_fit(options, *config, blas);
  } else {
    done = unexpected<error>{config.error()};
  }
  if (done)
    return 0;
  std::cerr << "troupe-train: " << render(done.error()) << '\n';
  return done.error().code == ec::invalid_argument ? exit_usage : exit_failed;
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& err) {
    std::cerr << "troupe-train: internal: " << err.what() << '\n';
    return troupe::exit_failed;
  }
}
