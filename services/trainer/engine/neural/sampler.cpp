#include "services/trainer/engine/neural/sampler.hpp"

#include "services/trainer/engine/random.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace troupe::trainer::neural {

sampler::sampler(std::uint64_t samples, std::uint64_t batch, std::uint64_t seed)
    : samples_{samples}, batch_{batch}, seed_{seed}, epoch_{~std::uint64_t{0}}, order_(samples) {}

std::span<const std::uint32_t> sampler::step(std::uint64_t step) {
  auto epoch = step / steps_per_epoch();
  if (epoch != epoch_) {
    epoch_ = epoch;
    std::iota(order_.begin(), order_.end(), 0U);
    random_source random{mix(seed_, epoch)};
    for (std::uint64_t i = samples_; i > 1; --i)
      std::swap(order_[i - 1], order_[random.below(i)]);
  }
  auto begin = step % steps_per_epoch() * batch_;
  return std::span{order_}.subspan(begin, std::min(batch_, samples_ - begin));
}

std::span<const std::uint32_t> share(std::span<const std::uint32_t> all, std::uint64_t part,
                                     std::uint64_t parts) {
  auto begin = all.size() * part / parts;
  return all.subspan(begin, all.size() * (part + 1) / parts - begin);
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  return random_source{a ^ random_source{b}.next()}.next();
}

} // namespace troupe::trainer::neural
