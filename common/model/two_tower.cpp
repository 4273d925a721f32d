#include "common/model/scorer.hpp"

#include <algorithm>

namespace troupe::model {

namespace {

class two_tower final : public scorer {
public:
  struct parts {
    std::span<const float> items, history, users, query, recency;
    std::size_t item_width = 0, width = 0;
    layers tower;
  };

  two_tower(tensor_file weights, parts from, two_tower_shape shape)
      : weights_{std::move(weights)}, has_{std::move(from)}, shape_{shape} {}

  std::size_t items() const noexcept override { return has_.items.size() / has_.item_width; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    auto user = context.vector.empty() ? user_vector(context) : context.vector;
    user.resize(has_.item_width, 0);
    products_of(has_.items, of.rows, user, out);
  }

  std::size_t width() const noexcept override { return has_.item_width; }
  std::vector<float> item_vectors() const override { return {has_.items.begin(), has_.items.end()}; }

  std::vector<float> user_vector(const user_context& context) const override {
    std::vector<float> x(has_.width, 0);
    auto length = std::min(has_.recency.size(), context.history.size());
    bool known = context.user && (*context.user + std::size_t{1}) * has_.width <= has_.users.size();
    if (length == 0 && !known)
      return {};
    if (length > 0) {
      std::vector<float> weights(length);
      auto newest = context.history.end() - static_cast<std::ptrdiff_t>(length);
      auto recency = has_.recency.last(length);
      for (std::size_t t = 0; t < length; ++t)
        weights[t] = recency[t] +
                     dot(has_.query.data(), embedding(newest[static_cast<std::ptrdiff_t>(t)]), has_.width);
      softmax(weights.data(), length);
      for (std::size_t t = 0; t < length; ++t)
        add_scaled(x.data(), embedding(newest[static_cast<std::ptrdiff_t>(t)]), weights[t], has_.width);
    }
    if (known)
      add_scaled(x.data(), has_.users.data() + *context.user * has_.width, 1, has_.width);
    auto out = has_.tower.apply(std::move(x), 1, false);
    if (shape_.normalised)
      normalise(out);
    return out;
  }

private:
  const float* embedding(row item) const noexcept { return has_.history.data() + item * has_.width; }

  tensor_file weights_;
  parts has_;
  two_tower_shape shape_;
};

} // namespace

expected<std::unique_ptr<scorer>> load_two_tower(tensor_file weights, two_tower_shape shape) {
  two_tower::parts parts;
  TROUPE_TRY(items, weights.span<float>("item_vectors", {0, 0}));
  TROUPE_TRY(count, weights.length_of("item_vectors", 0));
  TROUPE_TRY(item_width, weights.length_of("item_vectors", 1));
  TROUPE_TRY(history, weights.span<float>("history_embedding", {count, 0}));
  TROUPE_TRY(width, weights.length_of("history_embedding", 1));
  if (item_width == 0 || width == 0 || history.size() != count * width)
    return fail(ec::corrupt, "item_vectors are [{},{}] and history_embedding has {} numbers", count,
                item_width, history.size());
  TROUPE_TRY(query, weights.span<float>("pooling.query", {width}));
  TROUPE_TRY(recency, weights.span<float>("pooling.recency", {0}));
  if (recency.empty())
    return fail(ec::corrupt, "pooling.recency is empty: no history could be looked at");
  if (weights.has("user_embedding")) {
    TROUPE_TRY(users, weights.span<float>("user_embedding", {0, width}));
    parts.users = users;
  }
  TROUPE_TRY(tower, layers::load(weights, "user_tower", width, shape.between, 1));
  if (tower.out() != item_width)
    return fail(ec::corrupt, "the user tower gives vectors of {}, those of items have {}", tower.out(),
                item_width);
  parts.items = items;
  parts.history = history;
  parts.query = query;
  parts.recency = recency;
  parts.item_width = item_width;
  parts.width = width;
  parts.tower = std::move(tower);
  return std::make_unique<two_tower>(weights, std::move(parts), shape);
}

} // namespace troupe::model
