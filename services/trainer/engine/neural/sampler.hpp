#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::trainer::neural {

/// The order in which samples are seen: each epoch another permutation, made of the seed and the epoch alone.
/// Its position is the step, so that a checkpoint holds no more of it.
class sampler {
public:
  sampler(std::uint64_t samples, std::uint64_t batch, std::uint64_t seed);

  /// Of an epoch; the last one may be smaller.
  std::uint64_t steps_per_epoch() const noexcept { return (samples_ + batch_ - 1) / batch_; }

  /// The samples of a step, on all ranks. Valid until the next call.
  std::span<const std::uint32_t> step(std::uint64_t step);

private:
  std::uint64_t samples_;
  std::uint64_t batch_;
  std::uint64_t seed_;
  std::uint64_t epoch_;
  std::vector<std::uint32_t> order_;
};

/// Part `part` of `parts`, contiguous and of about the same length.
std::span<const std::uint32_t> share(std::span<const std::uint32_t> all, std::uint64_t part,
                                     std::uint64_t parts);

/// One number made of several: the key of a step, of a layer in it.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept;

} // namespace troupe::trainer::neural
