#include "services/trainer/engine/neural/sequence_batch.hpp"

#include "services/trainer/engine/neural/sampler.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::trainer::neural {

namespace {

// Scores of one group of attention: more would leave the caches.
constexpr std::int64_t group_scores = 1 << 19;

} // namespace

sequence_batch sequence_batch::of(std::span<const sequence> sequences, std::uint32_t length) {
  sequence_batch out;
  out.last.resize(sequences.size());
  out.first.resize(sequences.size());
  std::vector<std::uint32_t> order(sequences.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return sequences[a].items.size() > sequences[b].items.size(); });
  for (auto at : order) {
    auto& one = sequences[at];
    auto size = static_cast<std::int64_t>(one.items.size());
    auto fits = [&](const group& into) {
      auto padding = (into.sequences + 1) * into.longest - into.rows - size;
      return (into.sequences + 1) * into.longest * into.longest <= group_scores &&
             padding * 8 <= (into.sequences + 1) * into.longest;
    };
    if (out.groups.empty() || !fits(out.groups.back())) {
      group fresh;
      fresh.first_row = static_cast<std::int64_t>(out.items.size());
      fresh.longest = size;
      out.groups.push_back(std::move(fresh));
    }
    auto& into = out.groups.back();
    out.first[at] = static_cast<std::int64_t>(out.items.size());
    for (std::int64_t i = 0; i < into.longest; ++i) {
      into.padded.push_back(i < size ? into.rows + i : -1);
      if (i >= size)
        continue;
      into.packed.push_back(into.sequences * into.longest + i);
      out.items.push_back(one.items[static_cast<std::size_t>(i)]);
      out.positions.push_back(static_cast<std::int64_t>(length) - size + i);
      out.keys.push_back(mix(one.key, static_cast<std::uint64_t>(i)));
    }
    out.last[at] = static_cast<std::int64_t>(out.items.size()) - 1;
    into.rows += size;
    ++into.sequences;
  }
  return out;
}

} // namespace troupe::trainer::neural
