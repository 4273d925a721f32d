#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::trainer {

/// Y'Y of the factors Y [count,width], row-major. The same for any number of threads.
std::vector<float> gram_of(const std::vector<float>& factors, std::uint64_t width, unsigned threads);

/// Fits rows of one side of iALS to the factors of the other: the x of least
/// (alpha G + Y'Y + ridge I) x = Y'1, where Y are the factors of what the row has taken and G those of all
/// (Hu, Koren and Volinsky 2008). One thread; what it is made of must outlive it.
class als_row_solver {
public:
  /// `other` [count,width]; `gram`: that of `other`.
  als_row_solver(const std::vector<float>& other, const std::vector<float>& gram, std::uint64_t width,
                 float alpha);

  /// Exactly, by Cholesky: width^2 / 2 products for each of `taken`.
  void solve(std::span<const std::uint32_t> taken, float ridge, float* x);

  /// So many steps of conjugate gradient from what `x` is (Takács, Pilászy and Tikk 2011): 2 width products
  /// a step for each of `taken`. From one iteration to the next a row moves little, so that a few are enough.
  void improve(std::span<const std::uint32_t> taken, float ridge, std::uint32_t steps, float* x);

private:
  void times(std::span<const std::uint32_t> taken, float ridge, const float* x, float* y) const;

  const float* other_;
  std::uint64_t width_;
  std::vector<float> scaled_gram_; ///< alpha G.
  std::vector<float> matrix_, residual_, direction_, image_;
};

} // namespace troupe::trainer
