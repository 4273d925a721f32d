#include "services/trainer/worker/worker.hpp"

#include "services/trainer/engine/classic.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"
#include "services/trainer/worker/interactions_file.hpp"

#include "common/log/log.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <thread>

namespace troupe::trainer {

namespace json = boost::json;
using clock = std::chrono::steady_clock;

namespace {

constexpr std::array<std::uint32_t, 4> cutoffs{5, 10, 20, 100};
constexpr auto say_every = std::chrono::milliseconds{100};

/// Turns the progress of the parts of a run into lines, not too many of them.
class speaker {
public:
  speaker(const std::atomic<bool>& stop, const std::function<void(const json::object&)>& say)
      : stop_{stop}, say_{say} {}

  /// Fits that come, so that steps go on counting from one to the next.
  void fits(std::uint32_t count) { fits_ = count; }
  void next_fit() { ++fit_; }

  bool operator()(const progress& now) {
    auto at = clock::now();
    if (at >= next_ || now.stage != stage_ || now.step == now.steps) {
      next_ = at + say_every;
      stage_ = now.stage;
      json::object line{{"stage", now.stage}};
      if (now.stage == "fitting") {
        line["step"] = fit_ * now.steps + now.step;
        line["steps_total"] = fits_ * now.steps;
        auto put = [&](const char* name, double value) {
          if (std::isfinite(value))
            line[name] = value;
        };
        put("loss", now.loss);
        put("learning_rate", now.learning_rate);
        put("gradient_norm", now.gradient_norm);
        put("samples_per_second", now.samples_per_second);
      } else {
        line["step"] = now.step;
        line["steps_total"] = now.steps;
      }
      say_(line);
    }
    return !stop_;
  }

private:
  const std::atomic<bool>& stop_;
  const std::function<void(const json::object&)>& say_;
  std::string stage_;
  clock::time_point next_{};
  std::uint64_t fits_ = 1;
  std::uint64_t fit_ = 0;
};

/// So many of the cases, drawn by the seed, in their order.
std::vector<ranking_case> sample(std::vector<ranking_case> cases, std::uint64_t most, std::uint64_t seed) {
  if (cases.size() <= most)
    return cases;
  random_source random{seed};
  std::vector<ranking_case> out;
  for (std::uint64_t i = 0; i < cases.size() && out.size() < most; ++i)
    if (random.below(cases.size() - i) < most - out.size())
      out.push_back(std::move(cases[i]));
  return out;
}

expected<std::map<std::string, double>> ask(trained_model model, std::span<const ranking_case> cases,
                                            unsigned threads, const progress_sink& sink) {
  TROUPE_TRY(asked, make_scorer(std::make_shared<const trained_model>(std::move(model))));
  return evaluate(*asked, cases, cutoffs, threads, sink);
}

/// Accuracy of the configuration on what is held back, and popularity's beside it.
expected<std::map<std::string, double>> measure(const train_config& config, const benchmark& split,
                                                unsigned threads, const progress_sink& sink) {
  TROUPE_TRY(model, fit_classic(config, split.train, threads, sink));
  TROUPE_TRY(metrics, ask(std::move(model), split.test, threads, sink));
  if (config.model != "popularity") {
    auto plain = config;
    plain.model = "popularity";
    TROUPE_TRY(popular, fit_classic(plain, split.train, threads, {}));
    TROUPE_TRY(beside, ask(std::move(popular), split.test, threads, sink));
    for (auto* name : {"hr_at_10", "ndcg_at_10"})
      metrics[fmt::format("popularity_{}", name)] = beside.at(name);
  }
  return metrics;
}

} // namespace

expected<json::object> run_worker(const worker_options& options, const std::atomic<bool>& stop,
                                  const std::function<void(const json::object&)>& say) {
  speaker speak{stop, say};
  speak({"loading"});
  TROUPE_TRY(section, read_config(options.config));
  TROUPE_TRY(config, load_config<train_config>(section));
  if (options.world > 1)
    return fail(ec::invalid_argument,
                "run.ranks = {}, but {} is trained by one process; it uses all its threads", options.world,
                config.model);
  auto threads = config.threads > 0 ? config.threads : std::max(1U, std::thread::hardware_concurrency());
  TROUPE_TRY(data, read_interactions_file(options.data));
  log::info("data-loaded", "worker read {} interactions of {} users with {} items", data.size(),
            data.users.size(), data.items.size());
  progress_sink sink = std::ref(speak);
  std::map<std::string, double> metrics;
  std::string split_name = "none";
  if (config.evaluation.split != "none") {
    auto split = leave_last_out(data, config.evaluation.split);
    split.test = sample(std::move(split.test), config.evaluation.users, config.seed);
    if (split.test.empty()) {
      log::warn("not-evaluated", "worker cannot measure the model: no user has three items");
    } else {
      split_name = config.evaluation.split;
      speak.fits(2);
      TROUPE_TRY(measured, measure(config, split, threads, sink));
      metrics = std::move(measured);
      speak.next_fit();
    }
  }
  TROUPE_TRY(model, fit_classic(config, data, threads, sink));
  model.metrics = metrics;
  model.data = fmt::format(R"({{"sha256":"{}","interactions":{},"split":"{}"}})", data.digest, data.size(),
                           split_name);
  auto folder = options.out / "model";
  TROUPE_TRY(hash, save_model(model, folder));
  log::info("model-written", "worker wrote the {} model to {}, weights {}", model.kind, folder.string(),
            hash);
  json::object numbers;
  for (auto& [name, value] : metrics)
    numbers[name] = value;
  return json::object{{"done", true}, {"metrics", std::move(numbers)}, {"model", folder.string()}};
}

} // namespace troupe::trainer
