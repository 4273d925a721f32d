#include "services/trainer/engine/als_rows.hpp"

#include "services/trainer/engine/parallel.hpp"
#include "services/trainer/engine/vectorised.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::trainer {

namespace {

/// Adds the outer products of `rows_` to the lower triangle of `matrix`, four at a time.
TROUPE_VECTORISED void add_outer_products(std::span<const float* const> rows_, std::uint64_t width,
                                          float* matrix) {
  std::size_t r = 0;
  for (; r + 4 <= rows_.size(); r += 4) {
    const float* __restrict a = rows_[r];
    const float* __restrict b = rows_[r + 1];
    const float* __restrict c = rows_[r + 2];
    const float* __restrict d = rows_[r + 3];
    for (std::uint64_t i = 0; i < width; ++i) {
      float* __restrict line = matrix + i * width;
      auto ai = a[i], bi = b[i], ci = c[i], di = d[i];
#pragma omp simd
      for (std::uint64_t j = 0; j <= i; ++j)
        line[j] += ai * a[j] + bi * b[j] + ci * c[j] + di * d[j];
    }
  }
  for (; r < rows_.size(); ++r) {
    const float* __restrict a = rows_[r];
    for (std::uint64_t i = 0; i < width; ++i) {
      float* __restrict line = matrix + i * width;
#pragma omp simd
      for (std::uint64_t j = 0; j <= i; ++j)
        line[j] += a[i] * a[j];
    }
  }
}

/// Solves (lower triangle) `matrix` x = `right` in place by Cholesky.
TROUPE_VECTORISED void solve_spd(float* matrix, float* right, std::uint64_t width) {
  for (std::uint64_t i = 0; i < width; ++i) {
    float* line = matrix + i * width;
    for (std::uint64_t j = 0; j <= i; ++j) {
      const float* other = matrix + j * width;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::uint64_t k = 0; k < j; ++k)
        sum += line[k] * other[k];
      if (i == j)
        line[j] = std::sqrt(std::max(line[j] - sum, 1e-12f));
      else
        line[j] = (line[j] - sum) / other[j];
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::uint64_t k = 0; k < i; ++k)
      sum += line[k] * right[k];
    right[i] = (right[i] - sum) / line[i];
  }
  for (std::uint64_t i = width; i-- > 0;) {
    right[i] /= matrix[i * width + i];
    for (std::uint64_t k = 0; k < i; ++k)
      right[k] -= matrix[i * width + k] * right[i];
  }
}

/// y += Y' (plus + times Y x) for the rows Y of `taken`, four at a time: one pass over them. Inlined with a
/// width that is known, it keeps x and y in registers.
[[gnu::always_inline]] inline void project(const float* factors, std::span<const std::uint32_t> taken,
                                           std::uint64_t width, float plus, float times,
                                           const float* __restrict x, float* __restrict y) {
  std::size_t r = 0;
  for (; r + 4 <= taken.size(); r += 4) {
    const float* __restrict a = factors + taken[r] * width;
    const float* __restrict b = factors + taken[r + 1] * width;
    const float* __restrict c = factors + taken[r + 2] * width;
    const float* __restrict d = factors + taken[r + 3] * width;
    float ax = 0, bx = 0, cx = 0, dx = 0;
#pragma omp simd reduction(+ : ax, bx, cx, dx)
    for (std::uint64_t i = 0; i < width; ++i) {
      ax += a[i] * x[i];
      bx += b[i] * x[i];
      cx += c[i] * x[i];
      dx += d[i] * x[i];
    }
    ax = plus + times * ax, bx = plus + times * bx, cx = plus + times * cx, dx = plus + times * dx;
#pragma omp simd
    for (std::uint64_t i = 0; i < width; ++i)
      y[i] += ax * a[i] + bx * b[i] + cx * c[i] + dx * d[i];
  }
  for (; r < taken.size(); ++r) {
    const float* __restrict a = factors + taken[r] * width;
    float ax = 0;
#pragma omp simd reduction(+ : ax)
    for (std::uint64_t i = 0; i < width; ++i)
      ax += a[i] * x[i];
    ax = plus + times * ax;
#pragma omp simd
    for (std::uint64_t i = 0; i < width; ++i)
      y[i] += ax * a[i];
  }
}

/// The same, with the usual widths known.
TROUPE_VECTORISED void add_projection(const float* factors, std::span<const std::uint32_t> taken,
                                      std::uint64_t width, float plus, float times, const float* x,
                                      float* y) {
  switch (width) {
  case 32:
    return project(factors, taken, 32, plus, times, x, y);
  case 64:
    return project(factors, taken, 64, plus, times, x, y);
  case 128:
    return project(factors, taken, 128, plus, times, x, y);
  default:
    return project(factors, taken, width, plus, times, x, y);
  }
}

/// y = matrix x + ridge x; the matrix is symmetric. Four of its lines at a time.
TROUPE_VECTORISED void symmetric_times(const float* matrix, std::uint64_t width, float ridge,
                                       const float* __restrict x, float* __restrict y) {
#pragma omp simd
  for (std::uint64_t i = 0; i < width; ++i)
    y[i] = ridge * x[i];
  std::uint64_t j = 0;
  for (; j + 4 <= width; j += 4) {
    const float* __restrict a = matrix + j * width;
    const float* __restrict b = a + width;
    const float* __restrict c = b + width;
    const float* __restrict d = c + width;
#pragma omp simd
    for (std::uint64_t i = 0; i < width; ++i)
      y[i] += x[j] * a[i] + x[j + 1] * b[i] + x[j + 2] * c[i] + x[j + 3] * d[i];
  }
  for (; j < width; ++j) {
    const float* __restrict a = matrix + j * width;
#pragma omp simd
    for (std::uint64_t i = 0; i < width; ++i)
      y[i] += x[j] * a[i];
  }
}

TROUPE_VECTORISED float product(const float* a, const float* b, std::uint64_t width) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::uint64_t i = 0; i < width; ++i)
    sum += a[i] * b[i];
  return sum;
}

/// The sum of the rows of `taken`.
TROUPE_VECTORISED void sum_of(const float* factors, std::span<const std::uint32_t> taken, std::uint64_t width,
                              float* __restrict out) {
  std::fill_n(out, width, 0.0f);
  for (auto entry : taken) {
    const float* __restrict line = factors + entry * width;
#pragma omp simd
    for (std::uint64_t i = 0; i < width; ++i)
      out[i] += line[i];
  }
}

} // namespace

std::vector<float> gram_of(const std::vector<float>& factors, std::uint64_t width, unsigned threads) {
  constexpr std::uint64_t part = 4096;
  auto count = factors.size() / width;
  auto parts = (count + part - 1) / part;
  std::vector<std::vector<float>> sums(parts);
  parallel_for(parts, threads, [&](std::uint64_t begin, std::uint64_t end, std::uint64_t) {
    std::vector<const float*> pointers;
    for (auto p = begin; p < end; ++p) {
      pointers.clear();
      for (auto row = p * part; row < std::min(count, (p + 1) * part); ++row)
        pointers.push_back(factors.data() + row * width);
      sums[p].assign(width * width, 0.0f);
      add_outer_products(pointers, width, sums[p].data());
    }
  });
  std::vector<float> out(width * width);
  for (auto& sum : sums)
    for (std::uint64_t i = 0; i < out.size(); ++i)
      out[i] += sum[i];
  for (std::uint64_t i = 0; i < width; ++i)
    for (std::uint64_t j = i + 1; j < width; ++j)
      out[i * width + j] = out[j * width + i];
  return out;
}

als_row_solver::als_row_solver(const std::vector<float>& other, const std::vector<float>& gram,
                               std::uint64_t width, float alpha)
    : other_{other.data()}, width_{width}, scaled_gram_{gram}, residual_(width), direction_(width),
      image_(width) {
  for (auto& each : scaled_gram_)
    each *= alpha;
}

void als_row_solver::solve(std::span<const std::uint32_t> taken, float ridge, float* x) {
  matrix_ = scaled_gram_;
  std::vector<const float*> lines;
  lines.reserve(taken.size());
  for (auto entry : taken)
    lines.push_back(other_ + entry * width_);
  sum_of(other_, taken, width_, x);
  add_outer_products(lines, width_, matrix_.data());
  for (std::uint64_t d = 0; d < width_; ++d)
    matrix_[d * width_ + d] += ridge;
  solve_spd(matrix_.data(), x, width_);
}

void als_row_solver::times(std::span<const std::uint32_t> taken, float ridge, const float* x,
                           float* y) const {
  symmetric_times(scaled_gram_.data(), width_, ridge, x, y);
  add_projection(other_, taken, width_, 0, 1, x, y);
}

void als_row_solver::improve(std::span<const std::uint32_t> taken, float ridge, std::uint32_t steps,
                             float* x) {
  // Y'1 - (alpha G + ridge I) x - Y'Y x.
  symmetric_times(scaled_gram_.data(), width_, ridge, x, residual_.data());
  for (auto& each : residual_)
    each = -each;
  add_projection(other_, taken, width_, 1, -1, x, residual_.data());
  direction_ = residual_;
  auto square = product(residual_.data(), residual_.data(), width_);
  for (std::uint32_t step = 0; step < steps && square > 1e-20f; ++step) {
    times(taken, ridge, direction_.data(), image_.data());
    auto length = square / product(direction_.data(), image_.data(), width_);
    for (std::uint64_t d = 0; d < width_; ++d) {
      x[d] += length * direction_[d];
      residual_[d] -= length * image_[d];
    }
    auto before = square;
    square = product(residual_.data(), residual_.data(), width_);
    for (std::uint64_t d = 0; d < width_; ++d)
      direction_[d] = residual_[d] + square / before * direction_[d];
  }
}

} // namespace troupe::trainer
