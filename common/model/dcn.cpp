#include "common/core/hash.hpp"
#include "common/model/scorer.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace troupe::model {

namespace {

constexpr float farthest = 8; // Deviations from the mean: one broken value must not decide alone.

class dcn final : public scorer {
public:
  /// One feature and where its part of the input begins.
  struct input {
    dcn_feature about;
    std::size_t from = 0, place = 0; ///< In the input of its entity; in the features of its entity.
    std::size_t whole = 0;           ///< In the input of the network.
    float mean = 0, deviation = 1;
    std::span<const float> table;
    std::size_t buckets = 0, width = 0;
  };
  /// A stretch of the network's input that is one of an item's, too.
  struct stretch {
    std::size_t from, to, length;
  };
  struct parts {
    std::vector<input> inputs;
    std::size_t width = 0, item_width = 0;
    std::vector<stretch> of_item;
    feature_needs needs;
    std::vector<linear> cross;
    layers deep;
    linear head;
    bool stacked = false;
  };

  dcn(tensor_file weights, parts from) : weights_{std::move(weights)}, has_{std::move(from)} {
    nothing_.resize(has_.item_width);
    item_input(std::vector<feature>(has_.needs.item.size()), nothing_);
  }

  std::size_t items() const noexcept override { return 0; }
  const feature_needs& features() const noexcept override { return has_.needs; }
  bool supports_cold_start() const noexcept override { return true; }
  bool dear() const noexcept override { return true; }

  std::size_t input_width() const noexcept override { return has_.item_width; }
  void item_input(std::span<const feature> features, std::span<float> out) const override {
    for (auto& each : has_.inputs)
      if (each.about.of == dcn_feature::entity::item)
        fill(each, features[each.place], out.data() + each.from);
  }

  void score(const user_context& context, const candidates& of, std::span<float> out) const override {
    auto count = of.rows.size();
    if (count == 0)
      return;
    static const feature missing;
    thread_local std::vector<float> common, x0, crossed, product, last;
    common.assign(has_.width, 0);
    for (auto& each : has_.inputs)
      if (each.about.of == dcn_feature::entity::user)
        fill(each, each.place < context.features.size() ? context.features[each.place] : missing,
             common.data() + each.whole);
    x0.resize(count * has_.width);
    for (std::size_t i = 0; i < count; ++i) {
      auto* x = x0.data() + i * has_.width;
      auto* item = i < of.inputs.size() ? of.inputs[i] : nothing_.data();
      std::copy(common.begin(), common.end(), x);
      for (auto& each : has_.of_item)
        std::copy_n(item + each.from, each.length, x + each.to);
    }
    crossed = x0;
    product.resize(x0.size());
    for (auto& layer : has_.cross) {
      layer.apply(crossed.data(), count, product.data());
      for (std::size_t i = 0; i < crossed.size(); ++i)
        crossed[i] += x0[i] * product[i];
    }
    auto deep = has_.deep.apply(has_.stacked ? crossed : x0, count, true);
    if (!has_.stacked)
      beside(crossed, deep, count, last);
    has_.head.apply(has_.stacked ? deep.data() : last.data(), count, out.data());
  }

private:
  static void fill(const input& by, const feature& value, float* x) {
    if (by.about.is == dcn_feature::kind::number) {
      auto* number = std::get_if<double>(&value);
      bool there = number && std::isfinite(*number);
      auto raw = there ? *number : 0.0;
      if (by.about.logarithm)
        raw = std::copysign(std::log1p(std::abs(raw)), raw);
      x[0] = there ? std::clamp((static_cast<float>(raw) - by.mean) / by.deviation, -farthest, farthest) : 0;
      x[1] = there ? 0 : 1;
      return;
    }
    std::fill(x, x + by.width, 0.0f);
    auto add = [&](std::size_t row, float share) {
      add_scaled(x, by.table.data() + row * by.width, share, by.width);
    };
    if (auto* word = std::get_if<std::string_view>(&value)) {
      add(category_row(*word, by.buckets), 1);
    } else if (auto* words = std::get_if<std::span<const std::string_view>>(&value);
               words && !words->empty()) {
      for (auto each : *words)
        add(category_row(each, by.buckets), 1.0f / static_cast<float>(words->size()));
    } else {
      add(0, 1);
    }
  }

  static void beside(const std::vector<float>& a, const std::vector<float>& b, std::size_t rows,
                     std::vector<float>& out) {
    out.resize(a.size() + b.size());
    auto wide_a = a.size() / rows, wide_b = b.size() / rows;
    auto* to = out.data();
    for (std::size_t r = 0; r < rows; ++r) {
      to = std::copy_n(a.data() + r * wide_a, wide_a, to);
      to = std::copy_n(b.data() + r * wide_b, wide_b, to);
    }
  }

  tensor_file weights_;
  parts has_;
  std::vector<float> nothing_; ///< Of an item without features.
};

expected<dcn::input> load_input(const tensor_file& weights, const dcn_feature& about, std::size_t number,
                                std::span<const float> mean, std::span<const float> deviation) {
  dcn::input out;
  out.about = about;
  if (about.is == dcn_feature::kind::number) {
    out.mean = mean[number];
    out.deviation = deviation[number];
    out.width = 2;
    if (!std::isfinite(out.mean) || !(out.deviation > 0))
      return fail(ec::corrupt, "feature {} has mean {} and deviation {}", about.name, out.mean,
                  out.deviation);
    return out;
  }
  auto name = "embedding." + about.name;
  TROUPE_TRY(table, weights.span<float>(name, {0, 0}));
  TROUPE_TRY(buckets, weights.length_of(name, 0));
  TROUPE_TRY(width, weights.length_of(name, 1));
  if (buckets < 2 || width == 0)
    return fail(ec::corrupt, "tensor {} is [{},{}], at least [2,1] is needed", name, buckets, width);
  out.table = table;
  out.buckets = buckets;
  out.width = width;
  return out;
}

} // namespace

std::size_t category_row(std::string_view word, std::size_t buckets) noexcept {
  return 1 + hash64(word) % (buckets - 1);
}

expected<std::unique_ptr<scorer>> load_dcn(tensor_file weights, dcn_shape shape) {
  dcn::parts parts;
  std::size_t numbers = 0;
  for (auto& each : shape.features)
    numbers += each.is == dcn_feature::kind::number ? 1 : 0;
  std::span<const float> mean, deviation;
  if (numbers > 0) {
    TROUPE_TRY(means, weights.span<float>("number.mean", {numbers}));
    TROUPE_TRY(deviations, weights.span<float>("number.deviation", {numbers}));
    mean = means;
    deviation = deviations;
  }
  std::size_t number = 0;
  std::set<std::string> names;
  for (auto& each : shape.features) {
    if (!names.insert(each.name).second)
      return fail(ec::corrupt, "feature {} stands there twice", each.name);
    TROUPE_TRY(made, load_input(weights, each, number, mean, deviation));
    number += each.is == dcn_feature::kind::number ? 1 : 0;
    auto& needs = each.of == dcn_feature::entity::user ? parts.needs.user : parts.needs.item;
    made.place = needs.size();
    made.whole = parts.width;
    if (each.of == dcn_feature::entity::item) {
      made.from = parts.item_width;
      parts.item_width += made.width;
      if (!parts.of_item.empty() && parts.of_item.back().to + parts.of_item.back().length == made.whole)
        parts.of_item.back().length += made.width;
      else
        parts.of_item.push_back({made.from, made.whole, made.width});
    }
    parts.width += made.width;
    needs.push_back(each.name);
    parts.inputs.push_back(std::move(made));
  }
  if (parts.inputs.empty())
    return fail(ec::corrupt, "the model names no features");
  parts.needs.views = std::move(shape.views);
  while (weights.has(fmt::format("cross.{}.weight", parts.cross.size()))) {
    TROUPE_TRY(layer,
               linear::load(weights, fmt::format("cross.{}", parts.cross.size()), parts.width, parts.width));
    parts.cross.push_back(std::move(layer));
  }
  TROUPE_TRY(deep, layers::load(weights, "deep", parts.width, activation::relu, 1));
  TROUPE_TRY(head, linear::load(weights, "head", shape.stacked ? deep.out() : parts.width + deep.out(), 1));
  parts.deep = std::move(deep);
  parts.head = std::move(head);
  parts.stacked = shape.stacked;
  return std::make_unique<dcn>(weights, std::move(parts));
}

} // namespace troupe::model
