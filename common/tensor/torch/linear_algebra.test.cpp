#include "common/tensor/torch/linear_algebra.hpp"

#include <doctest/doctest.h>

#include <array>

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
