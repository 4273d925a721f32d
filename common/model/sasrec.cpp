#include "common/model/scorer.hpp"

#include <algorithm>

namespace troupe::model {

namespace {

struct attention_block {
  layer_norm attention_norm, feed_norm;
  linear query, key, value, output, in, out;
};

class sasrec final : public scorer {
public:
  sasrec(tensor_file weights, std::span<const float> items, std::span<const float> positions,
         std::size_t width, std::vector<attention_block> blocks, layer_norm last, sasrec_shape shape)
      : weights_{std::move(weights)}, items_{items}, positions_{positions}, width_{width},
        blocks_{std::move(blocks)}, last_{std::move(last)}, shape_{shape} {}

  std::size_t items() const noexcept override { return items_.size() / width_; }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    auto state = context.vector.empty() ? user_vector(context) : context.vector;
    state.resize(width_, 0);
    products_of(items_, of.rows, state, out);
  }

  std::size_t width() const noexcept override { return width_; }
  std::vector<float> item_vectors() const override { return {items_.begin(), items_.end()}; }

  std::vector<float> user_vector(const user_context& context) const override {
    auto longest = positions_.size() / width_;
    auto length = std::min(longest, context.history.size());
    if (length == 0)
      return {};
    std::vector<float> x(length * width_);
    for (std::size_t t = 0; t < length; ++t) {
      auto* item = items_.data() + context.history[context.history.size() - length + t] * width_;
      auto* position = positions_.data() + (longest - length + t) * width_;
      for (std::size_t d = 0; d < width_; ++d)
        x[t * width_ + d] = item[d] + position[d];
    }
    // Nobody asks for states before the last: the last block works out that one alone.
    for (std::size_t b = 0; b < blocks_.size(); ++b)
      step(blocks_[b], x, length, b + 1 == blocks_.size() ? length - 1 : 0);
    std::vector<float> state(width_);
    last_.apply(x.data() + (length - 1) * width_, 1, state.data());
    return state;
  }

private:
  /// x = x + attention(norm(x)), then x = x + feed(norm(x)), for the rows from `first` on.
  void step(const attention_block& by, std::vector<float>& x, std::size_t length, std::size_t first) const {
    auto rows = length - first;
    std::vector<float> normed(length * width_), query(rows * width_), key(length * width_),
        value(length * width_), mixed(rows * width_), added(rows * width_);
    by.attention_norm.apply(x.data(), length, normed.data());
    by.query.apply(normed.data() + first * width_, rows, query.data());
    by.key.apply(normed.data(), length, key.data());
    by.value.apply(normed.data(), length, value.data());
    attend({query.data(), key.data(), value.data(), rows, length, width_, shape_.heads}, mixed.data());
    by.output.apply(mixed.data(), rows, added.data());
    auto* to = x.data() + first * width_;
    add_scaled(to, added.data(), 1, added.size());
    by.feed_norm.apply(to, rows, normed.data());
    std::vector<float> hidden(rows * by.in.out());
    by.in.apply(normed.data(), rows, hidden.data());
    activate(shape_.between, hidden);
    by.out.apply(hidden.data(), rows, added.data());
    add_scaled(to, added.data(), 1, added.size());
  }

  tensor_file weights_;
  std::span<const float> items_, positions_;
  std::size_t width_;
  std::vector<attention_block> blocks_;
  layer_norm last_;
  sasrec_shape shape_;
};

expected<attention_block> load_block(const tensor_file& from, const std::string& name, std::size_t width,
                                     const sasrec_shape& shape) {
  attention_block out;
  TROUPE_TRY(attention_norm, layer_norm::load(from, name + ".attention_norm", width, shape.norm_epsilon));
  TROUPE_TRY(query, linear::load(from, name + ".attention.query", width, width));
  TROUPE_TRY(key, linear::load(from, name + ".attention.key", width, width));
  TROUPE_TRY(value, linear::load(from, name + ".attention.value", width, width));
  TROUPE_TRY(output, linear::load(from, name + ".attention.output", width, width));
  TROUPE_TRY(feed_norm, layer_norm::load(from, name + ".feed_norm", width, shape.norm_epsilon));
  TROUPE_TRY(in, linear::load(from, name + ".feed.in", width, 0));
  TROUPE_TRY(back, linear::load(from, name + ".feed.out", in.out(), width));
  return attention_block{std::move(attention_norm), std::move(feed_norm), std::move(query), std::move(key),
                         std::move(value),          std::move(output),    std::move(in),    std::move(back)};
}

} // namespace

expected<std::unique_ptr<scorer>> load_sasrec(tensor_file weights, sasrec_shape shape) {
  TROUPE_TRY(items, weights.span<float>("item_embedding", {0, 0}));
  TROUPE_TRY(width, weights.length_of("item_embedding", 1));
  if (width == 0)
    return fail(ec::corrupt, "item_embedding has no columns");
  if (shape.heads == 0 || width % shape.heads != 0)
    return fail(ec::corrupt, "{} heads cannot share a width of {}", shape.heads, width);
  if (!(shape.norm_epsilon > 0))
    return fail(ec::corrupt, "norm_epsilon is {}, it must be above 0", shape.norm_epsilon);
  TROUPE_TRY(positions, weights.span<float>("position_embedding", {0, width}));
  if (positions.empty())
    return fail(ec::corrupt, "position_embedding has no rows");
  std::vector<attention_block> blocks;
  while (weights.has(fmt::format("block.{}.attention.query.weight", blocks.size()))) {
    TROUPE_TRY(block, load_block(weights, fmt::format("block.{}", blocks.size()), width, shape));
    blocks.push_back(std::move(block));
  }
  if (blocks.empty())
    return fail(ec::corrupt, "weights have no tensor block.0.attention.query.weight");
  TROUPE_TRY(last, layer_norm::load(weights, "final_norm", width, shape.norm_epsilon));
  return std::make_unique<sasrec>(weights, items, positions, width, std::move(blocks), std::move(last),
                                  shape);
}

} // namespace troupe::model
