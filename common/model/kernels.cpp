// Compiled once for each instruction set that Highway knows: what lies between HWY_BEFORE_NAMESPACE and
// HWY_AFTER_NAMESPACE many times, the rest once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/model/kernels.cpp"
#include <hwy/foreach_target.h>
// Highway's own headers come after it.
#include "common/model/kernels.hpp"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>

HWY_BEFORE_NAMESPACE();
namespace troupe::model::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using panel_tag = hn::CappedTag<float, panel_width>;
constexpr std::size_t panel_lanes = hn::MaxLanes(panel_tag{});
constexpr std::size_t panel_vectors = panel_width / panel_lanes;
// Rows of one tile: their sums stay in registers beside the weights and a number of x.
constexpr std::size_t tile_rows = panel_vectors > most_rows ? 1 : most_rows / panel_vectors;

/// by(tag, i) for steps of as many lanes as the processor has, then of four, then of one.
template <class By>
HWY_INLINE void step_through(std::size_t n, By by) {
  std::size_t i = 0;
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 4> narrow;
  const hn::CappedTag<float, 1> single;
  for (; i + hn::Lanes(wide) <= n; i += hn::Lanes(wide))
    by(wide, i);
  for (; i + hn::Lanes(narrow) <= n; i += hn::Lanes(narrow))
    by(narrow, i);
  for (; i < n; ++i)
    by(single, i);
}

/// values[i] = by(values[i]).
template <class By>
HWY_INLINE void change(float* values, std::size_t n, By by) {
  step_through(n, [&](auto d, std::size_t i) { hn::StoreU(by(d, hn::LoadU(d, values + i)), d, values + i); });
}

/// The sum of by(d, i) over all steps.
template <class By>
HWY_INLINE float sum_of(std::size_t n, By by) {
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 4> narrow;
  auto lanes = hn::Lanes(wide);
  auto a = hn::Zero(wide), b = a, c = a, e = a;
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = by(wide, i, a);
    b = by(wide, i + lanes, b);
    c = by(wide, i + 2 * lanes, c);
    e = by(wide, i + 3 * lanes, e);
  }
  for (; i + lanes <= n; i += lanes)
    a = by(wide, i, a);
  auto sum = hn::GetLane(hn::SumOfLanes(wide, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  if (i == n)
    return sum;
  auto rest = hn::Zero(narrow);
  for (; i + hn::Lanes(narrow) <= n; i += hn::Lanes(narrow))
    rest = by(narrow, i, rest);
  sum += hn::GetLane(hn::SumOfLanes(narrow, rest));
  const hn::CappedTag<float, 1> single;
  auto last = hn::Zero(single);
  for (; i < n; ++i)
    last = by(single, i, last);
  return sum + hn::GetLane(last);
}

float most_of(const float* values, std::size_t n) {
  const hn::ScalableTag<float> d;
  auto lanes = hn::Lanes(d);
  if (n < lanes)
    return *std::max_element(values, values + n);
  auto most = hn::LoadU(d, values + n - lanes);
  for (std::size_t i = 0; i + lanes <= n; i += lanes)
    most = hn::Max(most, hn::LoadU(d, values + i));
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

/// e^x to some 2e-7 of its value: x = n log 2 + r, a polynomial for e^r (Cephes, expf).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exponential(D d, V x) {
  const hn::RebindToSigned<D> whole;
  x = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.0f));
  auto power = hn::NearestInt(hn::Mul(x, hn::Set(d, std::numbers::log2e_v<float>)));
  auto n = hn::ConvertTo(d, power);
  auto r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
  auto p = hn::Set(d, 1.9875691500e-4f);
  for (auto each : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = hn::MulAdd(p, r, hn::Set(d, each));
  p = hn::Add(hn::MulAdd(hn::Mul(p, r), r, r), hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(power, hn::Set(whole, 127)))));
}

/// To 2e-7 (Abramowitz and Stegun, 7.1.26).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V error_function(D d, V x) {
  auto size = hn::Abs(x);
  auto one = hn::Set(d, 1.0f);
  auto t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), size, one));
  auto p = hn::Set(d, 1.061405429f);
  for (auto each : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    p = hn::MulAdd(p, t, hn::Set(d, each));
  auto upper = hn::NegMulAdd(hn::Mul(p, t), exponential(d, hn::Neg(hn::Mul(size, size))), one);
  return hn::CopySignToAbs(upper, x);
}

float dot(const float* a, const float* b, std::size_t n) {
  return sum_of(n, [=](auto d, std::size_t i, auto sum) {
    return hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  });
}

void add_scaled(float* to, const float* from, float factor, std::size_t n) {
  step_through(n, [=](auto d, std::size_t i) {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, from + i), hn::LoadU(d, to + i)), d, to + i);
  });
}

void softmax(float* values, std::size_t n) {
  auto most = most_of(values, n);
  change(values, n, [=](auto d, auto x) { return exponential(d, hn::Sub(x, hn::Set(d, most))); });
  auto sum = sum_of(
      n, [=](auto d, std::size_t i, auto so_far) { return hn::Add(so_far, hn::LoadU(d, values + i)); });
  change(values, n, [=](auto d, auto x) { return hn::Mul(x, hn::Set(d, 1 / sum)); });
}

void gelu(float* values, std::size_t n) {
  change(values, n, [](auto d, auto x) {
    auto share = error_function(d, hn::Mul(x, hn::Set(d, std::numbers::sqrt2_v<float> / 2)));
    return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(hn::Set(d, 1.0f), share));
  });
}

void relu(float* values, std::size_t n) {
  change(values, n, [](auto d, auto x) { return hn::Max(x, hn::Zero(d)); });
}

void norm(const float* x, std::size_t rows, std::size_t width, const float* weight, const float* bias,
          float epsilon, float* y) {
  auto share = 1 / static_cast<float>(width);
  for (std::size_t r = 0; r < rows; ++r, x += width, y += width) {
    auto mean = share * sum_of(width, [=](auto d, std::size_t i, auto sum) {
                  return hn::Add(sum, hn::LoadU(d, x + i));
                });
    auto square = share * sum_of(width, [=](auto d, std::size_t i, auto sum) {
                    auto off = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean));
                    return hn::MulAdd(off, off, sum);
                  });
    auto scale = 1 / std::sqrt(square + epsilon);
    step_through(width, [=](auto d, std::size_t i) {
      auto at = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, scale));
      hn::StoreU(hn::MulAdd(at, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
    });
  }
}

/// Sixteen columns of R rows: y = x w + bias. `x` has R numbers for each of `in`, `w` sixteen.
template <std::size_t R>
HWY_INLINE void tile(const float* HWY_RESTRICT x, std::size_t in, const float* HWY_RESTRICT w,
                     const float* HWY_RESTRICT bias, float* HWY_RESTRICT y, std::size_t y_step,
                     std::size_t columns) {
  const panel_tag d;
  hn::Vec<panel_tag> sums[R][panel_vectors];
  for (std::size_t v = 0; v < panel_vectors; ++v)
    for (std::size_t r = 0; r < R; ++r)
      sums[r][v] = bias ? hn::LoadU(d, bias + v * panel_lanes) : hn::Zero(d);
  for (std::size_t k = 0; k < in; ++k, w += panel_width, x += R) {
    hn::Vec<panel_tag> weights[panel_vectors];
    for (std::size_t v = 0; v < panel_vectors; ++v)
      weights[v] = hn::LoadU(d, w + v * panel_lanes);
    for (std::size_t r = 0; r < R; ++r) {
      auto each = hn::Set(d, x[r]);
      for (std::size_t v = 0; v < panel_vectors; ++v)
        sums[r][v] = hn::MulAdd(each, weights[v], sums[r][v]);
    }
  }
  for (std::size_t r = 0; r < R; ++r) {
    float last[panel_width];
    auto* to = columns == panel_width ? y + r * y_step : last;
    for (std::size_t v = 0; v < panel_vectors; ++v)
      hn::StoreU(sums[r][v], d, to + v * panel_lanes);
    if (columns < panel_width)
      std::copy(last, last + columns, y + r * y_step);
  }
}

/// R rows by all columns; the rows are laid side by side first, so that one pointer walks through them.
template <std::size_t R>
HWY_NOINLINE void band(const float* x, std::size_t x_step, std::size_t in, const float* panels,
                       std::size_t panel_step, const float* bias, float* y, std::size_t y_step,
                       std::size_t out, float* beside) {
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t k = 0; k < in; ++k)
      beside[k * R + r] = x[r * x_step + k];
  for (std::size_t c = 0; c < out; c += panel_width, panels += panel_step)
    tile<R>(beside, in, panels, bias ? bias + c : nullptr, y + c, y_step, std::min(panel_width, out - c));
}

/// y [rows,out] = x [rows,in] times panels of sixteen columns, which lie `panel_step` apart.
/// `beside` has room for `most_rows` of x.
void product(const float* x, std::size_t x_step, std::size_t rows, std::size_t in, const float* panels,
             std::size_t panel_step, const float* bias, float* y, std::size_t y_step, std::size_t out,
             float* beside) {
  auto some = [&]<std::size_t R>(std::integral_constant<std::size_t, R>) {
    for (; rows >= R; rows -= R, x += R * x_step, y += R * y_step)
      band<R>(x, x_step, in, panels, panel_step, bias, y, y_step, out, beside);
  };
  some(std::integral_constant<std::size_t, tile_rows>{});
  if constexpr (tile_rows > 8)
    some(std::integral_constant<std::size_t, 8>{});
  if constexpr (tile_rows > 4)
    some(std::integral_constant<std::size_t, 4>{});
  some(std::integral_constant<std::size_t, 2>{});
  some(std::integral_constant<std::size_t, 1>{});
}

void products_of(const float* table, std::size_t width, const std::uint32_t* rows, std::size_t count,
                 const float* with, float* out) {
  constexpr std::size_t ahead = 8; // Rows fetched early: they lie anywhere in the table.
  for (std::size_t i = 0; i < count; ++i) {
    if (i + ahead < count)
      for (std::size_t at = 0; at < width; at += 16)
        hwy::Prefetch(table + rows[i + ahead] * width + at);
    out[i] = dot(table + rows[i] * width, with, width);
  }
}

} // namespace
} // namespace troupe::model::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace troupe::model {

namespace {

HWY_EXPORT(dot);
HWY_EXPORT(add_scaled);
HWY_EXPORT(most_of);
HWY_EXPORT(softmax);
HWY_EXPORT(gelu);
HWY_EXPORT(relu);
HWY_EXPORT(norm);
HWY_EXPORT(product);
HWY_EXPORT(products_of);

std::size_t padded(std::size_t n) {
  return (n + panel_width - 1) / panel_width * panel_width;
}

/// Memory of this thread for what a call puts aside; it grows to the largest call.
float* room_for(std::size_t count) {
  thread_local std::vector<float> room;
  if (room.size() < count)
    room.resize(count);
  return room.data();
}

} // namespace

float dot(const float* a, const float* b, std::size_t n) noexcept {
  return HWY_DYNAMIC_DISPATCH(dot)(a, b, n);
}

void products_of(std::span<const float> table, std::span<const std::uint32_t> rows,
                 std::span<const float> with, std::span<float> out) noexcept {
  HWY_DYNAMIC_DISPATCH(products_of)
  (table.data(), with.size(), rows.data(), rows.size(), with.data(), out.data());
}

void add_scaled(float* to, const float* from, float factor, std::size_t n) noexcept {
  HWY_DYNAMIC_DISPATCH(add_scaled)(to, from, factor, n);
}

void softmax(float* values, std::size_t n) noexcept {
  HWY_DYNAMIC_DISPATCH(softmax)(values, n);
}

std::size_t greatest(std::span<const float> of) noexcept {
  auto most = HWY_DYNAMIC_DISPATCH(most_of)(of.data(), of.size());
  return static_cast<std::size_t>(std::find(of.begin(), of.end(), most) - of.begin());
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

void activate(activation function, std::span<float> values) noexcept {
  if (function == activation::gelu)
    HWY_DYNAMIC_DISPATCH(gelu)(values.data(), values.size());
  else
    HWY_DYNAMIC_DISPATCH(relu)(values.data(), values.size());
}

void attend(const attention_rows& of, float* out) noexcept {
  auto wide = of.width / of.heads, columns = padded(wide), keys = padded(of.length);
  auto scale = 1 / std::sqrt(static_cast<float>(wide));
  auto beside_size = most_rows * std::max(keys, wide);
  auto* beside = room_for(beside_size + most_rows * (wide + keys) + keys * (wide + columns));
  auto* query = beside + beside_size;       // Some rows of the head, scaled.
  auto* weights = query + most_rows * wide; // Of each of them for every key.
  auto* key = weights + most_rows * keys;   // The head's keys, as the columns of a product...
  auto* value = key + keys * wide;          // ...and its values, as the rows of one.
  std::fill(key, value + keys * columns, 0.0f);
  for (std::size_t at = 0; at < of.width; at += wide) {
    for (std::size_t t = 0; t < of.length; ++t)
      for (std::size_t k = 0; k < wide; ++k) {
        key[(t / panel_width * wide + k) * panel_width + t % panel_width] = of.key[t * of.width + at + k];
        value[(k / panel_width * of.length + t) * panel_width + k % panel_width] =
            of.value[t * of.width + at + k];
      }
    for (std::size_t r = 0; r < of.rows; r += most_rows) {
      auto rows = std::min(most_rows, of.rows - r);
      auto seen = of.length - of.rows + r + rows; // By the last of them.
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t k = 0; k < wide; ++k)
          query[i * wide + k] = scale * of.query[(r + i) * of.width + at + k];
      HWY_DYNAMIC_DISPATCH(product)
      (query, wide, rows, wide, key, wide * panel_width, nullptr, weights, keys, seen, beside);
      for (std::size_t i = 0; i < rows; ++i) {
        auto own = seen - rows + i + 1; // Nothing later than itself.
        HWY_DYNAMIC_DISPATCH(softmax)(weights + i * keys, own);
        std::fill(weights + i * keys + own, weights + i * keys + seen, 0.0f);
      }
      HWY_DYNAMIC_DISPATCH(product)
      (weights, keys, rows, seen, value, of.length * panel_width, nullptr, out + r * of.width + at, of.width,
       wide, beside);
    }
  }
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
  HWY_DYNAMIC_DISPATCH(product)
  (x, in_, rows, in_, panels_.data(), in_ * panel_width, bias_.data(), y, out_, out_,
   room_for(most_rows * in_));
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
  HWY_DYNAMIC_DISPATCH(norm)(x, rows, weight_.size(), weight_.data(), bias_.data(), epsilon_, y);
}

} // namespace troupe::model
#endif
