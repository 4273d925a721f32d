#include "services/trainer/worker/worker.hpp"

#include "services/trainer/engine/neural/fit.hpp"
#include "services/trainer/engine/neural/tasks.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"
#include "services/trainer/worker/interactions_file.hpp"
#include "services/trainer/worker/production.hpp"
#include "services/trainer/worker/train_on_rows.hpp"

#include "common/log/log.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <utility>

namespace troupe::trainer {

namespace json = boost::json;
using clock = std::chrono::steady_clock;

namespace {

constexpr std::array<std::uint32_t, 4> cutoffs{5, 10, 20, 100};
constexpr auto say_every = std::chrono::milliseconds{100};

/// Threads of a rank: what the configuration says, or this machine's divided by its ranks.
unsigned threads_for(const train_config& config, std::uint32_t world) {
  auto processors = std::max(1U, std::thread::hardware_concurrency());
  return config.threads > 0 ? config.threads : std::max(1U, processors / std::max(1U, world));
}

/// Turns the progress of the parts of a run into lines, not too many of them.
class speaker {
public:
  speaker(const std::atomic<bool>& stop, const std::function<void(const json::object&)>& say)
      : stop_{stop}, say_{say} {}

  /// Fits that come, so that steps go on counting from one to the next.
  void fits(std::uint32_t count) { fits_ = count; }
  void next_fit() {
    done_ += std::exchange(last_, 0);
    --fits_;
  }

  bool operator()(const progress& now) {
    auto at = clock::now();
    if (now.stage == "fitting")
      last_ = now.step;
    if (at >= next_ || now.stage != stage_ || (now.step == now.steps && now.step != 0)) {
      next_ = at + say_every;
      stage_ = now.stage;
      json::object line{{"stage", now.stage}};
      if (now.stage == "fitting") {
        line["step"] = done_ + now.step;
        line["steps_total"] = done_ + fits_ * now.steps;
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
  std::uint64_t fits_ = 1; ///< This one and those to come.
  std::uint64_t done_ = 0; ///< Steps of the fits before this one.
  std::uint64_t last_ = 0;
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

/// What is known of a run and is no property of its model.
struct run_facts {
  measured_production production;
  std::string not_measured;      ///< Why the model has no metrics; empty where it has some.
  std::optional<double> overlap; ///< Share of the travelling of gradients that the backward pass hid.
};

/// One rank's run: what its parts share.
class run {
public:
  run(const worker_options& options, const train_config& config, neural::process_group& group,
      unsigned threads, speaker& speak)
      : options_{options}, config_{config}, group_{group}, threads_{threads}, speak_{speak}, sink_{std::ref(
                                                                                                 speak)} {}

  expected<std::map<std::string, double>> measure(const interactions& data) {
    auto split = leave_last_out(data, config_.evaluation.split);
    split.test = sample(std::move(split.test), config_.evaluation.users, config_.seed);
    split.validation = sample(std::move(split.validation), config_.evaluation.users, config_.seed);
    if (split.test.empty())
      return nothing_measured("no user has three items");
    std::vector<bool> known(split.train.items.size());
    for (auto item : split.train.item)
      known[item] = true;
    if (std::ranges::none_of(split.test, [&](auto& each) { return known[each.positive]; }))
      return nothing_measured(fmt::format(
          "none of the {} test questions is for an item that the rest of the data has", split.test.size()));
    split_ = config_.evaluation.split;
    TROUPE_TRY(list, read_production(options_.out / "production.json", config_));
    auto networks = std::ranges::count_if(
        list, [](auto& each) { return each.config && neural::is_neural(each.config->model); });
    speak_.fits(2 + static_cast<std::uint32_t>(networks));
    TROUPE_TRY(got, fit("measured", config_, split.train, split.validation, 0));
    epochs_ = got.loop.epochs;
    TROUPE_TRY(metrics, ask(std::move(got.model), split.test));
    if (metrics.at("tied") == 1) {
      speak_.fits(2);
      speak_.next_fit();
      return nothing_measured(fmt::format(
          "in each of the {} test questions the model gives all items the same score", split.test.size()));
    }
    metrics["questions"] = static_cast<double>(split.test.size());
    if (config_.model != "popularity") {
      auto plain = config_;
      plain.model = "popularity";
      TROUPE_TRY(beside, measured_beside(plain, split));
      for (auto* metric : {"hr_at_10", "ndcg_at_10"})
        metrics[fmt::format("popularity_{}", metric)] = beside.at(metric);
    }
    for (std::size_t i = 0; i < list.size(); ++i)
      TROUPE_CHECK(measure_production(list[i], fmt::format("production/{}", i), split));
    speak_.next_fit();
    return metrics;
  }

  /// On everything; a network for as many epochs as were best where it was measured.
  expected<trained_model> last_fit(const interactions& data) {
    TROUPE_TRY(got, fit("last", config_, data, {}, epochs_));
    if (group_.world() > 1)
      facts_.overlap = got.loop.overlap.share();
    return std::move(got.model);
  }

  const std::string& split() const noexcept { return split_; }

  /// No metrics, and why.
  std::map<std::string, double> nothing_measured(std::string why) {
    log::warn("not-evaluated", "worker cannot measure the model: {}", why);
    facts_.not_measured = std::move(why);
    return {};
  }

  const run_facts& facts() const noexcept { return facts_; }

private:
  expected<neural::fitted> fit(const std::string& name, const train_config& config, const interactions& data,
                               std::span<const ranking_case> validation, std::uint64_t epochs) {
    neural::fit_setting fit_options;
    fit_options.threads = threads_;
    fit_options.group = neural::is_neural(config.model) ? &group_ : nullptr;
    fit_options.checkpoints = options_.out / "checkpoints" / name;
    fit_options.resume = options_.resume;
    fit_options.epochs = epochs;
    return neural::fit(config, data, validation, fit_options, sink_);
  }

  /// Another configuration, of a classic model, on the same part of the data, asked the same questions.
  expected<std::map<std::string, double>> measured_beside(const train_config& config,
                                                          const benchmark& split) {
    neural::fit_setting fit_options;
    fit_options.threads = threads_;
    auto heard = [this](progress now) {
      now.stage = "comparing"; // No step of the fits that are counted.
      return speak_(now);
    };
    TROUPE_TRY(other, neural::fit(config, split.train, {}, fit_options, heard));
    return ask(std::move(other.model), split.test);
  }

  /// A network is trained as ours was: by all ranks, with checkpoints in the folder `name`.
  expected<void> measure_production(const in_production& each, const std::string& name,
                                    const benchmark& split) {
    if (!each.config) {
      facts_.production.leave_out(each.model, each.config.error().text);
      return {};
    }
    auto measured = [&]() -> expected<std::map<std::string, double>> {
      if (!neural::is_neural(each.config->model))
        return measured_beside(*each.config, split);
      speak_.next_fit();
      TROUPE_TRY(got, fit(name, *each.config, split.train, split.validation, 0));
      return ask(std::move(got.model), split.test);
    }();
    if (!measured)
      return unexpected<error>{not_measured(each.model, std::move(measured).error())};
    facts_.production.add(each.model, std::move(*measured), "ndcg_at_10");
    return {};
  }

  /// Each rank asks its part of the cases.
  expected<std::map<std::string, double>> ask(trained_model model, std::span<const ranking_case> cases) {
    TROUPE_TRY(asked, neural::open_scorer(std::make_shared<const trained_model>(std::move(model))));
    auto begin = cases.size() * group_.rank() / group_.world();
    auto mine = cases.subspan(begin, cases.size() * (group_.rank() + 1) / group_.world() - begin);
    TROUPE_TRY(metrics, evaluate(*asked, mine, cutoffs, threads_, sink_));
    std::vector<double> sums;
    for (auto& [name, value] : metrics)
      sums.push_back(value * static_cast<double>(mine.size()));
    TROUPE_CHECK(group_.add_up(sums));
    auto sum = sums.begin();
    for (auto& [name, value] : metrics)
      value = *sum++ / static_cast<double>(cases.size());
    return metrics;
  }

  const worker_options& options_;
  const train_config& config_;
  neural::process_group& group_;
  unsigned threads_;
  speaker& speak_;
  progress_sink sink_;
  std::string split_ = "none";
  std::uint64_t epochs_ = 0;
  run_facts facts_;
};

/// Writes the model; gives what the last line says. The folder holds what another training on the same data
/// makes again, byte for byte.
expected<json::object> written(const trained_model& model, const run_facts& facts,
                               const std::filesystem::path& folder) {
  TROUPE_TRY(hash, save_model(model, folder));
  log::info("model-written", "worker wrote the {} model to {}, weights {}", model.kind, folder.string(),
            hash);
  auto metrics = model.metrics;
  facts.production.put_into(metrics);
  if (facts.overlap)
    metrics["gradient_overlap"] = *facts.overlap;
  json::object numbers;
  for (auto& [name, value] : metrics)
    numbers[name] = value;
  json::object line{{"done", true}, {"metrics", std::move(numbers)}, {"model", folder.string()}};
  if (!facts.not_measured.empty())
    line["not_measured"] = facts.not_measured;
  if (auto record = facts.production.record(); !record.empty())
    line["beside"] = json::object{{"production", std::move(record)}};
  return line;
}

/// A DCN learns from the rows of a training set, and so do those of production that are measured beside it.
expected<json::object> run_on_rows(const worker_options& options, const train_config& config,
                                   neural::process_group& group, unsigned threads, speaker& speak) {
  TROUPE_TRY(list, read_production(options.out / "production.json", config));
  auto others = std::ranges::count_if(list, [](auto& each) { return each.config.has_value(); });
  auto fits_again = config.dcn.test > 0 || config.dcn.validation > 0;
  speak.fits((fits_again ? 2 : 1) + static_cast<std::uint32_t>(others));
  auto checkpoints = options.out / "checkpoints";
  rows_setting setting{threads, &group, checkpoints, options.resume, [&] { speak.next_fit(); }, options.data};
  TROUPE_TRY(got, train_on_rows(config, setting, std::ref(speak)));
  run_facts facts;
  facts.not_measured = std::move(got.not_measured);
  if (group.world() > 1)
    facts.overlap = got.loop.overlap.share();
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& each = list[i];
    if (!each.config) {
      facts.production.leave_out(each.model, each.config.error().text);
      continue;
    }
    speak.next_fit();
    setting.checkpoints = checkpoints / "production" / std::to_string(i);
    auto measured = measure_on_rows(*each.config, setting, std::ref(speak));
    if (!measured)
      return unexpected<error>{not_measured(each.model, std::move(measured).error())};
    facts.production.add(each.model, std::move(*measured), "auc");
  }
  if (options.rank != 0)
    return json::object{{"done", true}};
  return written(got.model, facts, options.out / "model");
}

} // namespace

unsigned threads_of(const worker_options& options) {
  // What is wrong with it `run_worker` says.
  auto section = read_config(options.config);
  auto config = section ? load_config<train_config>(*section) : expected<train_config>{train_config{}};
  return threads_for(config ? *config : train_config{}, options.world);
}

expected<json::object> run_worker(const worker_options& options, const std::atomic<bool>& stop,
                                  const std::function<void(const json::object&)>& say) {
  speaker speak{stop, say};
  speak({"loading"});
  TROUPE_TRY(section, read_config(options.config));
  TROUPE_TRY(config, load_config<train_config>(section));
  auto on_rows = config.model == "dcn";
  auto network = on_rows || neural::is_neural(config.model);
  if (options.world > 1 && !network)
    return fail(ec::invalid_argument,
                "run.ranks = {}, but {} is trained by one process; it uses all its threads", options.world,
                config.model);
  auto threads = threads_for(config, options.world);
  interactions data;
  if (!on_rows) {
    TROUPE_TRY(read, read_interactions_file(options.data, std::ref(speak)));
    data = std::move(read);
    log::info("data-loaded", "worker read {} interactions of {} users with {} items", data.size(),
              data.users.size(), data.items.size());
  }
  neural::group_settings join{options.rank, options.world, options.rendezvous.string()};
  if (network) {
    join.backend = neural::loop_of(config).backend;
    join.timeout = neural::loop_of(config).group_timeout;
    join.device = config.device;
  }
  TROUPE_TRY(group, neural::join_group(join));
  if (on_rows)
    return run_on_rows(options, config, *group, threads, speak);
  run work{options, config, *group, threads, speak};
  std::map<std::string, double> metrics;
  if (config.evaluation.split != "none") {
    TROUPE_TRY(measured, work.measure(data));
    metrics = std::move(measured);
  } else {
    work.nothing_measured("evaluation.split is none");
  }
  TROUPE_TRY(model, work.last_fit(data));
  if (options.rank != 0)
    return json::object{{"done", true}};
  model.metrics = metrics;
  model.data = fmt::format(R"({{"sha256":"{}","interactions":{},"split":"{}"}})", data.digest, data.size(),
                           work.split());
  return written(model, work.facts(), options.out / "model");
}

} // namespace troupe::trainer
