#include "common/model/positive.hpp"

#include <cmath>

// One loop for every processor: the program takes the widest vectors that there are when it starts.
#define TROUPE_FOR_PROCESSORS __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))

namespace troupe::model {

namespace {

/// to[i] += a * x[i] + b * y[i] + c * z[i] + d * w[i]: four rows a pass, because a pass costs its loads and
/// stores.
TROUPE_FOR_PROCESSORS
void add_four(double* to, const double* by, const float* x, const float* y, const float* z, const float* w,
              std::size_t n) {
  auto a = by[0], b = by[1], c = by[2], d = by[3];
  for (std::size_t i = 0; i < n; ++i)
    to[i] += a * x[i] + b * y[i] + c * z[i] + d * w[i];
}

TROUPE_FOR_PROCESSORS
double dot_of(const double* a, const double* b, std::size_t n) {
  // Eight sums, so that additions need not wait for each other.
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t k = 0; k < 8; ++k)
      sums[k] += a[i + k] * b[i + k];
  double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (; i < n; ++i)
    sum += a[i] * b[i];
  return sum;
}

TROUPE_FOR_PROCESSORS
void subtract_scaled(double* to, const double* from, double factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    to[i] -= factor * from[i];
}

} // namespace

void add_outer_products(std::span<double> to, std::span<const float* const> rows, std::size_t width) {
  for (std::size_t first = 0; first < rows.size(); first += 4) {
    // Rows that are missing in the last four count nothing.
    const float* four[4];
    for (std::size_t k = 0; k < 4; ++k)
      four[k] = rows[first + k < rows.size() ? first + k : first];
    for (std::size_t r = 0; r < width; ++r) {
      double by[4];
      for (std::size_t k = 0; k < 4; ++k)
        by[k] = first + k < rows.size() ? four[k][r] : 0;
      add_four(to.data() + r * width, by, four[0], four[1], four[2], four[3], r + 1);
    }
  }
}

bool factor_positive(std::span<double> a, std::size_t n) {
  for (std::size_t r = 0; r < n; ++r) {
    auto* row = a.data() + r * n;
    for (std::size_t c = 0; c < r; ++c)
      row[c] = (row[c] - dot_of(row, a.data() + c * n, c)) / a[c * n + c];
    auto left = row[r] - dot_of(row, row, r);
    if (!(left > 0))
      return false;
    row[r] = std::sqrt(left);
  }
  return true;
}

void solve_factored(std::span<const double> a, std::span<double> b) {
  auto n = b.size();
  for (std::size_t r = 0; r < n; ++r)
    b[r] = (b[r] - dot_of(a.data() + r * n, b.data(), r)) / a[r * n + r];
  for (std::size_t r = n; r-- > 0;) {
    b[r] /= a[r * n + r];
    subtract_scaled(b.data(), a.data() + r * n, b[r], r);
  }
}

bool solve_positive(std::span<double> a, std::span<double> b) {
  if (!factor_positive(a, b.size()))
    return false;
  solve_factored(a, b);
  return true;
}

} // namespace troupe::model
