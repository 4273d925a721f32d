#include "services/trainer/engine/neural/loop.hpp"

#include "services/trainer/engine/neural/adam.hpp"
#include "services/trainer/engine/neural/autocast.hpp"
#include "services/trainer/engine/neural/checkpoint.hpp"
#include "services/trainer/engine/neural/sampler.hpp"

#include "common/core/hash.hpp"
#include "common/log/log.hpp"

#include <ATen/Context.h>
#include <malloc.h>
#include <torch/utils.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <fstream>

namespace troupe::trainer::neural {

namespace {

using clock = std::chrono::steady_clock;

std::uint64_t resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Every step makes and frees the same tensors of some megabytes. By default glibc gives each back to the
/// system, and a good part of a step goes into page faults to get it again. For the whole process.
void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20); // the most it takes
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

template <class Number>
Number number_in(const checkpoint& from, const std::string& name) {
  Number out{};
  if (auto found = from.facts.find(name); found != from.facts.end())
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), out);
  return out;
}

class trainer {
public:
  trainer(task& what, process_group& group, const loop_setting& setting, const progress_sink& sink)
      : task_{what}, group_{group}, setting_{setting}, config_{setting.config}, sink_{sink},
        names_{names_of(what)}, parameters_{parameters_of(what)},
        gradients_{parameters_, group, config_.bucket_bytes}, adam_{parameters_, config_.weight_decay},
        sampler_{what.samples(), config_.batch, setting.seed}, checkpoints_{setting.checkpoints} {}

  expected<loop_result> run() {
    if (setting_.resume && !setting_.checkpoints.empty())
      TROUPE_CHECK(restore());
    TROUPE_CHECK(begin_alike());
    TROUPE_CHECK(within_memory());
    steps_ = sampler_.steps_per_epoch() * config_.epochs;
    begun_ = last_checkpoint_ = clock::now();
    auto first = step_;
    while (step_ < steps_ && !stopped_early()) {
      TROUPE_CHECK(one_step());
      if (step_ % sampler_.steps_per_epoch() == 0)
        TROUPE_CHECK(end_epoch());
      TROUPE_CHECK(after_step());
    }
    if (step_ > first)
      TROUPE_CHECK(save());
    result_.steps = step_;
    result_.epochs = best_.empty() ? step_ / sampler_.steps_per_epoch() : best_epoch_;
    if (!best_.empty()) {
      result_.validated = best_figure_;
      put_back(best_);
    }
    result_.overlap = gradients_.overlap();
    return std::move(result_);
  }

private:
  static std::vector<std::string> names_of(task& what) {
    std::vector<std::string> out;
    for (auto& each : what.module().named_parameters())
      if (each.value().requires_grad())
        out.push_back(each.key());
    return out;
  }
  static std::vector<torch::Tensor> parameters_of(task& what) {
    std::vector<torch::Tensor> out;
    for (auto& each : what.module().named_parameters())
      if (each.value().requires_grad())
        out.push_back(each.value());
    return out;
  }

  /// Before the first step: what is held, what validation keeps of the best weights, and what a pass takes.
  /// `after_step` looks at what is really there. Memory of a GPU is not counted.
  expected<void> within_memory() const {
    if (setting_.memory_cap == 0 || !group_.device().is_cpu())
      return {};
    double best = 0;
    for (auto& each : parameters_)
      best += task_.validation_cases() > 0 ? static_cast<double>(each.nbytes()) : 0;
    auto all = std::min<std::uint64_t>(config_.batch, task_.samples());
    auto parts = static_cast<std::uint64_t>(group_.world()) * config_.accumulate;
    auto pass = task_.pass_bytes((all + parts - 1) / parts, all);
    auto bytes = static_cast<double>(resident_bytes()) + best + pass;
    if (bytes > static_cast<double>(setting_.memory_cap))
      return fail(ec::invalid_argument,
                  "a step of {} samples takes {:.2f} GiB on rank {} ({:.2f} GiB of it in a pass), more than "
                  "memory_cap ({:.2f} GiB): lower batch, or raise accumulate or memory_cap",
                  all, bytes / 0x1p30, group_.rank(), pass / 0x1p30,
                  static_cast<double>(setting_.memory_cap) / 0x1p30);
    return {};
  }

  bool stopped_early() const { return config_.patience > 0 && stale_ >= config_.patience; }

  /// Ranks that begin with other weights, or at another step, would train nothing of use. No rank begins
  /// before all are here.
  expected<void> begin_alike() {
    auto hash = step_;
    for (auto& each : parameters_) {
      auto value = each.detach().to(torch::kCPU).contiguous();
      hash = hash64(byte_view{static_cast<const std::byte*>(value.data_ptr()), value.nbytes()}, hash);
    }
    auto mine = static_cast<double>(hash >> 42); // small enough for exact sums of squares
    std::array<double, 2> sums{mine, mine * mine};
    TROUPE_CHECK(group_.add_up(sums));
    auto world = static_cast<double>(group_.world());
    if (sums[0] != world * mine || sums[1] != world * mine * mine)
      return fail(ec::conflict, "the ranks begin with other weights or at another step: do they see the same "
                                "configuration, data and checkpoints?");
    return {};
  }

  expected<void> one_step() {
    auto all = sampler_.step(step_);
    auto mine = share(all, group_.rank(), group_.world());
    auto key = mix(setting_.seed, step_);
    auto weight = task_.weight(all);
    gradients_.clear();
    task_.module().train();
    double loss = 0;
    auto passes = std::min<std::uint64_t>(config_.accumulate, std::max<std::uint64_t>(1, mine.size()));
    for (std::uint64_t pass = 0; pass < passes && !mine.empty(); ++pass) {
      torch::Tensor part;
      {
        autocast reduced{config_.precision == "bf16", group_.device().type()};
        part = task_.loss({share(mine, pass, passes), all, key}) / weight;
      }
      if (pass + 1 == passes)
        gradients_.expect_last_pass();
      part.backward();
      loss += part.item<double>();
    }
    auto due = clock::now() - last_checkpoint_ >= config_.checkpoint_every && group_.rank() == 0;
    // What all ranks must know travels with the gradients: the loss, who wants to stop, whether to save.
    std::array<double, 3> figures{loss, stop_ ? 1.0 : 0.0, due ? 1.0 : 0.0};
    TROUPE_CHECK(gradients_.finish(figures));
    loss_ = figures[0];
    stop_all_ = figures[1] > 0;
    save_now_ = figures[2] > 0;
    norm_ = gradients_.norm();
    if (!std::isfinite(loss_) || !std::isfinite(norm_))
      return fail(
          ec::invalid_argument,
          "the training diverged at step {}: the loss is {}, the gradient's norm {}; lower the learning "
          "rate",
          step_, loss_, norm_);
    if (config_.clip > 0 && norm_ > config_.clip)
      gradients_.scale(config_.clip / norm_);
    rate_ = config_.rate_at(step_, steps_);
    adam_.step(rate_);
    result_.losses.push_back(loss_);
    samples_ += all.size();
    ++step_;
    return {};
  }

  expected<void> end_epoch() {
    auto epoch = step_ / sampler_.steps_per_epoch();
    auto cases = task_.validation_cases();
    if (cases == 0 || epoch % config_.validate_every != 0)
      return {};
    torch::NoGradGuard off;
    task_.module().eval();
    auto begin = cases * group_.rank() / group_.world();
    auto heard = [&](progress now) {
      now.stage = "validating";
      if (sink_ && !sink_(now))
        stop_ = true; // All ranks stop together, after the next step.
      return true;
    };
    TROUPE_TRY(part, task_.validate(begin, cases * (group_.rank() + 1) / group_.world(), heard));
    std::array<double, 1> sum{part};
    TROUPE_CHECK(group_.add_up(sum));
    auto figure = sum[0] / static_cast<double>(cases);
    if (best_.empty() || figure > best_figure_) {
      best_figure_ = figure;
      best_epoch_ = epoch;
      stale_ = 0;
      best_.clear();
      for (auto& each : parameters_)
        best_.push_back(each.detach().clone());
    } else {
      ++stale_;
    }
    if (group_.rank() == 0)
      log::info("validated", "epoch {} of {}: loss {:.4f}, validation {:.4f}, best {:.4f} of epoch {}", epoch,
                config_.epochs, loss_, figure, best_figure_, best_epoch_);
    return {};
  }

  expected<void> after_step() {
    if (setting_.memory_cap > 0 && step_ % 16 == 1)
      if (auto bytes = resident_bytes(); bytes > setting_.memory_cap)
        return fail(
            ec::invalid_argument,
            "rank {} holds {:.2f} GiB, more than memory_cap ({:.2f} GiB); accumulate more, or take a smaller "
            "batch",
            group_.rank(), static_cast<double>(bytes) / 0x1p30,
            static_cast<double>(setting_.memory_cap) / 0x1p30);
    if (save_now_ || stop_all_)
      TROUPE_CHECK(save());
    if (stop_all_)
      return fail(ec::canceled, "the training was stopped after {} of {} steps", step_, steps_);
    auto seconds = std::chrono::duration<double>(clock::now() - begun_).count();
    result_.samples_per_second = static_cast<double>(samples_) / std::max(seconds, 1e-9);
    if (sink_ && !sink_({"fitting", step_, steps_, loss_, rate_, norm_, result_.samples_per_second}))
      stop_ = true;
    return {};
  }

  expected<void> save() {
    last_checkpoint_ = clock::now();
    if (group_.rank() != 0 || setting_.checkpoints.empty())
      return {};
    checkpoint now;
    now.step = step_;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      now.tensors["weights." + names_[i]] = parameters_[i];
      now.tensors["first_moment." + names_[i]] = adam_.first_moments()[i];
      now.tensors["second_moment." + names_[i]] = adam_.second_moments()[i];
      if (!best_.empty())
        now.tensors["best." + names_[i]] = best_[i];
    }
    now.facts["identity"] = setting_.identity;
    now.facts["seed"] = std::to_string(setting_.seed);
    now.facts["optimiser_steps"] = std::to_string(adam_.steps());
    now.facts["best_epoch"] = std::to_string(best_epoch_);
    now.facts["best_figure"] = fmt::format("{}", best_figure_);
    now.facts["stale"] = std::to_string(stale_);
    now.facts["loss"] = fmt::format("{}", loss_);
    return checkpoints_.save(now);
  }

  expected<void> restore() {
    TROUPE_TRY(found, checkpoints_.load());
    if (!found)
      return {};
    auto& from = *found;
    if (from.facts["identity"] != setting_.identity ||
        number_in<std::uint64_t>(from, "seed") != setting_.seed)
      return fail(ec::conflict,
                  "the checkpoint in {} is of another configuration, seed or data: remove the folder",
                  setting_.checkpoints.string());
    torch::NoGradGuard off;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      for (auto [kind, to] : {std::pair{"weights.", &parameters_[i]},
                              {"first_moment.", &adam_.first_moments()[i]},
                              {"second_moment.", &adam_.second_moments()[i]}}) {
        auto at = from.tensors.find(kind + names_[i]);
        if (at == from.tensors.end() || at->second.sizes() != to->sizes())
          return fail(ec::corrupt, "the checkpoint in {} lacks {}{}", setting_.checkpoints.string(), kind,
                      names_[i]);
        to->copy_(at->second);
      }
    for (auto& name : names_)
      if (auto at = from.tensors.find("best." + name); at != from.tensors.end())
        best_.push_back(at->second.to(parameters_.front().device()));
    adam_.set_steps(number_in<std::uint64_t>(from, "optimiser_steps"));
    best_epoch_ = number_in<std::uint64_t>(from, "best_epoch");
    best_figure_ = number_in<double>(from, "best_figure");
    stale_ = number_in<std::uint32_t>(from, "stale");
    loss_ = number_in<double>(from, "loss");
    step_ = result_.resumed_at = from.step;
    if (group_.rank() == 0)
      log::info("resumed", "training goes on from step {}", step_);
    return {};
  }

  void put_back(const std::vector<torch::Tensor>& weights) {
    torch::NoGradGuard off;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      parameters_[i].copy_(weights[i]);
  }

  task& task_;
  process_group& group_;
  const loop_setting& setting_;
  const loop_config& config_;
  const progress_sink& sink_;
  std::vector<std::string> names_;
  std::vector<torch::Tensor> parameters_;
  gradients gradients_;
  adam adam_;
  sampler sampler_;
  checkpoint_folder checkpoints_;
  loop_result result_;
  std::uint64_t step_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t samples_ = 0;
  std::vector<torch::Tensor> best_;
  std::uint64_t best_epoch_ = 0;
  double best_figure_ = 0;
  std::uint32_t stale_ = 0;
  double loss_ = 0;
  double norm_ = 0;
  double rate_ = 0;
  bool stop_ = false;
  bool stop_all_ = false;
  bool save_now_ = false;
  clock::time_point begun_{};
  clock::time_point last_checkpoint_{};
};

} // namespace

expected<loop_result> train(task& what, process_group& group, const loop_setting& setting,
                            const progress_sink& sink) {
  if (what.samples() == 0)
    return fail(ec::invalid_argument, "there is nothing to train on: no sample can be made of these data");
  try {
    at::globalContext().setFlushDenormal(true);
    keep_freed_memory();
    what.module().to(group.device());
    if (std::error_code err; !setting.resume && group.rank() == 0)
      std::filesystem::remove_all(setting.checkpoints, err); // of a training that is not to go on
    return trainer{what, group, setting, sink}.run();
  } catch (const std::exception& err) {
    std::string why = err.what();
    return fail(ec::internal, "the network cannot be trained: {}", why.substr(0, why.find('\n')));
  }
}

} // namespace troupe::trainer::neural
