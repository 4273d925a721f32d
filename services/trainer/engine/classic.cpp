#include "services/trainer/engine/classic.hpp"

#include "services/trainer/engine/als_rows.hpp"
#include "services/trainer/engine/parallel.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/tensor/torch/linear_algebra.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>

namespace troupe::trainer {

namespace {

/// A matrix of numbers drawn from a normal distribution.
std::vector<float> normal_matrix(std::uint64_t rows_, std::uint64_t width, double deviation,
                                 random_source& random) {
  std::vector<float> out(rows_ * width);
  for (auto& value : out)
    value = static_cast<float>(deviation * random.normal());
  return out;
}

/// The `keep` entries of `row` that are largest by magnitude, largest first, ties by number; zeros are left
/// out and the rest filled with -1.
void keep_largest(std::span<const float> row, std::uint32_t keep, std::vector<std::uint32_t>& order,
                  std::int32_t* neighbours, float* similarity) {
  order.clear();
  for (std::uint32_t i = 0; i < row.size(); ++i)
    if (row[i] != 0)
      order.push_back(i);
  auto before = [&](std::uint32_t a, std::uint32_t b) {
    auto x = std::abs(row[a]);
    auto y = std::abs(row[b]);
    return x != y ? x > y : a < b;
  };
  auto kept = std::min<std::size_t>(keep, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), before);
  for (std::uint32_t k = 0; k < keep; ++k) {
    neighbours[k] = k < kept ? static_cast<std::int32_t>(order[k]) : -1;
    similarity[k] = k < kept ? row[order[k]] : 0;
  }
}

/// The weights of a model of neighbours, [items, width] each, filled in place: they are the largest thing in
/// memory.
struct neighbour_table {
  array neighbours, similarity;
  std::uint64_t width;

  neighbour_table(std::uint64_t items, std::uint64_t wide)
      : neighbours{tensor::dtype::i32, {items, wide}, std::vector<std::byte>(items * wide * 4)},
        similarity{tensor::dtype::f32, {items, wide}, std::vector<std::byte>(items * wide * 4)}, width{wide} {
  }

  std::int32_t* neighbours_of(std::uint64_t item) {
    return reinterpret_cast<std::int32_t*>(neighbours.bytes.data()) + item * width;
  }
  float* similarity_of(std::uint64_t item) {
    return reinterpret_cast<float*>(similarity.bytes.data()) + item * width;
  }

  void move_to(trained_model& out) {
    out.weights.insert_or_assign("neighbours", std::move(neighbours));
    out.weights.insert_or_assign("similarity", std::move(similarity));
  }
};

/// Bytes of what was taken: as it was read, by user and by item.
double held(const rows& by_user, const rows& by_item) {
  return 16.0 * static_cast<double>(by_user.values.size()) +
         8.0 * static_cast<double>(by_user.size() + by_item.size());
}

expected<void> within_memory(const train_config& config, double bytes, std::string_view advice) {
  if (bytes > static_cast<double>(config.memory_cap))
    return fail(ec::invalid_argument,
                "training {} on this data takes {:.2f} GiB, more than memory_cap ({:.2f} GiB): {}",
                config.model, bytes / 0x1p30, static_cast<double>(config.memory_cap) / 0x1p30, advice);
  return {};
}

unexpected<error> canceled_while(std::string_view stage) {
  return fail(ec::canceled, "the training was canceled while {}", stage);
}

/// Calls `use(item, row)` with how often each other item was taken by the same users, weighed by user.
template <class Use>
expected<void> co_occurrences(const rows& by_user, const rows& by_item, std::span<const float> user_weight,
                              unsigned threads, const progress_sink& sink, Use use) {
  auto items = by_item.size();
  // Popular items take longest: deal the items out instead of cutting them into parts.
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> canceled{false};
  parallel_for(std::max(1U, threads), threads, [&](std::uint64_t, std::uint64_t, std::uint64_t worker) {
    std::vector<float> row(items);
    for (auto item = next++; item < items && !canceled; item = next++) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (auto user : by_item[item])
        for (auto other : by_user[user])
          row[other] += user_weight[user];
      use(item, std::span{row});
      if (worker == 0 && sink && !sink({"counting", item + 1, items}))
        canceled = true;
    }
  });
  if (canceled || (sink && !sink({"counting", items, items})))
    return canceled_while("counting");
  return {};
}

expected<void> fit_popularity(const rows& by_item, trained_model& out) {
  std::vector<float> score(by_item.size());
  for (std::uint64_t i = 0; i < score.size(); ++i)
    score[i] = static_cast<float>(by_item[i].size());
  out.weights.emplace("item_score", array::of<float>({score.size()}, score));
  return {};
}

/// From the nearest items of each candidate [items, keep] to the candidates of each item, nearest first and
/// `most` at most.
expected<void> turn_round(std::vector<std::int32_t> nearest, std::vector<float> nearness, std::uint32_t keep,
                          std::uint32_t most, std::uint64_t items, const progress_sink& sink,
                          trained_model& out) {
  using candidate = std::pair<float, std::int32_t>;
  std::vector<std::uint64_t> begin(items + 1);
  for (auto item : nearest)
    if (item >= 0)
      ++begin[static_cast<std::size_t>(item) + 1];
  std::uint64_t widest = 1;
  for (std::uint64_t i = 0; i < items; ++i) {
    widest = std::max(widest, std::min<std::uint64_t>(begin[i + 1], most));
    begin[i + 1] += begin[i];
  }
  std::vector<candidate> turned(begin[items]);
  auto end = begin;
  for (std::uint64_t at = 0; at < nearest.size(); ++at)
    if (nearest[at] >= 0)
      turned[end[static_cast<std::size_t>(nearest[at])]++] = {nearness[at],
                                                              static_cast<std::int32_t>(at / keep)};
  std::vector<std::int32_t>{}.swap(nearest); // Room for the table.
  std::vector<float>{}.swap(nearness);
  neighbour_table table{items, widest};
  for (std::uint64_t i = 0; i < items; ++i) {
    std::span row{turned.data() + begin[i], turned.data() + begin[i + 1]};
    std::stable_sort(row.begin(), row.end(), [](auto& a, auto& b) { return a.first > b.first; });
    auto* neighbours = table.neighbours_of(i);
    auto* similarity = table.similarity_of(i);
    for (std::uint64_t k = 0; k < widest; ++k) {
      neighbours[k] = k < row.size() ? row[k].second : -1;
      similarity[k] = k < row.size() ? row[k].first : 0;
    }
    if (sink && !sink({"sorting", i + 1, items}))
      return canceled_while("sorting");
  }
  table.move_to(out);
  return {};
}

/// Cosine between items with shrinkage and an exponent on popularity (Sarwar et al., 2001; Aiolli, 2013).
expected<void> fit_item_knn(const train_config& config, const rows& by_user, const rows& by_item,
                            unsigned threads, const progress_sink& sink, trained_model& out) {
  auto& options = config.item_knn;
  auto items = by_item.size();
  auto keep = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.neighbours, items));
  // The lists as they are counted and turned round; then these and the table, which one popular item makes as
  // wide as it may be, and which is there twice while it is written.
  auto widest = static_cast<double>(std::min<std::uint64_t>(options.serve_neighbours, items));
  TROUPE_CHECK(within_memory(
      config,
      held(by_user, by_item) + static_cast<double>(items) *
                                   (8.0 * keep + 16 + std::max(8.0 * keep + 4.0 * threads, 2 * 8.0 * widest)),
      "lower item_knn.serve_neighbours or item_knn.neighbours, or raise memory_cap"));
  std::vector<float> user_weight(by_user.size());
  for (std::uint64_t u = 0; u < by_user.size(); ++u)
    user_weight[u] = static_cast<float>(
        std::pow(std::max<double>(1, static_cast<double>(by_user[u].size())), -options.user_power));
  std::vector<double> norm(items);
  for (std::uint64_t i = 0; i < items; ++i) {
    for (auto user : by_item[i])
      norm[i] += user_weight[user];
    norm[i] = std::max(norm[i], 1e-9);
  }
  // The shrinkage counts users; our counts are weighed.
  auto users_taking = std::max<double>(1, static_cast<double>(by_user.values.size()));
  auto shrink = options.shrink * std::accumulate(norm.begin(), norm.end(), 0.0) / users_taking;
  // Each candidate hears its own nearest neighbours; serving goes from what was taken to the candidates, so
  // the lists are turned round.
  std::vector<std::int32_t> nearest(items * keep);
  std::vector<float> nearness(items * keep);
  TROUPE_CHECK(co_occurrences(
      by_user, by_item, user_weight, threads, sink, [&](std::uint64_t item, std::span<float> row) {
        thread_local std::vector<std::uint32_t> order;
        for (std::uint64_t other = 0; other < items; ++other)
          if (row[other] != 0)
            row[other] =
                static_cast<float>(row[other] / (std::pow(norm[other], 1 - options.popularity_power) *
                                                     std::pow(norm[item], options.popularity_power) +
                                                 shrink));
        row[item] = 0;
        keep_largest(row, keep, order, nearest.data() + item * keep, nearness.data() + item * keep);
      }));
  return turn_round(std::move(nearest), std::move(nearness), keep, options.serve_neighbours, items, sink,
                    out);
}

/// EASE (Steck, 2019): B = I - P / diag(P) with P = (X'X + l2 I)^-1, diagonal zero.
expected<void> fit_ease(const train_config& config, const rows& by_user, const rows& by_item,
                        unsigned threads, const progress_sink& sink, trained_model& out) {
  auto& options = config.ease;
  auto items = by_item.size();
  auto keep = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.serve_neighbours, items));
  auto count = static_cast<double>(items);
  TROUPE_CHECK(
      within_memory(config,
                    held(by_user, by_item) + count * (4 * count + 4.0 * tensor::numbers_to_invert_by +
                                                      4.0 * threads + 2 * 8.0 * keep),
                    "EASE is for up to some 20,000 items; item_knn and ials take more"));
  std::vector<float> matrix(items * items);
  std::vector<float> ones(by_user.size(), 1.0f);
  TROUPE_CHECK(
      co_occurrences(by_user, by_item, ones, threads, sink, [&](std::uint64_t item, std::span<float> row) {
        row[item] += static_cast<float>(options.l2);
        std::copy(row.begin(), row.end(), matrix.begin() + static_cast<std::ptrdiff_t>(item * items));
      }));
  tensor::use_threads(threads);
  TROUPE_CHECK(tensor::invert_spd(matrix, items, [&](std::uint64_t done, std::uint64_t of) {
    return !sink || sink({"inverting", done, of});
  }));
  std::vector<float> diagonal(items);
  for (std::uint64_t i = 0; i < items; ++i)
    diagonal[i] = matrix[i * items + i];
  neighbour_table table{items, keep};
  std::atomic<bool> canceled{false};
  parallel_for(items, threads, [&](std::uint64_t begin, std::uint64_t end, std::uint64_t worker) {
    std::vector<std::uint32_t> order;
    for (auto i = begin; i < end && !canceled; ++i) {
      std::span<float> row{matrix.data() + i * items, items};
      for (std::uint64_t j = 0; j < items; ++j)
        row[j] = i == j ? 0 : -row[j] / diagonal[j];
      keep_largest(row, keep, order, table.neighbours_of(i), table.similarity_of(i));
      if (worker == 0 && sink && !sink({"sorting", i + 1, end}))
        canceled = true;
    }
  });
  if (canceled)
    return canceled_while("sorting");
  table.move_to(out);
  return {};
}

/// One half of an iteration: the best factors of each row given the other side's. `tell` hears of the rows
/// that are done, from the calling thread; false where it asks for the end.
bool solve_side(const train_config& config, const rows& by_row, const std::vector<float>& other,
                std::vector<float>& own, unsigned threads, const std::function<bool(std::uint64_t)>& tell) {
  auto& options = config.ials;
  std::uint64_t width = options.dimensions;
  auto gram = gram_of(other, width, threads);
  auto other_rows = other.size() / width;
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> canceled{false};
  parallel_for(std::max(1U, threads), threads, [&](std::uint64_t, std::uint64_t, std::uint64_t worker) {
    als_row_solver solver{other, gram, width, static_cast<float>(options.alpha)};
    for (auto row = next++; row < by_row.size() && !canceled; row = next++) {
      if (worker == 0 && !tell(row))
        canceled = true;
      auto taken = by_row[row];
      auto weight = static_cast<double>(taken.size()) + options.alpha * static_cast<double>(other_rows);
      auto ridge = static_cast<float>(options.regularization * std::pow(weight, options.frequency_power));
      float* x = own.data() + row * width;
      if (taken.empty())
        std::fill_n(x, width, 0.0f);
      else if (options.cg_steps == 0)
        solver.solve(taken, ridge, x);
      else
        solver.improve(taken, ridge, options.cg_steps, x);
    }
  });
  return !canceled;
}

/// iALS (Hu, Koren, Volinsky, 2008) with the regularization of Rendle et al. (2021). The factors of the last
/// iteration are where the next one begins.
expected<void> fit_ials(const train_config& config, const rows& by_user, const rows& by_item,
                        unsigned threads, const progress_sink& sink, trained_model& out) {
  auto& options = config.ials;
  std::uint64_t width = options.dimensions;
  auto users = by_user.size();
  auto items = by_item.size();
  // The factors, and their copies in the model and in its file while that is written.
  TROUPE_CHECK(
      within_memory(config,
                    held(by_user, by_item) +
                        3 * 4.0 * static_cast<double>((users + items + (threads + 2ULL) * width) * width),
                    "lower ials.dimensions, or raise memory_cap"));
  random_source random{config.seed};
  auto deviation = options.deviation / std::sqrt(static_cast<double>(width));
  auto user_factors = normal_matrix(users, width, deviation, random);
  auto item_factors = normal_matrix(items, width, deviation, random);
  auto begun = std::chrono::steady_clock::now();
  // A step is a row: an iteration of a large log takes minutes.
  auto steps = options.iterations * (users + items) + users;
  std::uint64_t before = 0;
  auto tell = [&](std::uint64_t row) {
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    auto share = static_cast<double>(before + row) / static_cast<double>(users + items);
    return !sink || sink({"fitting", before + row, steps, 0, 0, 0,
                          static_cast<double>(by_user.values.size()) * share / std::max(seconds, 1e-9)});
  };
  auto solve = [&](const rows& by_row, const std::vector<float>& other, std::vector<float>& own) {
    auto whole = solve_side(config, by_row, other, own, threads, tell);
    before += by_row.size();
    return whole && tell(0);
  };
  for (std::uint32_t i = 0; i < options.iterations; ++i)
    if (!solve(by_user, item_factors, user_factors) || !solve(by_item, user_factors, item_factors))
      return fail(ec::canceled, "the training was canceled in iteration {} of {}", i + 1, options.iterations);
  // The users once more, so that they fit the items that are served.
  if (!solve(by_user, item_factors, user_factors))
    return canceled_while("fitting the users to the last items");
  auto gram = gram_of(item_factors, width, threads);
  out.weights.emplace("item_factors", array::of<float>({items, width}, item_factors));
  out.weights.emplace("user_factors", array::of<float>({users, width}, user_factors));
  out.weights.emplace("gram", array::of<float>({width, width}, gram));
  return {};
}

/// BPR matrix factorisation (Rendle et al., 2009) by stochastic gradient descent, one sample after the other.
expected<void> fit_bpr(const train_config& config, const rows& by_user, std::uint64_t items,
                       const progress_sink& sink, trained_model& out) {
  auto& options = config.bpr;
  std::uint64_t width = options.dimensions;
  auto users = by_user.size();
  // The factors, and their copies in the model and in its file while that is written.
  TROUPE_CHECK(within_memory(config,
                             3 * 4.0 * static_cast<double>((users + items) * width) +
                                 6 * 4.0 * static_cast<double>(by_user.values.size()),
                             "lower bpr.dimensions, or raise memory_cap"));
  random_source random{config.seed};
  auto user_factors = normal_matrix(users, width, 0.1, random);
  auto item_factors = normal_matrix(items, width, 0.1, random);
  std::vector<float> bias(items);
  auto sorted = by_user;
  std::vector<std::uint32_t> user_of(by_user.values.size());
  for (std::uint32_t u = 0; u < users; ++u) {
    std::sort(sorted.values.begin() + static_cast<std::ptrdiff_t>(sorted.begin[u]),
              sorted.values.begin() + static_cast<std::ptrdiff_t>(sorted.begin[u + 1]));
    std::fill(user_of.begin() + static_cast<std::ptrdiff_t>(sorted.begin[u]),
              user_of.begin() + static_cast<std::ptrdiff_t>(sorted.begin[u + 1]), u);
  }
  auto samples = user_of.size();
  // A step is an epoch, or where that takes long a part of one.
  constexpr std::uint64_t part_samples = 1 << 20;
  auto parts = std::max<std::uint64_t>(1, (samples + part_samples - 1) / part_samples);
  auto begun = std::chrono::steady_clock::now();
  auto tell = [&](std::uint64_t step, double loss, double rate) {
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    return !sink || sink({"fitting", step, options.epochs * parts, loss, rate, 0,
                          static_cast<double>(samples) * static_cast<double>(step) /
                              static_cast<double>(parts) / std::max(seconds, 1e-9)});
  };
  for (std::uint32_t epoch = 0; epoch < options.epochs; ++epoch) {
    auto part = options.epochs == 1 ? 0 : static_cast<double>(epoch) / (options.epochs - 1);
    auto rate = static_cast<float>(options.learning_rate +
                                   part * (options.last_learning_rate - options.learning_rate));
    auto ridge = static_cast<float>(options.regularization);
    auto other_ridge = static_cast<float>(options.item_regularization);
    double loss = 0;
    for (std::uint64_t s = 0; s < samples; ++s) {
      if (s > 0 && s % part_samples == 0 &&
          !tell(epoch * parts + s / part_samples, loss / static_cast<double>(s), rate))
        return fail(ec::canceled, "the training was canceled in epoch {} of {}", epoch + 1, options.epochs);
      auto at = random.below(samples);
      auto user = user_of[at];
      auto taken = sorted.values[at];
      auto row = sorted[user];
      if (row.size() >= items)
        continue;
      std::uint32_t other = 0;
      do
        other = static_cast<std::uint32_t>(random.below(items));
      while (std::binary_search(row.begin(), row.end(), other));
      float* __restrict w = user_factors.data() + user * width;
      float* __restrict p = item_factors.data() + taken * width;
      float* __restrict n = item_factors.data() + other * width;
      float margin = bias[taken] - bias[other];
#pragma omp simd reduction(+ : margin)
      for (std::uint64_t d = 0; d < width; ++d)
        margin += w[d] * (p[d] - n[d]);
      auto gradient = 1 / (1 + std::exp(margin));
      loss += std::log1p(std::exp(-static_cast<double>(margin)));
#pragma omp simd
      for (std::uint64_t d = 0; d < width; ++d) {
        auto wd = w[d], pd = p[d], nd = n[d];
        w[d] += rate * (gradient * (pd - nd) - ridge * wd);
        p[d] += rate * (gradient * wd - ridge * pd);
        n[d] += rate * (-gradient * wd - other_ridge * nd);
      }
      bias[taken] += rate * (gradient - ridge * bias[taken]);
      bias[other] += rate * (-gradient - other_ridge * bias[other]);
    }
    if (!tell((epoch + 1) * parts, loss / static_cast<double>(std::max<std::uint64_t>(1, samples)), rate))
      return fail(ec::canceled, "the training was canceled after {} of {} epochs", epoch + 1, options.epochs);
  }
  out.weights.emplace("item_factors", array::of<float>({items, width}, item_factors));
  out.weights.emplace("item_bias", array::of<float>({items}, bias));
  out.weights.emplace("user_factors", array::of<float>({users, width}, user_factors));
  return {};
}

} // namespace

expected<trained_model> fit_classic(const train_config& config, const interactions& data, unsigned threads,
                                    const progress_sink& sink) {
  trained_model out;
  out.kind = config.model;
  out.config = config.json();
  out.seed = config.seed;
  out.items = data.items;
  out.data = fmt::format(R"({{"sha256":"{}","interactions":{}}})", data.digest, data.size());
  auto by_user = items_by_user(data, true);
  auto by_item = transpose(by_user, data.items.size());
  if (config.model == "popularity")
    TROUPE_CHECK(fit_popularity(by_item, out));
  else if (config.model == "item_knn")
    TROUPE_CHECK(fit_item_knn(config, by_user, by_item, threads, sink, out));
  else if (config.model == "ease")
    TROUPE_CHECK(fit_ease(config, by_user, by_item, threads, sink, out));
  else if (config.model == "ials" || config.model == "bpr") {
    out.users = data.users;
    if (config.model == "ials")
      TROUPE_CHECK(fit_ials(config, by_user, by_item, threads, sink, out));
    else
      TROUPE_CHECK(fit_bpr(config, by_user, data.items.size(), sink, out));
  } else
    return fail(ec::invalid_argument, "{} is no model of this part of the engine", config.model);
  return out;
}

} // namespace troupe::trainer
