#pragma once

#include <cstddef>
#include <span>

namespace troupe::model {

/// to += the sum of y y' over the rows y of `rows`, of `width` numbers each; the lower triangle alone.
void add_outer_products(std::span<double> to, std::span<const float* const> rows, std::size_t width);

/// The Cholesky factor of a symmetric positive definite A [n,n], of which the lower triangle is read, in its
/// place. False where A is none.
bool factor_positive(std::span<double> a, std::size_t n);

/// Solves A x = b in place by the factor of A; `b` becomes x.
void solve_factored(std::span<const double> a, std::span<double> b);

/// Solves A x = b in place for a symmetric positive definite A [n,n] by Cholesky; `b` becomes x and `a` the
/// factor. False where A is not positive definite.
bool solve_positive(std::span<double> a, std::span<double> b);

} // namespace troupe::model
