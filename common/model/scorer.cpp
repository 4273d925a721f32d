#include "common/model/scorer.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::model {

namespace {

std::vector<reason> heaviest(std::vector<reason> all, std::size_t most) {
  std::erase_if(all, [](auto& each) { return !(each.weight > 0); });
  std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.weight > b.weight; });
  if (all.size() > most)
    all.resize(most);
  return all;
}

/// The history with each item once.
std::vector<row> distinct(const std::vector<row>& history) {
  auto items = history;
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  return items;
}

class popularity final : public scorer {
public:
  popularity(tensor_file weights, std::span<const float> scores)
      : weights_{std::move(weights)}, scores_{scores} {}
  std::size_t items() const noexcept override { return scores_.size(); }
  bool supports_cold_start() const noexcept override { return true; }
  void score(const user_context&, const candidates& of, std::span<float> out) const override {
    for (std::size_t i = 0; i < of.rows.size(); ++i)
      out[i] = scores_[of.rows[i]];
  }

private:
  tensor_file weights_;
  std::span<const float> scores_;
};

class neighbours final : public scorer {
public:
  neighbours(tensor_file weights, std::span<const std::int32_t> near, std::span<const float> similarity,
             std::size_t width)
      : weights_{std::move(weights)}, near_{near}, similarity_{similarity}, width_{width} {}
  std::size_t items() const noexcept override { return width_ == 0 ? 0 : near_.size() / width_; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    // Candidates are few and neighbours many: a table of the candidates, one pass over the history's rows.
    std::unordered_map<std::int32_t, float> sums;
    sums.reserve(of.rows.size());
    for (auto each : of.rows)
      sums.emplace(static_cast<std::int32_t>(each), 0.0f);
    for (auto item : distinct(context.history))
      for (std::size_t k = item * width_; k < (item + std::size_t{1}) * width_; ++k)
        if (near_[k] != static_cast<std::int32_t>(item))
          if (auto found = sums.find(near_[k]); found != sums.end())
            found->second += similarity_[k];
    for (std::size_t i = 0; i < of.rows.size(); ++i)
      out[i] = sums.find(static_cast<std::int32_t>(of.rows[i]))->second;
  }

  std::vector<std::vector<reason>> attributions(const user_context& context, std::span<const row> of,
                                                std::size_t most) const override {
    std::unordered_map<std::int32_t, std::vector<reason>> all;
    for (auto item : of)
      all.try_emplace(static_cast<std::int32_t>(item));
    for (auto from : distinct(context.history))
      for (std::size_t k = from * width_; k < (from + std::size_t{1}) * width_; ++k)
        if (auto found = all.find(near_[k]);
            found != all.end() && near_[k] != static_cast<std::int32_t>(from))
          found->second.push_back({from, similarity_[k]});
    std::vector<std::vector<reason>> out;
    for (auto item : of)
      out.push_back(heaviest(all[static_cast<std::int32_t>(item)], most));
    return out;
  }

  std::vector<reason> similar_items(row item, std::size_t most) const override {
    std::vector<reason> all;
    for (std::size_t k = item * width_; k < (item + std::size_t{1}) * width_; ++k)
      if (near_[k] >= 0 && near_[k] != static_cast<std::int32_t>(item))
        all.push_back({static_cast<row>(near_[k]), similarity_[k]});
    return heaviest(std::move(all), most);
  }

private:
  tensor_file weights_;
  std::span<const std::int32_t> near_;
  std::span<const float> similarity_;
  std::size_t width_;
};

class ials final : public scorer {
public:
  ials(tensor_file weights, std::span<const float> items, std::span<const float> users,
       std::span<const float> gram, std::size_t width, fold_in options)
      : weights_{std::move(weights)}, items_{items}, users_{users}, gram_{gram}, width_{width},
        options_{options} {}
  std::size_t items() const noexcept override { return items_.size() / width_; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    auto x = context.vector.empty() ? user_vector(context) : context.vector;
    x.resize(width_, 0);
    for (std::size_t i = 0; i < of.rows.size(); ++i)
      out[i] = dot(items_.data() + of.rows[i] * width_, x.data(), width_);
  }

  std::size_t width() const noexcept override { return width_; }
  std::vector<float> item_vectors() const override { return {items_.begin(), items_.end()}; }
  std::vector<float> user_vector(const user_context& context) const override {
    if (!context.history.empty()) {
      auto history = distinct(context.history);
      auto matrix = system_of(history);
      std::vector<double> b(width_, 0);
      for (auto item : history)
        for (std::size_t d = 0; d < width_; ++d)
          b[d] += items_[item * width_ + d];
      if (solve_positive(matrix, b))
        return {b.begin(), b.end()};
    } else if (context.user && (*context.user + std::size_t{1}) * width_ <= users_.size()) {
      auto* at = users_.data() + *context.user * width_;
      return {at, at + width_};
    }
    return {};
  }

  // The score is linear in the history: y_i' W^-1 y_j for each j of it (Hu, Koren and Volinsky, section 5).
  std::vector<std::vector<reason>> attributions(const user_context& context, std::span<const row> of,
                                                std::size_t most) const override {
    std::vector<std::vector<reason>> out(of.size());
    auto history = distinct(context.history);
    if (history.empty())
      return out;
    auto matrix = system_of(history);
    if (!factor_positive(matrix, width_))
      return out;
    std::vector<double> pull(width_);
    for (std::size_t i = 0; i < of.size(); ++i) {
      std::copy_n(items_.data() + of[i] * width_, width_, pull.begin());
      solve_factored(matrix, pull);
      std::vector<reason> all;
      for (auto from : history) {
        double weight = 0;
        for (std::size_t d = 0; d < width_; ++d)
          weight += items_[from * width_ + d] * pull[d];
        if (from != of[i])
          all.push_back({from, weight});
      }
      out[i] = heaviest(std::move(all), most);
    }
    return out;
  }

private:
  std::vector<double> system_of(const std::vector<row>& history) const {
    std::vector<double> a(gram_.begin(), gram_.end());
    for (auto& each : a)
      each *= options_.alpha;
    for (auto item : history) {
      auto* y = items_.data() + item * width_;
      for (std::size_t r = 0; r < width_; ++r)
        for (std::size_t c = 0; c < width_; ++c)
          a[r * width_ + c] += static_cast<double>(y[r]) * y[c];
    }
    auto weight = static_cast<double>(history.size()) + options_.alpha * static_cast<double>(items());
    auto ridge = options_.regularization * std::pow(weight, options_.frequency_power);
    for (std::size_t d = 0; d < width_; ++d)
      a[d * width_ + d] += ridge;
    return a;
  }

  tensor_file weights_;
  std::span<const float> items_, users_, gram_;
  std::size_t width_;
  fold_in options_;
};

class bpr final : public scorer {
public:
  bpr(tensor_file weights, std::span<const float> items, std::span<const float> bias,
      std::span<const float> users, std::size_t width)
      : weights_{std::move(weights)}, items_{items}, bias_{bias}, users_{users}, width_{width} {}
  std::size_t items() const noexcept override { return bias_.size(); }
  bool supports_cold_start() const noexcept override { return true; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    auto x = context.vector.empty() ? user_vector(context) : context.vector;
    x.resize(width_, 0);
    for (std::size_t i = 0; i < of.rows.size(); ++i)
      out[i] = bias_[of.rows[i]] + dot(items_.data() + of.rows[i] * width_, x.data(), width_);
  }

  // One dimension more carries the bias: (x, 1) . (y, b).
  std::size_t width() const noexcept override { return width_ + 1; }
  std::vector<float> item_vectors() const override {
    std::vector<float> out;
    out.reserve(bias_.size() * (width_ + 1));
    for (std::size_t i = 0; i < bias_.size(); ++i) {
      auto* y = items_.data() + i * width_;
      out.insert(out.end(), y, y + width_);
      out.push_back(bias_[i]);
    }
    return out;
  }
  std::vector<float> user_vector(const user_context& context) const override {
    std::vector<float> x(width_ + 1, 0);
    x[width_] = 1;
    if (context.user && (*context.user + std::size_t{1}) * width_ <= users_.size()) {
      auto* at = users_.data() + *context.user * width_;
      std::copy(at, at + width_, x.begin());
      return x;
    }
    if (context.history.empty())
      return {};
    auto share = 1.0f / static_cast<float>(context.history.size());
    for (auto item : context.history)
      for (std::size_t d = 0; d < width_; ++d)
        x[d] += share * items_[item * width_ + d];
    return x;
  }

private:
  tensor_file weights_;
  std::span<const float> items_, bias_, users_;
  std::size_t width_;
};

} // namespace

expected<vocabulary> vocabulary::parse(std::string_view text, std::string_view origin) {
  vocabulary out;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    std::string id{text.substr(0, end)};
    text.remove_prefix(std::min(end + 1, text.size()));
    auto line = out.ids_.size() + 1;
    if (id.empty())
      return fail(ec::corrupt, "cannot read vocabulary {}: line {} is empty", origin, line);
    auto [at, fresh] = out.rows_.emplace(std::move(id), static_cast<row>(line - 1));
    if (!fresh)
      return fail(ec::corrupt, "cannot read vocabulary {}: {} of line {} stands in line {} too", origin,
                  at->first, line, at->second + 1);
    out.ids_.push_back(&at->first);
  }
  return out;
}

std::optional<row> vocabulary::find(std::string_view id) const {
  auto found = rows_.find(id);
  if (found == rows_.end())
    return std::nullopt;
  return found->second;
}

const feature_needs& scorer::features() const noexcept {
  static const feature_needs none;
  return none;
}

std::vector<std::vector<reason>> scorer::attributions(const user_context&, std::span<const row> of,
                                                      std::size_t) const {
  return std::vector<std::vector<reason>>(of.size());
}

std::vector<reason> scorer::similar_items(row, std::size_t) const {
  return {};
}

expected<std::unique_ptr<scorer>> load_popularity(tensor_file weights) {
  TROUPE_TRY(scores, weights.span<float>("item_score", {0}));
  return std::make_unique<popularity>(weights, scores);
}

expected<std::unique_ptr<scorer>> load_neighbours(tensor_file weights) {
  TROUPE_TRY(near, weights.span<std::int32_t>("neighbours", {0, 0}));
  TROUPE_TRY(rows, weights.length_of("neighbours", 0));
  TROUPE_TRY(width, weights.length_of("neighbours", 1));
  TROUPE_TRY(similarity, weights.span<float>("similarity", {rows, width}));
  if (similarity.size() != near.size())
    return fail(ec::corrupt, "{} neighbours have {} similarities", near.size(), similarity.size());
  for (auto each : near)
    if (each >= 0 && static_cast<std::size_t>(each) >= rows)
      return fail(ec::corrupt, "neighbour {} is none of the {} items", each, rows);
  return std::make_unique<neighbours>(weights, near, similarity, width);
}

expected<std::unique_ptr<scorer>> load_ials(tensor_file weights, fold_in options) {
  TROUPE_TRY(items, weights.span<float>("item_factors", {0, 0}));
  TROUPE_TRY(width, weights.length_of("item_factors", 1));
  if (width == 0)
    return fail(ec::corrupt, "item_factors have no columns");
  TROUPE_TRY(users, weights.span<float>("user_factors", {0, width}));
  TROUPE_TRY(gram, weights.span<float>("gram", {width, width}));
  return std::make_unique<ials>(weights, items, users, gram, width, options);
}

expected<std::unique_ptr<scorer>> load_bpr(tensor_file weights) {
  TROUPE_TRY(items, weights.span<float>("item_factors", {0, 0}));
  TROUPE_TRY(rows, weights.length_of("item_factors", 0));
  TROUPE_TRY(width, weights.length_of("item_factors", 1));
  TROUPE_TRY(bias, weights.span<float>("item_bias", {rows}));
  TROUPE_TRY(users, weights.span<float>("user_factors", {0, width}));
  if (bias.size() != rows)
    return fail(ec::corrupt, "{} items have {} biases", rows, bias.size());
  return std::make_unique<bpr>(weights, items, bias, users, width);
}

bool factor_positive(std::span<double> a, std::size_t n) {
  for (std::size_t c = 0; c < n; ++c) {
    for (std::size_t r = c; r < n; ++r) {
      double sum = a[r * n + c];
      for (std::size_t k = 0; k < c; ++k)
        sum -= a[r * n + k] * a[c * n + k];
      if (r > c)
        a[r * n + c] = sum / a[c * n + c];
      else if (!(sum > 0))
        return false;
      else
        a[c * n + c] = std::sqrt(sum);
    }
  }
  return true;
}

void solve_factored(std::span<const double> a, std::span<double> b) {
  auto n = b.size();
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t k = 0; k < r; ++k)
      b[r] -= a[r * n + k] * b[k];
    b[r] /= a[r * n + r];
  }
  for (std::size_t r = n; r-- > 0;) {
    for (std::size_t k = r + 1; k < n; ++k)
      b[r] -= a[k * n + r] * b[k];
    b[r] /= a[r * n + r];
  }
}

bool solve_positive(std::span<double> a, std::span<double> b) {
  if (!factor_positive(a, b.size()))
    return false;
  solve_factored(a, b);
  return true;
}

} // namespace troupe::model
