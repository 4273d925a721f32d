#include "services/trainer/worker/worker.hpp"

#include "common/command_line/command_line.hpp"
#include "common/log/log.hpp"
#include "common/tensor/blas_kernels.hpp"

#include <boost/json/serialize.hpp>
#include <signal.h>

#include <cstdio>
#include <exception>
#include <iostream>

namespace {

constexpr int exit_failed = 1;
constexpr int exit_bad_input = 2;

std::atomic<bool> stop_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void say(const boost::json::object& line) {
  auto text = boost::json::serialize(line) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

bool is_bad_input(troupe::ec code) {
  using troupe::ec;
  return code == ec::invalid_argument || code == ec::not_found || code == ec::unsupported_version;
}

int run(int argc, char** argv) {
  using namespace troupe;
  trainer::worker_options options;
  command_line::program app{
      "troupe-trainer-worker",
      "One rank of a training run. The trainer starts it and reads the JSON lines on its output."};
  app.add_option("--config", options.config, "TOML: what to train; `troupe-train keys` lists the keys")
      ->required();
  app.add_option("--data", options.data,
                 "Interactions: Parquet, or text with user item [time] a line. For a DCN the folder of a "
                 "training set")
      ->required();
  app.add_option("--out", options.out, "Folder of the run")->required();
  app.add_option("--rank", options.rank, "Which of the ranks this is");
  app.add_option("--world", options.world, "Ranks that train together")->check(command_line::between(1, 64));
  app.add_option("--rendezvous", options.rendezvous, "File through which the ranks find one another");
  app.add_flag("--resume", options.resume, "Go on from the last checkpoint, where there is one");
  if (auto end = app.parse(argc, argv))
    return *end;
  auto blas = tensor::choose_blas_kernels(argv, trainer::threads_of(options));
  log::start({fmt::format("worker/{}", options.rank)});
  log::info("blas-kernels", "OpenBLAS runs its {} kernels ({}) on {} threads",
            blas.kernels.empty() ? "own choice of" : blas.kernels,
            blas.by_user ? "set by the user" : "chosen by cpuid", blas.threads);
  struct sigaction on_stop {};
  on_stop.sa_handler = [](int) { stop_wanted = true; };
  ::sigaction(SIGTERM, &on_stop, nullptr);
  ::sigaction(SIGINT, &on_stop, nullptr);
  auto done = trainer::run_worker(options, stop_wanted, say);
  log::flush();
  if (done) {
    say(*done);
    return 0;
  }
  if (done.error().code == ec::canceled && stop_wanted) {
    say({{"stopped", true}});
    return 0;
  }
  std::cerr << "troupe-trainer-worker: " << render(done.error()) << '\n';
  return is_bad_input(done.error().code) ? exit_bad_input : exit_failed;
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& err) {
    std::cerr << "troupe-trainer-worker: internal: " << err.what() << '\n';
    return exit_failed;
  }
}
