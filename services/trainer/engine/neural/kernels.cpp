#include "services/trainer/engine/neural/kernels.hpp"

#include "services/trainer/engine/neural/sampler.hpp"
#include "services/trainer/engine/vectorised.hpp"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/utils.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace troupe::trainer::neural {

namespace autograd = torch::autograd;

namespace loops {

/// e^x to about two units in the last place, for x <= 0 and also above it; 0 below -87 (Cephes' expf).
inline float exponential(float x) noexcept {
  x = std::max(x, -87.0f);
  float whole = std::floor(x * 1.44269504f + 0.5f);
  x -= whole * 0.693359375f;
  x -= whole * -2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * x * x + x + 1.0f;
  auto power = static_cast<std::int32_t>(whole) + 127;
  return y * std::bit_cast<float>(power << 23);
}

/// Scores become softmax probabilities; gives log(sum of e^score).
TROUPE_VECTORISED float softmax_row(float* row, std::int64_t count) {
  float most = row[0];
#pragma omp simd reduction(max : most)
  for (std::int64_t i = 0; i < count; ++i)
    most = std::max(most, row[i]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) {
    row[i] = exponential(row[i] - most);
    sum += row[i];
  }
  float by = 1 / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i)
    row[i] *= by;
  return most + std::log(sum);
}

/// Numbers of a row become 0 where its random number is below `bound`, `keep` elsewhere. The numbers are
/// MurmurHash3's finalizer of row and column.
TROUPE_VECTORISED void drop_row(float* row, std::int64_t width, std::uint64_t key, std::uint32_t bound,
                                float keep) {
  auto low = static_cast<std::uint32_t>(key);
  auto high = static_cast<std::uint32_t>(key >> 32);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    std::uint32_t x = low ^ (static_cast<std::uint32_t>(i) * 0x9e3779b9U);
    x ^= x >> 16;
    x *= 0x85ebca6bU;
    x ^= high;
    x ^= x >> 13;
    x *= 0xc2b2ae35U;
    x ^= x >> 16;
    row[i] = x < bound ? 0.0f : keep;
  }
}

TROUPE_VECTORISED void adam_row(float* parameter, const float* gradient, float* first, float* second,
                                std::int64_t count, adam_step step) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    first[i] = step.beta_1 * first[i] + (1 - step.beta_1) * gradient[i];
    second[i] = step.beta_2 * second[i] + (1 - step.beta_2) * gradient[i] * gradient[i];
    auto root = std::sqrt(second[i]) * step.unbias + step.epsilon;
    parameter[i] = step.keep * parameter[i] - step.rate * first[i] / root;
  }
}

} // namespace loops

namespace {

constexpr std::int64_t piece = 512; // rows of scores at a time: they stay in the caches

torch::Tensor gather(const torch::Tensor& x, const std::vector<std::int64_t>& from) {
  auto width = x.size(1);
  auto out = torch::empty({static_cast<std::int64_t>(from.size()), width}, x.options());
  if (!x.is_cpu() || x.scalar_type() != torch::kFloat32 || !x.is_contiguous()) {
    auto index = torch::tensor(from, torch::kInt64).to(x.device());
    auto hole = index.lt(0).unsqueeze(1);
    return x.index_select(0, index.clamp_min(0)).masked_fill(hole, 0);
  }
  const float* in = x.data_ptr<float>();
  float* to = out.data_ptr<float>();
  at::parallel_for(
      0, static_cast<std::int64_t>(from.size()), 1024, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = begin; i < end; ++i)
          if (auto row = from[static_cast<std::size_t>(i)]; row >= 0)
            std::memcpy(to + i * width, in + row * width, static_cast<std::size_t>(width) * sizeof(float));
          else
            std::memset(to + i * width, 0, static_cast<std::size_t>(width) * sizeof(float));
      });
  return out;
}

struct taken_rows : autograd::Function<taken_rows> {
  static torch::Tensor forward(autograd::AutogradContext* context, const torch::Tensor& x,
                               const std::vector<std::int64_t>& from) {
    std::vector<std::int64_t> back(static_cast<std::size_t>(x.size(0)), -1);
    for (std::size_t i = 0; i < from.size(); ++i)
      if (from[i] >= 0)
        back[static_cast<std::size_t>(from[i])] = static_cast<std::int64_t>(i);
    context->saved_data["back"] = std::move(back);
    return gather(x, from);
  }
  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          autograd::variable_list gradient) {
    return {gather(gradient[0].contiguous(), context->saved_data["back"].toIntVector()), {}};
  }
};

struct fused_softmax_loss : autograd::Function<fused_softmax_loss> {
  static torch::Tensor forward(autograd::AutogradContext* context, const torch::Tensor& hidden,
                               const torch::Tensor& items, const std::vector<std::int64_t>& targets) {
    auto rows = hidden.size(0);
    auto count = items.size(0);
    auto hidden_gradient = torch::empty_like(hidden);
    auto item_gradient = torch::zeros_like(items);
    auto transposed = items.t();
    auto room = torch::empty({std::min(piece, rows), count}, hidden.options());
    std::vector<double> losses(static_cast<std::size_t>(rows));
    for (std::int64_t begin = 0; begin < rows; begin += piece) {
      auto size = std::min(piece, rows - begin);
      auto part = hidden.narrow(0, begin, size);
      auto scores = room.narrow(0, 0, size);
      torch::mm_out(scores, part, transposed);
      float* data = scores.data_ptr<float>();
      at::parallel_for(0, size, 8, [&](std::int64_t first, std::int64_t last) {
        for (auto i = first; i < last; ++i) {
          auto at = static_cast<std::size_t>(begin + i);
          float* row = data + i * count;
          auto target = row[targets[at]];
          losses[at] = static_cast<double>(loops::softmax_row(row, count)) - target;
          row[targets[at]] -= 1;
        }
      });
      auto gradient = hidden_gradient.narrow(0, begin, size);
      torch::mm_out(gradient, scores, items);
      item_gradient.addmm_(scores.t(), part);
    }
    double sum = 0;
    for (auto each : losses)
      sum += each;
    context->save_for_backward({hidden_gradient, item_gradient});
    return torch::full({}, sum, hidden.options());
  }
  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          autograd::variable_list gradient) {
    auto saved = context->get_saved_variables();
    return {saved[0] * gradient[0], saved[1] * gradient[0], {}};
  }
};

} // namespace

torch::Tensor take_rows(const torch::Tensor& x, const std::vector<std::int64_t>& from) {
  return taken_rows::apply(x, from);
}

torch::Tensor drop(const torch::Tensor& x, double share, std::uint64_t layer_key,
                   std::span<const std::uint64_t> row_keys) {
  if (share <= 0)
    return x;
  auto mask = torch::empty(x.sizes(), torch::kFloat32);
  float* data = mask.data_ptr<float>();
  auto width = x.size(1);
  auto bound = static_cast<std::uint32_t>(share * 0x1p32);
  auto keep = static_cast<float>(1 / (1 - share));
  at::parallel_for(0, x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i)
      loops::drop_row(data + i * width, width, mix(layer_key, row_keys[static_cast<std::size_t>(i)]), bound,
                      keep);
  });
  return x * mask.to(x.device(), x.scalar_type());
}

torch::Tensor softmax_loss(const torch::Tensor& hidden, const torch::Tensor& items,
                           const std::vector<std::int64_t>& targets) {
  if (hidden.is_cpu())
    return fused_softmax_loss::apply(hidden.to(torch::kFloat32).contiguous(), items, targets);
  auto index = torch::tensor(targets, torch::kInt64).to(hidden.device());
  auto scores = torch::mm(hidden, items.t()).to(torch::kFloat32);
  return (torch::logsumexp(scores, 1) - scores.gather(1, index.unsqueeze(1)).squeeze(1)).sum();
}

void adam_update(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& first,
                 torch::Tensor& second, const adam_step& step) {
  auto* value = parameter.data_ptr<float>();
  auto* slope = gradient.data_ptr<float>();
  auto* one = first.data_ptr<float>();
  auto* two = second.data_ptr<float>();
  at::parallel_for(0, parameter.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    loops::adam_row(value + begin, slope + begin, one + begin, two + begin, end - begin, step);
  });
}

} // namespace troupe::trainer::neural
