#include "services/trainer/train/command.hpp"

#include "services/trainer/engine/neural/fit.hpp"
#include "services/trainer/engine/neural/tasks.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include "common/log/log.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>

namespace troupe::trainer {

namespace {

constexpr std::array<std::uint32_t, 5> cutoffs{1, 5, 10, 20, 100};

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point begun) {
  return std::chrono::duration<double>(clock::now() - begun).count();
}

/// One line on a terminal that is written over itself.
class progress_line {
public:
  explicit progress_line(bool shown) : shown_{shown} {}
  ~progress_line() {
    if (used_)
      fmt::print(stderr, "\r\033[K");
  }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  bool show(const progress& now) {
    auto at = clock::now();
    if (!shown_ || (at < next_ && now.step != now.steps))
      return true;
    next_ = at + std::chrono::milliseconds{250};
    constexpr std::uint64_t width = 24;
    auto filled = now.steps == 0 ? 0 : std::min(width, width * now.step / now.steps);
    auto left = now.step == 0 ? 0
                              : seconds_since(begun_) / static_cast<double>(now.step) *
                                    static_cast<double>(now.steps - std::min(now.step, now.steps));
    fmt::print(stderr, "\r{} [{}{}] {}/{}", now.stage, std::string(filled, '='),
               std::string(width - filled, ' '), now.step, now.steps);
    if (now.loss != 0)
      fmt::print(stderr, "  loss {:.4f}  lr {:.2g}", now.loss, now.learning_rate);
    if (now.gradient_norm != 0)
      fmt::print(stderr, "  gradient {:.3g}", now.gradient_norm);
    fmt::print(stderr, "  {:.0f} samples/s  {:.0f} s left \033[K", now.samples_per_second, left);
    std::fflush(stderr);
    used_ = true;
    return true;
  }

private:
  bool shown_;
  bool used_ = false;
  clock::time_point begun_ = clock::now();
  clock::time_point next_{};
};

void say_kernels(const tensor::blas_setting& blas) {
  log::info("blas-kernels", "OpenBLAS runs its {} kernels ({}) on {} threads",
            blas.kernels.empty() ? "own choice of" : blas.kernels,
            blas.by_user ? "set by the user" : "chosen by cpuid", blas.threads);
}

expected<neural::fitted> train(const command_options& options, const train_config& config,
                               const interactions& data, std::span<const ranking_case> validation) {
  progress_line line{!options.quiet && ::isatty(STDERR_FILENO) == 1};
  neural::fit_setting fit_options;
  fit_options.threads = config.threads;
  return neural::fit(config, data, validation, fit_options,
                     [&](const progress& now) { return line.show(now); });
}

} // namespace

expected<train_config> read_options(const command_options& options) {
  config_section section{"the command line", {}};
  if (!options.config_file.empty()) {
    TROUPE_TRY(read, read_config(options.config_file));
    section = std::move(read);
  }
  for (auto& setting : options.settings)
    TROUPE_CHECK(section.set(setting));
  if (!options.model.empty())
    section.values.insert_or_assign("model", options.model);
  TROUPE_TRY(config, load_config<train_config>(section));
  if (options.threads > 0)
    config.threads = options.threads;
  if (config.threads == 0)
    config.threads = std::max(1U, std::thread::hardware_concurrency());
  return config;
}

std::string help_on_keys() {
  train_config config;
  config_keys keys;
  config.bind(keys);
  return keys.help();
}

expected<void> run_evaluate(const command_options& options, const train_config& config,
                            const tensor::blas_setting& blas) {
  log::start({"troupe-train", log::level::info, 20, true});
  say_kernels(blas);
  auto begun = clock::now();
  TROUPE_TRY(data, load_benchmark(options.protocol, options.data));
  if (data.test.empty())
    return fail(ec::invalid_argument, "there is nothing to measure a model by in {}: no user has three items",
                options.data.string());
  auto loading = seconds_since(begun);
  begun = clock::now();
  TROUPE_TRY(trained, train(options, config, data.train, data.validation));
  auto fitting = seconds_since(begun);
  begun = clock::now();
  auto model = std::make_shared<trained_model>(std::move(trained.model));
  TROUPE_TRY(asked, neural::open_scorer(model));
  TROUPE_TRY(metrics, evaluate(*asked, data.test, cutoffs, config.threads));
  auto evaluating = seconds_since(begun);
  model->metrics = metrics;
  std::string hash;
  if (!options.out.empty()) {
    TROUPE_TRY(saved, save_model(*model, options.out));
    hash = saved;
  }
  if (options.json) {
    std::string text;
    for (auto& [name, value] : metrics)
      text += fmt::format("{}\"{}\":{}", text.empty() ? "" : ",", name, value);
    fmt::print(
        R"({{"protocol":"{}","model":"{}","config":{},"cases":{},"metrics":{{{}}},)"
        R"("seconds":{{"loading":{:.3f},"fitting":{:.3f},"evaluating":{:.3f}}},"weights_sha256":"{}"}})"
        "\n",
        data.protocol, model->kind, model->config, data.test.size(), text, loading, fitting, evaluating,
        hash);
    return {};
  }
  fmt::print("{} on {}: {} interactions, {} users, {} items, {} questions\n", model->kind, data.protocol,
             data.train.size(), data.train.users.size(), data.train.items.size(), data.test.size());
  fmt::print("  HR@10 {:.4f}  NDCG@10 {:.4f}  MRR {:.4f}  HR@5 {:.4f}  HR@20 {:.4f}  HR@100 {:.4f}\n",
             metrics["hr_at_10"], metrics["ndcg_at_10"], metrics["mrr"], metrics["hr_at_5"],
             metrics["hr_at_20"], metrics["hr_at_100"]);
  fmt::print("  loading {:.1f} s, fitting {:.1f} s, evaluating {:.1f} s\n", loading, fitting, evaluating);
  if (!hash.empty())
    fmt::print("  {} (weights {})\n", options.out.string(), hash);
  return {};
}

expected<void> run_fit(const command_options& options, const train_config& config,
                       const tensor::blas_setting& blas) {
  if (options.out.empty())
    return fail(ec::invalid_argument, "say with --out where the model goes");
  log::start({"troupe-train", log::level::info, 20, true});
  say_kernels(blas);
  TROUPE_TRY(data, read_interactions(options.data));
  auto begun = clock::now();
  TROUPE_TRY(trained, train(options, config, data, {}));
  auto& model = trained.model;
  TROUPE_TRY(hash, save_model(model, options.out));
  if (options.json)
    fmt::print(R"({{"model":"{}","seconds":{:.3f},"weights_sha256":"{}"}})"
               "\n",
               model.kind, seconds_since(begun), hash);
  else
    fmt::print("{} of {} interactions in {:.1f} s: {} (weights {})\n", model.kind, data.size(),
               seconds_since(begun), options.out.string(), hash);
  return {};
}

} // namespace troupe::trainer
