#include "services/trainer/engine/loop_config.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace troupe::trainer {

void loop_config::bind(config_keys& keys, const std::string& table) {
  using namespace std::chrono_literals;
  auto add = [&](const char* name, auto& value, const char* meaning, bounds limits, const char* unit = "") {
    keys.add(table + "." + name, value, meaning, std::move(limits), unit);
  };
  add("batch", batch, "Samples of one step, on all ranks together.", between(1, 1 << 20));
  add("accumulate", accumulate, "Passes into which a rank divides its part of a step, to save memory.",
      between(1, 1024));
  add("epochs", epochs, "Passes over the samples, at most.", between(1, 100'000));
  add("learning_rate", learning_rate, "The highest of the schedule.", between(1e-9, 10));
  add("schedule", schedule, "How the learning rate falls after the warm-up.",
      one_of({"constant", "linear", "cosine"}));
  add("warmup", warmup, "Share of the steps in which the learning rate rises.", between(0, 1));
  add("last_learning_rate", last_learning_rate, "Where the schedule ends, as a share of learning_rate.",
      between(0, 1));
  add("weight_decay", weight_decay, "Of AdamW, on matrices only.", between(0, 10));
  add("clip", clip, "Bound of the gradient's norm over all parameters; 0: none.", between(0, 1e6));
  add("precision", precision, "bf16: products of matrices in bfloat16, weights stay in fp32.",
      one_of({"fp32", "bf16"}));
  add("validate_every", validate_every, "Epochs between looks at the questions held back.",
      between(1, 10'000));
  add("patience", patience, "Looks without a gain until training stops; 0: all epochs.", between(0, 10'000));
  add("bucket_bytes", bucket_bytes, "Gradients that travel between ranks together.", at_least(1024), "bytes");
  add("backend", backend, "What carries gradients between ranks; nccl where libtorch has it.",
      one_of({"gloo", "nccl"}));
  add("group_timeout", group_timeout, "A rank that waits longer for its peers gives up.", between(1s, 1h));
  add("checkpoint_every", checkpoint_every, "Time between checkpoints.", between(1s, 24h));
}

double loop_config::rate_at(std::uint64_t step, std::uint64_t steps) const {
  auto rising = warmup * static_cast<double>(steps);
  auto at = static_cast<double>(step);
  if (at < rising)
    return learning_rate * (at + 1) / (rising + 1);
  if (schedule == "constant")
    return learning_rate;
  auto part = std::min(1.0, (at - rising) / std::max(1.0, static_cast<double>(steps) - rising));
  auto left = schedule == "linear" ? 1 - part : (1 + std::cos(std::numbers::pi * part)) / 2;
  return learning_rate * (last_learning_rate + (1 - last_learning_rate) * left);
}

} // namespace troupe::trainer
