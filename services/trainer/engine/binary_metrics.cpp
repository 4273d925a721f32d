#include "services/trainer/engine/binary_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace troupe::trainer {

std::map<std::string, double> binary_metrics(std::span<const float> logits, std::span<const float> labels) {
  auto count = logits.size();
  if (count == 0)
    return {};
  double ones = 0, probability = 0, loss = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto x = static_cast<double>(logits[i]);
    ones += labels[i];
    probability += 1 / (1 + std::exp(-x));
    // -y log p - (1 - y) log(1 - p), without large exponentials.
    loss += std::max(x, 0.0) - x * labels[i] + std::log1p(std::exp(-std::abs(x)));
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] < logits[b]; });
  double below = 0, won = 0; // Zeros so far; pairs that stand in the right order.
  for (std::size_t i = 0; i < count;) {
    double zeros_here = 0, ones_here = 0;
    auto value = logits[order[i]];
    for (; i < count && logits[order[i]] == value; ++i)
      (labels[order[i]] > 0.5f ? ones_here : zeros_here) += 1;
    won += ones_here * (below + zeros_here / 2);
    below += zeros_here;
  }
  auto n = static_cast<double>(count);
  std::map<std::string, double> out{{"log_loss", loss / n}, {"rate", ones / n}};
  if (auto pairs = ones * (n - ones); pairs > 0)
    out["auc"] = won / pairs;
  if (ones > 0)
    out["calibration"] = probability / ones;
  return out;
}

} // namespace troupe::trainer
