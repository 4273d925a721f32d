#include "common/model/scorer.hpp"

#include "common/model/positive.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

namespace troupe::model {

namespace {

/// Puts a reason among the heaviest, heaviest first; of equal ones that which came first. Weights are above
/// 0, but for those of places that are still free.
void put_heavy(std::span<reason> among, reason next) {
  if (among.empty() || !(next.weight > among.back().weight))
    return;
  auto at = among.end() - 1;
  for (; at != among.begin() && next.weight > (at - 1)->weight; --at)
    *at = *(at - 1);
  *at = next;
}

/// The history with each item once, in order.
void distinct(const std::vector<row>& history, std::vector<row>& into) {
  into = history;
  std::sort(into.begin(), into.end());
  into.erase(std::unique(into.begin(), into.end()), into.end());
}

/// A few of the rows of a model, each with its place among them; one thread has one at a time. A table of all
/// rows, so that looking one up is one load.
class row_places {
public:
  row_places(std::span<const row> of, std::size_t items) : of_{of} {
    if (all().size() < items)
      all().resize(items, 0);
    for (std::size_t i = of.size(); i-- > 0;)
      all()[of[i]] = static_cast<std::uint32_t>(i) + 1;
  }
  ~row_places() {
    for (auto each : of_)
      all()[each] = 0;
  }
  row_places(const row_places&) = delete;
  row_places& operator=(const row_places&) = delete;

  /// The place, counted from 1; 0: it is none of them. Of one that stands twice the first.
  std::uint32_t operator[](row item) const noexcept { return all()[item]; }

private:
  static std::vector<std::uint32_t>& all() {
    thread_local std::vector<std::uint32_t> made;
    return made;
  }
  std::span<const row> of_;
};

class popularity final : public scorer {
public:
  popularity(tensor_file weights, std::span<const float> scores)
      : weights_{std::move(weights)}, scores_{scores} {}
  std::size_t items() const noexcept override { return scores_.size(); }
  bool supports_cold_start() const noexcept override { return true; }
  std::size_t batch() const noexcept override { return 100'000; }
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

  // A call costs the pass over the history's neighbours, whatever the number of candidates.
  std::size_t batch() const noexcept override { return 100'000; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    row_places places{of.rows, items()};
    std::fill(out.begin(), out.end(), 0.0f);
    thread_local std::vector<row> history;
    distinct(context.history, history);
    for (auto item : history)
      for (std::size_t k = item * width_; k < (item + std::size_t{1}) * width_; ++k)
        if (near_[k] >= 0)
          if (auto place = places[static_cast<row>(near_[k])];
              place > 0 && near_[k] != static_cast<std::int32_t>(item))
            out[place - 1] += similarity_[k];
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = out[places[of.rows[i]] - 1];
  }

  void attributions(const user_context& context, std::span<const row> of, std::size_t most,
                    std::span<reason> into) const override {
    row_places places{of, items()};
    std::fill(into.begin(), into.end(), reason{0, 0});
    thread_local std::vector<row> history;
    distinct(context.history, history);
    for (auto from : history)
      for (std::size_t k = from * width_; k < (from + std::size_t{1}) * width_; ++k)
        if (near_[k] >= 0)
          if (auto place = places[static_cast<row>(near_[k])];
              place > 0 && near_[k] != static_cast<std::int32_t>(from))
            put_heavy(into.subspan((place - 1) * most, most), {from, similarity_[k]});
  }

  void similar_items(row item, std::size_t most, std::vector<reason>& into) const override {
    into.clear();
    for (std::size_t k = item * width_; k < (item + std::size_t{1}) * width_; ++k)
      if (near_[k] >= 0 && near_[k] != static_cast<std::int32_t>(item) && similarity_[k] > 0)
        into.push_back({static_cast<row>(near_[k]), similarity_[k]});
    if (into.size() <= most)
      return;
    std::stable_sort(into.begin(), into.end(), [](auto& a, auto& b) { return a.weight > b.weight; });
    into.resize(most);
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

  std::size_t batch() const noexcept override { return 4096; }
  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    std::vector<float> made;
    if (context.vector.empty())
      made = user_vector(context);
    auto& x = context.vector.empty() ? made : context.vector;
    if (x.empty())
      std::fill(out.begin(), out.end(), 0.0f);
    else
      products_of(items_, of.rows, x, out);
  }

  std::size_t width() const noexcept override { return width_; }
  std::vector<float> item_vectors() const override { return {items_.begin(), items_.end()}; }
  std::vector<float> user_vector(const user_context& context) const override {
    if (!context.history.empty()) {
      auto& solved = solved_for(context.history);
      if (!solved.good)
        return {};
      thread_local std::vector<double> b;
      b.assign(width_, 0);
      for (auto item : solved.history)
        for (std::size_t d = 0; d < width_; ++d)
          b[d] += items_[item * width_ + d];
      solve_factored(solved.factor, b);
      return {b.begin(), b.end()};
    }
    if (context.user && (*context.user + std::size_t{1}) * width_ <= users_.size()) {
      auto* at = users_.data() + *context.user * width_;
      return {at, at + width_};
    }
    return {};
  }

  // The score is linear in the history: y_i' W^-1 y_j for each j of it (Hu, Koren and Volinsky, section 5).
  void attributions(const user_context& context, std::span<const row> of, std::size_t most,
                    std::span<reason> into) const override {
    std::fill(into.begin(), into.end(), reason{0, 0});
    if (context.history.empty())
      return;
    auto& solved = solved_for(context.history);
    if (!solved.good)
      return;
    thread_local std::vector<double> pull;
    thread_local std::vector<float> narrow;
    for (std::size_t i = 0; i < of.size(); ++i) {
      auto* y = items_.data() + of[i] * width_;
      pull.assign(y, y + width_);
      solve_factored(solved.factor, pull);
      narrow.assign(pull.begin(), pull.end());
      for (auto from : solved.history)
        if (from != of[i])
          put_heavy(into.subspan(i * most, most),
                    {from, dot(items_.data() + from * width_, narrow.data(), width_)});
    }
  }

private:
  /// A history that a thread has solved for, each item once, and the factor of its system: who asks for the
  /// reasons of an answer has just asked for its scores, as have a few others beside it.
  struct solution {
    std::uint64_t of = 0; ///< Which model; 0: none.
    std::vector<row> asked, history;
    std::vector<double> factor;
    bool good = false;
  };

  const solution& solved_for(const std::vector<row>& asked) const {
    thread_local std::array<solution, 8> kept;
    thread_local std::size_t next = 0;
    for (auto& each : kept)
      if (each.of == number_ && each.asked == asked)
        return each;
    auto& last = kept[next++ % kept.size()];
    last.of = number_;
    last.asked = asked;
    distinct(asked, last.history);
    last.factor.resize(gram_.size());
    for (std::size_t i = 0; i < gram_.size(); ++i)
      last.factor[i] = options_.alpha * gram_[i];
    thread_local std::vector<const float*> rows;
    rows.clear();
    for (auto item : last.history)
      rows.push_back(items_.data() + item * width_);
    add_outer_products(last.factor, rows, width_);
    auto weight = static_cast<double>(rows.size()) + options_.alpha * static_cast<double>(items());
    auto ridge = options_.regularization * std::pow(weight, options_.frequency_power);
    for (std::size_t d = 0; d < width_; ++d)
      last.factor[d * width_ + d] += ridge;
    last.good = factor_positive(last.factor, width_);
    return last;
  }

  static std::uint64_t next_number() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  tensor_file weights_;
  std::span<const float> items_, users_, gram_;
  std::size_t width_;
  fold_in options_;
  std::uint64_t number_ = next_number();
};

class bpr final : public scorer {
public:
  bpr(tensor_file weights, std::span<const float> items, std::span<const float> bias,
      std::span<const float> users, std::size_t width)
      : weights_{std::move(weights)}, items_{items}, bias_{bias}, users_{users}, width_{width} {}
  std::size_t items() const noexcept override { return bias_.size(); }
  bool supports_cold_start() const noexcept override { return true; }

  std::size_t batch() const noexcept override { return 4096; }
  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    std::vector<float> made;
    if (context.vector.empty())
      made = user_vector(context);
    auto& x = context.vector.empty() ? made : context.vector;
    if (x.empty())
      std::fill(out.begin(), out.end(), 0.0f);
    else
      products_of(items_, of.rows, std::span{x}.first(width_), out);
    for (std::size_t i = 0; i < of.rows.size(); ++i)
      out[i] += bias_[of.rows[i]];
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

void scorer::attributions(const user_context&, std::span<const row>, std::size_t,
                          std::span<reason> into) const {
  std::fill(into.begin(), into.end(), reason{0, 0});
}

void scorer::similar_items(row, std::size_t, std::vector<reason>& into) const {
  into.clear();
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

} // namespace troupe::model
