#include "services/trainer/engine/classic.hpp"

#include "services/trainer/engine/parallel.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/tensor/torch/linear_algebra.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
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

void put_neighbours(trained_model& out, std::uint64_t items, std::uint32_t keep,
                    std::span<const std::int32_t> neighbours, std::span<const float> similarity) {
  out.weights.emplace("neighbours", array::of<std::int32_t>({items, keep}, neighbours));
  out.weights.emplace("similarity", array::of<float>({items, keep}, similarity));
}

expected<void> within_memory(const train_config& config, double bytes) {
  if (bytes > static_cast<double>(config.memory_cap))
    return fail(ec::invalid_argument,
                "training {} on this data takes {:.1f} GiB, more than memory_cap ({:.1f} GiB)", config.model,
                bytes / 0x1p30, static_cast<double>(config.memory_cap) / 0x1p30);
  return {};
}

/// Calls `use(item, row)` with how often each other item was taken by the same users, weighed by user.
template <class Use>
void co_occurrences(const rows& by_user, const rows& by_item, std::span<const float> user_weight,
                    unsigned threads, Use use) {
  auto items = by_item.size();
  // Popular items take longest: deal the items out instead of cutting them into parts.
  std::atomic<std::uint64_t> next{0};
  parallel_for(std::max(1U, threads), threads, [&](std::uint64_t, std::uint64_t, std::uint64_t) {
    std::vector<float> row(items);
    for (auto item = next++; item < items; item = next++) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (auto user : by_item[item])
        for (auto other : by_user[user])
          row[other] += user_weight[user];
      use(item, std::span{row});
    }
  });
}

expected<void> fit_popularity(const rows& by_item, trained_model& out) {
  std::vector<float> score(by_item.size());
  for (std::uint64_t i = 0; i < score.size(); ++i)
    score[i] = static_cast<float>(by_item[i].size());
  out.weights.emplace("item_score", array::of<float>({score.size()}, score));
  return {};
}

/// Cosine between items with shrinkage and an exponent on popularity (Sarwar et al., 2001; Aiolli, 2013).
expected<void> fit_item_knn(const train_config& config, const rows& by_user, const rows& by_item,
                            unsigned threads, trained_model& out) {
  auto& how = config.item_knn;
  auto items = by_item.size();
  auto keep = static_cast<std::uint32_t>(std::min<std::uint64_t>(how.neighbours, items));
  TROUPE_CHECK(within_memory(config, static_cast<double>(items) * (8.0 * keep + 4.0 * threads)));
  std::vector<float> user_weight(by_user.size());
  for (std::uint64_t u = 0; u < by_user.size(); ++u)
    user_weight[u] = static_cast<float>(
        std::pow(std::max<double>(1, static_cast<double>(by_user[u].size())), -how.user_power));
  std::vector<double> norm(items);
  for (std::uint64_t i = 0; i < items; ++i) {
    for (auto user : by_item[i])
      norm[i] += user_weight[user];
    norm[i] = std::max(norm[i], 1e-9);
  }
  // The shrinkage counts users; our counts are weighed.
  auto users_taking = std::max<double>(1, static_cast<double>(by_user.values.size()));
  auto shrink = how.shrink * std::accumulate(norm.begin(), norm.end(), 0.0) / users_taking;
  // Each candidate hears its own nearest neighbours; serving goes from what was taken to the candidates, so
  // the lists are turned round.
  std::vector<std::int32_t> nearest(items * keep);
  std::vector<float> nearness(items * keep);
  co_occurrences(by_user, by_item, user_weight, threads, [&](std::uint64_t item, std::span<float> row) {
    thread_local std::vector<std::uint32_t> order;
    for (std::uint64_t other = 0; other < items; ++other)
      if (row[other] != 0)
        row[other] = static_cast<float>(row[other] / (std::pow(norm[other], 1 - how.popularity_power) *
                                                          std::pow(norm[item], how.popularity_power) +
                                                      shrink));
    row[item] = 0;
    keep_largest(row, keep, order, nearest.data() + item * keep, nearness.data() + item * keep);
  });
  std::vector<std::vector<std::pair<float, std::int32_t>>> turned(items);
  for (std::uint64_t at = 0; at < nearest.size(); ++at)
    if (nearest[at] >= 0)
      turned[static_cast<std::size_t>(nearest[at])].emplace_back(nearness[at],
                                                                 static_cast<std::int32_t>(at / keep));
  std::size_t width = 1;
  for (auto& row : turned) {
    std::stable_sort(row.begin(), row.end(), [](auto& a, auto& b) { return a.first > b.first; });
    row.resize(std::min<std::size_t>(row.size(), how.serve_neighbours));
    width = std::max(width, row.size());
  }
  std::vector<std::int32_t> neighbours(items * width, -1);
  std::vector<float> similarity(items * width);
  for (std::uint64_t i = 0; i < items; ++i)
    for (std::size_t k = 0; k < turned[i].size(); ++k) {
      neighbours[i * width + k] = turned[i][k].second;
      similarity[i * width + k] = turned[i][k].first;
    }
  put_neighbours(out, items, static_cast<std::uint32_t>(width), neighbours, similarity);
  return {};
}

/// EASE (Steck, 2019): B = I - P / diag(P) with P = (X'X + l2 I)^-1, diagonal zero.
expected<void> fit_ease(const train_config& config, const rows& by_user, const rows& by_item,
                        unsigned threads, trained_model& out) {
  auto& how = config.ease;
  auto items = by_item.size();
  if (how.dense && items > 20'000)
    return fail(ec::invalid_argument, "ease.dense is for up to 20,000 items, and there are {}", items);
  TROUPE_CHECK(within_memory(config, 3 * 4.0 * static_cast<double>(items) * static_cast<double>(items)));
  std::vector<float> matrix(items * items);
  std::vector<float> ones(by_user.size(), 1.0f);
  co_occurrences(by_user, by_item, ones, threads, [&](std::uint64_t item, std::span<float> row) {
    row[item] += static_cast<float>(how.l2);
    std::copy(row.begin(), row.end(), matrix.begin() + static_cast<std::ptrdiff_t>(item * items));
  });
  tensor::use_threads(threads);
  TROUPE_CHECK(tensor::invert_spd(matrix, items));
  std::vector<float> diagonal(items);
  for (std::uint64_t i = 0; i < items; ++i)
    diagonal[i] = matrix[i * items + i];
  auto keep = static_cast<std::uint32_t>(std::min<std::uint64_t>(how.serve_neighbours, items));
  std::vector<std::int32_t> neighbours(how.dense ? 0 : items * keep);
  std::vector<float> similarity(how.dense ? 0 : items * keep);
  parallel_for(items, threads, [&](std::uint64_t begin, std::uint64_t end, std::uint64_t) {
    std::vector<std::uint32_t> order;
    for (auto i = begin; i < end; ++i) {
      std::span<float> row{matrix.data() + i * items, items};
      for (std::uint64_t j = 0; j < items; ++j)
        row[j] = i == j ? 0 : -row[j] / diagonal[j];
      if (!how.dense)
        keep_largest(row, keep, order, neighbours.data() + i * keep, similarity.data() + i * keep);
    }
  });
  if (how.dense)
    out.weights.emplace("dense", array::of<float>({items, items}, matrix));
  else
    put_neighbours(out, items, keep, neighbours, similarity);
  return {};
}

/// Adds the outer products of `rows_` to the lower triangle of `matrix`, four at a time.
void add_outer_products(std::span<const float* const> rows_, std::uint64_t width, float* matrix) {
  std::size_t r = 0;
  for (; r + 4 <= rows_.size(); r += 4) {
    const float* __restrict a = rows_[r];
    const float* __restrict b = rows_[r + 1];
    const float* __restrict c = rows_[r + 2];
    const float* __restrict d = rows_[r + 3];
    for (std::uint64_t i = 0; i < width; ++i) {
      float* __restrict line = matrix + i * width;
      auto ai = a[i], bi = b[i], ci = c[i], di = d[i];
#pragma omp simd
      for (std::uint64_t j = 0; j <= i; ++j)
        line[j] += ai * a[j] + bi * b[j] + ci * c[j] + di * d[j];
    }
  }
  for (; r < rows_.size(); ++r) {
    const float* __restrict a = rows_[r];
    for (std::uint64_t i = 0; i < width; ++i) {
      float* __restrict line = matrix + i * width;
#pragma omp simd
      for (std::uint64_t j = 0; j <= i; ++j)
        line[j] += a[i] * a[j];
    }
  }
}

/// Solves (lower triangle) `matrix` x = `right` in place by Cholesky.
void solve_spd(float* matrix, float* right, std::uint64_t width) {
  for (std::uint64_t i = 0; i < width; ++i) {
    float* line = matrix + i * width;
    for (std::uint64_t j = 0; j <= i; ++j) {
      const float* other = matrix + j * width;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::uint64_t k = 0; k < j; ++k)
        sum += line[k] * other[k];
      if (i == j)
        line[j] = std::sqrt(std::max(line[j] - sum, 1e-12f));
      else
        line[j] = (line[j] - sum) / other[j];
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::uint64_t k = 0; k < i; ++k)
      sum += line[k] * right[k];
    right[i] = (right[i] - sum) / line[i];
  }
  for (std::uint64_t i = width; i-- > 0;) {
    right[i] /= matrix[i * width + i];
    for (std::uint64_t k = 0; k < i; ++k)
      right[k] -= matrix[i * width + k] * right[i];
  }
}

/// The lower triangle of `factors`' Gram matrix, mirrored.
std::vector<float> gram_of(const std::vector<float>& factors, std::uint64_t width, unsigned threads) {
  constexpr std::uint64_t part = 4096;
  auto count = factors.size() / width;
  auto parts = (count + part - 1) / part;
  std::vector<std::vector<float>> sums(parts);
  parallel_for(parts, threads, [&](std::uint64_t begin, std::uint64_t end, std::uint64_t) {
    std::vector<const float*> pointers;
    for (auto p = begin; p < end; ++p) {
      pointers.clear();
      for (auto row = p * part; row < std::min(count, (p + 1) * part); ++row)
        pointers.push_back(factors.data() + row * width);
      sums[p].assign(width * width, 0.0f);
      add_outer_products(pointers, width, sums[p].data());
    }
  });
  std::vector<float> out(width * width);
  for (auto& sum : sums)
    for (std::uint64_t i = 0; i < out.size(); ++i)
      out[i] += sum[i];
  for (std::uint64_t i = 0; i < width; ++i)
    for (std::uint64_t j = i + 1; j < width; ++j)
      out[i * width + j] = out[j * width + i];
  return out;
}

/// One half of an iteration: the best factors of each row given the other side's.
void solve_side(const train_config& config, const rows& by_row, const std::vector<float>& other,
                std::vector<float>& own, unsigned threads) {
  auto& how = config.ials;
  std::uint64_t width = how.dimensions;
  auto gram = gram_of(other, width, threads);
  auto other_rows = other.size() / width;
  std::atomic<std::uint64_t> next{0};
  parallel_for(std::max(1U, threads), threads, [&](std::uint64_t, std::uint64_t, std::uint64_t) {
    std::vector<float> matrix(width * width);
    std::vector<const float*> pointers;
    for (auto row = next++; row < by_row.size(); row = next++) {
      auto taken = by_row[row];
      for (std::uint64_t i = 0; i < matrix.size(); ++i)
        matrix[i] = static_cast<float>(how.alpha) * gram[i];
      float* right = own.data() + row * width;
      std::fill_n(right, width, 0.0f);
      pointers.clear();
      for (auto entry : taken) {
        const float* vector = other.data() + entry * width;
        pointers.push_back(vector);
        for (std::uint64_t d = 0; d < width; ++d)
          right[d] += vector[d];
      }
      add_outer_products(pointers, width, matrix.data());
      auto weight = static_cast<double>(taken.size()) + how.alpha * static_cast<double>(other_rows);
      auto ridge = static_cast<float>(how.regularization * std::pow(weight, how.frequency_power));
      for (std::uint64_t d = 0; d < width; ++d)
        matrix[d * width + d] += ridge;
      if (taken.empty())
        continue;
      solve_spd(matrix.data(), right, width);
    }
  });
}

/// iALS (Hu, Koren, Volinsky, 2008) with the regularization of Rendle et al. (2021).
expected<void> fit_ials(const train_config& config, const rows& by_user, const rows& by_item,
                        unsigned threads, const progress_sink& sink, trained_model& out) {
  auto& how = config.ials;
  std::uint64_t width = how.dimensions;
  auto users = by_user.size();
  auto items = by_item.size();
  TROUPE_CHECK(within_memory(config, 4.0 * static_cast<double>((users + items) * width)));
  random_source random{config.seed};
  auto deviation = how.deviation / std::sqrt(static_cast<double>(width));
  auto user_factors = normal_matrix(users, width, deviation, random);
  auto item_factors = normal_matrix(items, width, deviation, random);
  auto begun = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i < how.iterations; ++i) {
    solve_side(config, by_user, item_factors, user_factors, threads);
    solve_side(config, by_item, user_factors, item_factors, threads);
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    if (sink && !sink({"fitting", i + 1, how.iterations, 0, 0, 0,
                       static_cast<double>(by_user.values.size()) * (i + 1) / std::max(seconds, 1e-9)}))
      return fail(ec::canceled, "the training was canceled after {} of {} iterations", i + 1, how.iterations);
  }
  // The users once more, so that they fit the items that are served.
  solve_side(config, by_user, item_factors, user_factors, threads);
  auto gram = gram_of(item_factors, width, threads);
  out.weights.emplace("item_factors", array::of<float>({items, width}, item_factors));
  out.weights.emplace("user_factors", array::of<float>({users, width}, user_factors));
  out.weights.emplace("gram", array::of<float>({width, width}, gram));
  return {};
}

/// BPR matrix factorisation (Rendle et al., 2009) by stochastic gradient descent, one sample after the other.
expected<void> fit_bpr(const train_config& config, const rows& by_user, std::uint64_t items,
                       const progress_sink& sink, trained_model& out) {
  auto& how = config.bpr;
  std::uint64_t width = how.dimensions;
  auto users = by_user.size();
  TROUPE_CHECK(
      within_memory(config, 4.0 * static_cast<double>((users + items) * width + 2 * by_user.values.size())));
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
  auto begun = std::chrono::steady_clock::now();
  for (std::uint32_t epoch = 0; epoch < how.epochs; ++epoch) {
    auto part = how.epochs == 1 ? 0 : static_cast<double>(epoch) / (how.epochs - 1);
    auto rate = static_cast<float>(how.learning_rate + part * (how.last_learning_rate - how.learning_rate));
    auto ridge = static_cast<float>(how.regularization);
    auto other_ridge = static_cast<float>(how.item_regularization);
    double loss = 0;
    for (std::uint64_t s = 0; s < samples; ++s) {
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
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    if (sink && !sink({"fitting", epoch + 1, how.epochs,
                       loss / static_cast<double>(std::max<std::uint64_t>(1, samples)), rate, 0,
                       static_cast<double>(samples) * (epoch + 1) / std::max(seconds, 1e-9)}))
      return fail(ec::canceled, "the training was canceled after {} of {} epochs", epoch + 1, how.epochs);
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
    TROUPE_CHECK(fit_item_knn(config, by_user, by_item, threads, out));
  else if (config.model == "ease")
    TROUPE_CHECK(fit_ease(config, by_user, by_item, threads, out));
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
