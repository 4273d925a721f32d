#include "common/tensor/torch/linear_algebra.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

using namespace troupe;

TEST_CASE("a positive definite matrix is inverted, another is refused") {
  std::array<float, 4> matrix{4, 2, 2, 3};
  REQUIRE(tensor::invert_spd(matrix, 2));
  CHECK(matrix[0] == doctest::Approx(3.0 / 8));
  CHECK(matrix[1] == doctest::Approx(-2.0 / 8));
  CHECK(matrix[3] == doctest::Approx(4.0 / 8));

  std::array<float, 4> singular{1, 2, 2, 1};
  CHECK(!tensor::invert_spd(singular, 2));
}

TEST_CASE("a matrix of several blocks is inverted, block by block, until somebody asks for the end") {
  constexpr std::uint64_t size = 1100; // two whole blocks and a part of one
  std::vector<float> matrix(size * size);
  for (std::uint64_t i = 0; i < size; ++i)
    for (std::uint64_t j = 0; j < size; ++j)
      matrix[i * size + j] =
          std::exp(-0.1f * std::abs(static_cast<float>(i) - static_cast<float>(j))) + (i == j ? 2.0f : 0.0f);
  auto inverse = matrix;
  std::vector<std::uint64_t> heard;

  REQUIRE(tensor::invert_spd(inverse, size, [&](auto done, auto of) {
    CHECK(of == 9);
    heard.push_back(done);
    return true;
  }));

  CHECK(heard == std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  for (std::uint64_t i = 0; i < size; i += 37)
    for (std::uint64_t j = 0; j < size; j += 41) {
      double sum = 0;
      for (std::uint64_t k = 0; k < size; ++k)
        sum += static_cast<double>(matrix[i * size + k]) * static_cast<double>(inverse[k * size + j]);
      CHECK(sum == doctest::Approx(i == j ? 1 : 0).epsilon(1e-4).scale(1));
    }

  auto stopped = tensor::invert_spd(matrix, size, [](auto done, auto) { return done < 4; });
  REQUIRE(!stopped);
  CHECK(stopped.error().code == ec::canceled);
}
