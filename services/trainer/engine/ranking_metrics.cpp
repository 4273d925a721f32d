#include "services/trainer/engine/ranking_metrics.hpp"

#include "services/trainer/engine/parallel.hpp"

#include <atomic>
#include <cmath>

namespace troupe::trainer {

std::map<std::string, double> ranking_metrics(std::span<const placing> placings,
                                              std::span<const std::uint32_t> cutoffs) {
  std::map<std::string, double> out;
  auto count = static_cast<double>(std::max<std::size_t>(1, placings.size()));
  double reciprocal = 0, tied = 0;
  for (auto [above, equal, others] : placings) {
    tied += others > 0 && equal == others ? 1 : 0;
    double sum = 0;
    for (std::uint64_t rank = above + 1; rank <= above + equal + 1; ++rank)
      sum += 1 / static_cast<double>(rank);
    reciprocal += sum / static_cast<double>(equal + 1);
  }
  out["mrr"] = reciprocal / count;
  out["tied"] = tied / count;
  for (auto cutoff : cutoffs) {
    double hits = 0;
    double gain = 0;
    for (auto [above, equal, others] : placings) {
      if (above >= cutoff)
        continue;
      auto last = std::min<std::uint64_t>(cutoff, above + equal + 1);
      double sum = 0;
      for (auto rank = above + 1; rank <= last; ++rank)
        sum += 1 / std::log2(1 + static_cast<double>(rank));
      hits += static_cast<double>(last - above) / static_cast<double>(equal + 1);
      gain += sum / static_cast<double>(equal + 1);
    }
    out[fmt::format("hr_at_{}", cutoff)] = hits / count;
    out[fmt::format("ndcg_at_{}", cutoff)] = gain / count;
  }
  return out;
}

expected<std::map<std::string, double>> evaluate(const scorer& model, std::span<const ranking_case> cases,
                                                 std::span<const std::uint32_t> cutoffs, unsigned threads,
                                                 const progress_sink& sink) {
  constexpr std::uint64_t batch = 64;
  auto items = model.items();
  std::vector<placing> placings(cases.size());
  std::atomic<bool> not_a_number{false};
  std::atomic<bool> canceled{false};
  std::atomic<std::uint64_t> done{0};
  for (auto& one : cases)
    if (one.positive >= items)
      return fail(ec::invalid_argument, "the model knows {} items and is asked for number {}", items,
                  one.positive);
  auto batches = (cases.size() + batch - 1) / batch;
  parallel_for(batches, model.parallel() ? threads : 1,
               [&](std::uint64_t begin, std::uint64_t end, std::uint64_t worker) {
                 std::vector<float> scores(batch * items);
                 std::vector<std::uint8_t> hidden(items, 0);
                 std::vector<query> queries;
                 for (auto b = begin; b < end && !canceled; ++b) {
                   auto part =
                       cases.subspan(b * batch, std::min<std::uint64_t>(batch, cases.size() - b * batch));
                   queries.clear();
                   for (auto& one : part)
                     queries.push_back({one.user, one.seen});
                   std::span<float> out{scores.data(), part.size() * items};
                   model.score(queries, out);
                   for (std::size_t i = 0; i < part.size(); ++i) {
                     auto& one = part[i];
                     const float* row = scores.data() + i * items;
                     auto& place = placings[b * batch + i];
                     auto wanted = row[one.positive];
                     auto count = [&](std::uint64_t item) {
                       if (!std::isfinite(row[item]))
                         not_a_number = true;
                       place.above += row[item] > wanted;
                       place.equal += row[item] == wanted;
                       ++place.others;
                     };
                     if (!std::isfinite(wanted))
                       not_a_number = true;
                     if (!one.negatives.empty()) {
                       for (auto item : one.negatives)
                         count(item);
                       continue;
                     }
                     for (auto item : one.seen)
                       hidden[item] = 1;
                     hidden[one.positive] = 1;
                     for (std::uint64_t item = 0; item < items; ++item)
                       if (!hidden[item])
                         count(item);
                     for (auto item : one.seen)
                       hidden[item] = 0;
                     hidden[one.positive] = 0;
                   }
                   done += part.size();
                   if (worker == 0 && sink && !sink({"evaluating", done, cases.size()}))
                     canceled = true;
                 }
               });
  if (canceled)
    return fail(ec::canceled, "the evaluation was canceled");
  if (not_a_number)
    return fail(ec::invalid_argument,
                "the model gives scores that are not finite numbers: the training diverged");
  return ranking_metrics(placings, cutoffs);
}

} // namespace troupe::trainer
