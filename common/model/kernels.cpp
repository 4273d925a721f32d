#include "common/model/kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

// Sanitizers instrument the resolver that chooses a version, which runs before they are ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) &&      \
    !defined(__SANITIZE_ADDRESS__)
#define TROUPE_BY_PROCESSOR __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define TROUPE_BY_PROCESSOR
#endif

namespace troupe::model {

namespace {

constexpr std::size_t panel_width = 16;
using lanes __attribute__((vector_size(64))) = float;
using loose_lanes __attribute__((vector_size(64), aligned(4), may_alias)) = float;

/// e^x to some 2e-7 of its value, without a branch, so that loops over it become vectors: x = n log 2 + r, a
/// polynomial for e^r (Cephes, expf).
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float to_whole = 12582912; // 1.5 * 2^23: what is added to it loses its fraction.
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = (x * std::numbers::log2e_v<float> + to_whole) - to_whole;
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

/// To 2e-7 (Abramowitz and Stegun, 7.1.26).
[[gnu::always_inline]] inline float error_function(float x) {
  float size = std::abs(x);
  float t = 1 / (1 + 0.3275911f * size);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  return std::copysign(1 - p * t * exponential(-size * size), x);
}

std::size_t padded(std::size_t n) {
  return (n + panel_width - 1) / panel_width * panel_width;
}

/// R rows of one panel: its sums stay in registers.
template <std::size_t R>
[[gnu::always_inline]] inline void tile(const float* x, std::size_t in, const float* panel, const float* bias,
                                        float* y, std::size_t out, std::size_t columns) {
  lanes sums[R];
  for (std::size_t r = 0; r < R; ++r)
    sums[r] = *reinterpret_cast<const loose_lanes*>(bias);
  for (std::size_t k = 0; k < in; ++k) {
    lanes weights = *reinterpret_cast<const loose_lanes*>(panel + k * panel_width);
    for (std::size_t r = 0; r < R; ++r)
      sums[r] += x[r * in + k] * weights;
  }
  for (std::size_t r = 0; r < R; ++r)
    if (columns == panel_width)
      *reinterpret_cast<loose_lanes*>(y + r * out) = sums[r];
    else
      for (std::size_t c = 0; c < columns; ++c)
        y[r * out + c] = sums[r][c];
}

TROUPE_BY_PROCESSOR void product(const float* x, std::size_t rows, std::size_t in, const float* panels,
                                 const float* bias, float* y, std::size_t out) {
  for (std::size_t c = 0; c < out; c += panel_width) {
    auto columns = std::min(panel_width, out - c);
    auto* panel = panels + c * in;
    std::size_t r = 0;
    for (; r + 6 <= rows; r += 6)
      tile<6>(x + r * in, in, panel, bias + c, y + r * out + c, out, columns);
    for (; r + 2 <= rows; r += 2)
      tile<2>(x + r * in, in, panel, bias + c, y + r * out + c, out, columns);
    for (; r < rows; ++r)
      tile<1>(x + r * in, in, panel, bias + c, y + r * out + c, out, columns);
  }
}

} // namespace

TROUPE_BY_PROCESSOR float dot(const float* a, const float* b, std::size_t n) noexcept {
  lanes sums{};
  std::size_t i = 0;
  for (; i + panel_width <= n; i += panel_width)
    sums += *reinterpret_cast<const loose_lanes*>(a + i) * *reinterpret_cast<const loose_lanes*>(b + i);
  float sum = 0;
  for (std::size_t k = 0; k < panel_width; ++k)
    sum += sums[k];
  for (; i < n; ++i)
    sum += a[i] * b[i];
  return sum;
}

TROUPE_BY_PROCESSOR void add_scaled(float* to, const float* from, float factor, std::size_t n) noexcept {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i)
    to[i] += factor * from[i];
}

TROUPE_BY_PROCESSOR void softmax(float* values, std::size_t n) noexcept {
  float most = *std::max_element(values, values + n);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = exponential(values[i] - most);
    sum += values[i];
  }
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i)
    values[i] /= sum;
}

void normalise(std::span<float> vector) noexcept {
  auto length = std::sqrt(dot(vector.data(), vector.data(), vector.size()));
  if (length > 0)
    for (auto& each : vector)
      each /= length;
}

expected<activation> activation_named(std::string_view name) {
  if (name == "relu")
    return activation::relu;
  if (name == "gelu")
    return activation::gelu;
  return fail(ec::unsupported_version, "activation {} is not known here; known are relu, gelu", name);
}

namespace {

TROUPE_BY_PROCESSOR void gelu(float* values, std::size_t n) noexcept {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i)
    values[i] *= 0.5f * (1 + error_function(values[i] / std::numbers::sqrt2_v<float>));
}

} // namespace

void activate(activation function, std::span<float> values) noexcept {
  if (function == activation::gelu)
    return gelu(values.data(), values.size());
  for (auto& each : values)
    each = std::max(each, 0.0f);
}

linear::linear(std::span<const float> weight, std::span<const float> bias, std::size_t in, std::size_t out)
    : in_{in}, out_{out}, panels_(padded(out) * in, 0), bias_(padded(out), 0) {
  for (std::size_t o = 0; o < out; ++o)
    for (std::size_t k = 0; k < in; ++k)
      panels_[o / panel_width * panel_width * in + k * panel_width + o % panel_width] = weight[o * in + k];
  std::copy(bias.begin(), bias.end(), bias_.begin());
}

expected<linear> linear::load(const tensor_file& from, const std::string& name, std::size_t in,
                              std::size_t out) {
  TROUPE_TRY(weight, from.span<float>(name + ".weight", {out, in}));
  TROUPE_TRY(rows, from.length_of(name + ".weight", 0));
  TROUPE_TRY(bias, from.span<float>(name + ".bias", {rows}));
  // A size of 0 in the file would have been "any" when asked for.
  if (rows == 0 || in == 0 || weight.size() != rows * in || bias.size() != rows)
    return fail(ec::corrupt, "layer {} has {} weights and {} biases where {} x {} and {} are needed", name,
                weight.size(), bias.size(), rows, in, rows);
  return linear{weight, bias, in, rows};
}

void linear::apply(const float* x, std::size_t rows, float* y) const noexcept {
  product(x, rows, in_, panels_.data(), bias_.data(), y, out_);
}

expected<layers> layers::load(const tensor_file& from, const std::string& name, std::size_t in,
                              activation between, std::size_t least) {
  layers out;
  out.in_ = in;
  out.between_ = between;
  for (std::size_t i = 0; i < least || from.has(fmt::format("{}.{}.weight", name, i)); ++i) {
    TROUPE_TRY(made, linear::load(from, fmt::format("{}.{}", name, i), out.out(), 0));
    out.all_.push_back(std::move(made));
  }
  return out;
}

std::vector<float> layers::apply(std::vector<float> x, std::size_t rows, bool last_too) const {
  std::vector<float> y;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    y.resize(rows * all_[i].out());
    all_[i].apply(x.data(), rows, y.data());
    if (last_too || i + 1 < all_.size())
      activate(between_, y);
    std::swap(x, y);
  }
  return x;
}

expected<layer_norm> layer_norm::load(const tensor_file& from, const std::string& name, std::size_t width,
                                      float epsilon) {
  TROUPE_TRY(weight, from.span<float>(name + ".weight", {width}));
  TROUPE_TRY(bias, from.span<float>(name + ".bias", {width}));
  layer_norm out;
  out.weight_.assign(weight.begin(), weight.end());
  out.bias_.assign(bias.begin(), bias.end());
  out.epsilon_ = epsilon;
  return out;
}

void layer_norm::apply(const float* x, std::size_t rows, float* y) const noexcept {
  auto width = weight_.size();
  for (std::size_t r = 0; r < rows; ++r, x += width, y += width) {
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < width; ++i)
      mean += x[i];
    mean /= static_cast<double>(width);
    for (std::size_t i = 0; i < width; ++i)
      square += (x[i] - mean) * (x[i] - mean);
    auto scale = static_cast<float>(1 / std::sqrt(square / static_cast<double>(width) + epsilon_));
    for (std::size_t i = 0; i < width; ++i)
      y[i] = (x[i] - static_cast<float>(mean)) * scale * weight_[i] + bias_[i];
  }
}

} // namespace troupe::model
