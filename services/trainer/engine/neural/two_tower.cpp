#include "services/trainer/engine/neural/two_tower.hpp"

#include "services/trainer/engine/neural/arrays.hpp"
#include "services/trainer/engine/neural/sampler.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <simdjson.h>
#include <torch/nn.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

namespace troupe::trainer::neural {

namespace {

using torch::Tensor;

/// Histories side by side: the newest item in the last column.
struct histories {
  Tensor items; ///< [rows, length], 0 where there is none.
  Tensor known; ///< [rows, length], whether there is one.
};

histories pad(const std::vector<std::vector<std::uint32_t>>& rows, std::size_t most) {
  std::size_t length = 1;
  for (auto& each : rows)
    length = std::max(length, std::min(most, each.size()));
  auto shape = {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(length)};
  auto items = torch::zeros(shape, torch::kLong), known = torch::zeros(shape, torch::kBool);
  auto* item = items.data_ptr<std::int64_t>();
  auto* is = known.data_ptr<bool>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    auto count = std::min(length, rows[r].size());
    for (std::size_t i = 0; i < count; ++i) {
      auto at = (r + 1) * length - count + i;
      item[at] = rows[r][rows[r].size() - count + i];
      is[at] = true;
    }
  }
  return {items, known};
}

struct shape {
  std::int64_t items = 0, users = 0, dimensions = 0, hidden = 0, output = 0, history = 0;
  bool normalised = true, gelu = false;
};

/// The layers of one tower.
struct tower {
  std::vector<Tensor> weights, biases;
  bool normalised = true, gelu = false;

  Tensor run(Tensor x) const {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      x = torch::linear(x, weights[i], biases[i]);
      if (i + 1 < weights.size())
        x = gelu ? torch::gelu(x) : torch::relu(x);
    }
    return normalised ? torch::nn::functional::normalize(
                            x, torch::nn::functional::NormalizeFuncOptions().dim(1).eps(1e-12))
                      : x;
  }
};

/// What makes a vector of a history and, where there are such, the user's own vector.
struct user_side {
  Tensor item, user, query, recency; ///< user: undefined where there are none.
  tower layers;

  /// The history up to each place of `items` [rows, length], pooled: [rows, length, dimensions].
  Tensor pool_each(const Tensor& items) const {
    auto length = items.size(1);
    auto embedded = torch::embedding(item, items);
    auto places = torch::arange(length, torch::kLong);
    auto later = (places.unsqueeze(0) > places.unsqueeze(1)).to(item.device());
    auto distance = (places.unsqueeze(1) - places.unsqueeze(0)).clamp_min(0).to(item.device());
    auto newness = recency.index_select(0, (recency.size(0) - 1 - distance).flatten()).view({length, length});
    auto logits = torch::matmul(embedded, query).to(torch::kFloat).unsqueeze(1) + newness;
    auto weights = torch::softmax(logits.masked_fill(later, -1e9), 2);
    return torch::bmm(weights, embedded);
  }

  /// The whole history: [rows, dimensions].
  Tensor pool(const histories& of) const {
    auto embedded = torch::embedding(item, of.items);
    auto logits = torch::matmul(embedded, query) + recency.slice(0, recency.size(0) - of.items.size(1));
    auto weights = torch::softmax(logits.masked_fill(~of.known, -1e9), 1) * of.known;
    return torch::bmm(weights.unsqueeze(1), embedded).squeeze(1);
  }

  /// [rows, output] of pooled histories. `users` [rows]: -1 is a user without a vector.
  Tensor finish(Tensor pooled, const Tensor& users) const {
    if (user.defined())
      pooled = pooled + torch::embedding(user, users.clamp_min(0)) * (users >= 0).unsqueeze(1);
    return layers.run(std::move(pooled));
  }
};

class towers : public torch::nn::Module {
public:
  towers(const shape& of, std::uint64_t seed) {
    auto generator = at::detail::createCPUGenerator(seed);
    auto random = [&](std::vector<std::int64_t> sizes, double deviation) {
      return torch::empty(sizes).normal_(0, deviation, generator);
    };
    auto wide = 1 / std::sqrt(static_cast<double>(of.dimensions));
    register_parameter("item_embedding", random({of.items, of.dimensions}, wide));
    if (of.users > 0)
      register_parameter("user_embedding", random({of.users, of.dimensions}, 0.1 * wide));
    register_parameter("pooling_query", torch::zeros({of.dimensions}));
    register_parameter("pooling_recency", torch::zeros({of.history}));
    std::vector<std::int64_t> widths{of.dimensions};
    if (of.hidden > 0)
      widths.push_back(of.hidden);
    widths.push_back(of.output);
    for (auto* name : {"user_tower", "item_tower"})
      for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
        auto label = name + std::to_string(i);
        // He et al. 2015, for layers that a relu follows.
        auto deviation = std::sqrt((i + 2 < widths.size() ? 2.0 : 1.0) / static_cast<double>(widths[i]));
        register_parameter(label + "_weight", random({widths[i + 1], widths[i]}, deviation));
        register_parameter(label + "_bias", torch::zeros({widths[i + 1]}));
      }
    layers_ = widths.size() - 1;
    normalised_ = of.normalised;
    gelu_ = of.gelu;
  }

  /// Of the parameters as they are now: they may have been moved or replaced since.
  user_side user() const {
    auto all = named_parameters();
    auto* own = all.find("user_embedding");
    return {all["item_embedding"], own ? *own : Tensor{}, all["pooling_query"], all["pooling_recency"],
            layers_of("user_tower")};
  }

  /// [rows, output]
  Tensor items(const Tensor& rows) const {
    return layers_of("item_tower").run(torch::embedding(named_parameters()["item_embedding"], rows));
  }

private:
  tower layers_of(const std::string& name) const {
    auto all = named_parameters();
    tower out{{}, {}, normalised_, gelu_};
    for (std::size_t i = 0; i < layers_; ++i) {
      out.weights.push_back(all[name + std::to_string(i) + "_weight"]);
      out.biases.push_back(all[name + std::to_string(i) + "_bias"]);
    }
    return out;
  }

  std::size_t layers_ = 0;
  bool normalised_ = true, gelu_ = false;
};

/// Scores all items with libtorch, in batches.
class tower_scorer final : public scorer {
public:
  tower_scorer(std::shared_ptr<const trained_model> model, user_side user)
      : model_{std::move(model)}, user_{std::move(user)},
        items_{tensor_of(model_->weights.find("item_vectors")->second).to(user_.item.device())} {}

  std::uint64_t items() const noexcept override { return model_->items.size(); }
  bool parallel() const noexcept override { return false; }

  void score(std::span<const query> queries, std::span<float> out) const override {
    torch::NoGradGuard off;
    std::vector<std::vector<std::uint32_t>> seen;
    std::vector<std::int64_t> users;
    for (auto& each : queries) {
      seen.emplace_back(each.seen.begin(), each.seen.end());
      bool known = each.user && *each.user < model_->users.size();
      users.push_back(known ? static_cast<std::int64_t>(*each.user) : -1);
    }
    auto most = static_cast<std::size_t>(user_.recency.size(0));
    auto device = items_.device();
    auto padded = pad(seen, most);
    auto vectors = user_.finish(user_.pool({padded.items.to(device), padded.known.to(device)}),
                                torch::tensor(users).to(device));
    for (std::size_t q = 0; q < queries.size(); ++q)
      if (queries[q].seen.empty() && users[q] < 0)
        vectors[static_cast<std::int64_t>(q)].zero_(); // Nothing is known.
    auto into = torch::from_blob(out.data(), {vectors.size(0), items_.size(0)}, torch::kFloat);
    if (device.is_cpu())
      torch::matmul_out(into, vectors, items_.t());
    else
      into.copy_(torch::matmul(vectors, items_.t()));
  }

private:
  std::shared_ptr<const trained_model> model_;
  user_side user_;
  Tensor items_;
};

class two_tower_task final : public task {
public:
  explicit two_tower_task(const two_tower_input& from)
      : config_{from.config}, json_{from.config_json}, seed_{from.seed}, data_{from.data},
        validation_{from.validation}, by_user_{items_by_user(from.data, false)},
        net_{std::make_shared<towers>(
            shape{static_cast<std::int64_t>(from.data.items.size()),
                  from.config.user_embedding ? static_cast<std::int64_t>(from.data.users.size()) : 0,
                  from.config.dimensions, from.config.hidden, from.config.output, from.config.history,
                  from.config.normalised, from.config.activation == "gelu"},
            from.seed)} {
    // Windows overlap by one item: what is the last to be predicted in one is the first to predict from in
    // the next.
    for (std::uint32_t user = 0; user < by_user_.size(); ++user) {
      auto length = static_cast<std::uint32_t>(by_user_[user].size());
      for (std::uint32_t at = 0; at + 1 < length; at += config_.history)
        windows_.push_back({user, at, std::min(length - at, config_.history + 1)});
    }
    std::vector<float> counts(data_.items.size(), 0);
    for (auto item : data_.item)
      ++counts[item];
    for (auto& each : counts)
      each = std::log(std::max(each, 1.0f) / static_cast<float>(std::max<std::uint64_t>(data_.size(), 1)));
    log_frequency_ = torch::tensor(counts);
  }

  torch::nn::Module& module() override { return *net_; }
  std::uint64_t samples() const override { return windows_.size(); }

  double weight(std::span<const std::uint32_t> samples) const override {
    double sum = 0;
    for (auto each : samples)
      sum += windows_[each].length - 1;
    return sum;
  }

  double pass_bytes(std::uint64_t mine, std::uint64_t all) const override {
    std::uint64_t longest = 1;
    for (auto& each : windows_)
      longest = std::max<std::uint64_t>(longest, each.length - 1);
    auto length = static_cast<double>(longest);
    auto places = static_cast<double>(mine) * length, targets = static_cast<double>(all) * length;
    // Scores, their logarithms and the gradients of both; the weights of the pooling likewise; the layers.
    auto scores = 4 * places * targets + 4 * places * length;
    auto layers = (places + targets) * 3.0 * (2.0 * config_.dimensions + config_.hidden + config_.output);
    return 4 * (scores + layers);
  }

  Tensor loss(const batch& of) override {
    // Of all windows of the step: the items to be predicted, and where those of each user and item stand.
    std::vector<std::int64_t> targets, begins;
    std::unordered_map<std::uint32_t, std::vector<std::int64_t>> of_user, of_item;
    for (auto number : of.all) {
      begins.push_back(static_cast<std::int64_t>(targets.size()));
      auto items = items_of(windows_[number], of.key);
      for (std::size_t i = 1; i < items.size(); ++i) {
        auto place = static_cast<std::int64_t>(targets.size());
        of_user[windows_[number].user].push_back(place);
        of_item[items[i]].push_back(place);
        targets.push_back(items[i]);
      }
    }
    std::size_t length = 1;
    for (auto number : of.mine)
      length = std::max<std::size_t>(length, windows_[number].length - 1);
    auto inputs = torch::zeros({static_cast<std::int64_t>(of.mine.size()), static_cast<std::int64_t>(length)},
                               torch::kLong);
    // The same item is no negative; nor are the user's others, which would occur far oftener than by
    // frequency.
    std::vector<std::int64_t> places, labels, users, no_negatives;
    auto leave_out = [&](const std::vector<std::int64_t>& columns, std::int64_t label) {
      auto row = static_cast<std::int64_t>(places.size() * targets.size());
      for (auto column : columns)
        if (column != label)
          no_negatives.push_back(row + column);
    };
    std::size_t at = 0;
    for (std::size_t r = 0; r < of.mine.size(); ++r) {
      auto& window = windows_[of.mine[r]];
      auto items = items_of(window, of.key);
      std::copy(items.begin(), items.end() - 1, inputs.data_ptr<std::int64_t>() + r * length);
      while (of.all[at] != of.mine[r])
        at = (at + 1) % of.all.size();
      bool known = random_source{mix(of.key, of.mine[r])}.unit() >= config_.user_dropout;
      for (std::uint32_t i = 0; i + 1 < window.length; ++i) {
        auto label = begins[at] + i;
        leave_out(of_user[window.user], label);
        leave_out(of_item[items[i + 1]], label);
        places.push_back(static_cast<std::int64_t>(r * length + i));
        labels.push_back(label);
        users.push_back(known ? static_cast<std::int64_t>(window.user) : -1);
      }
    }
    auto side = net_->user();
    auto pooled = side.pool_each(inputs.to(device())).flatten(0, 1).index_select(0, on_device(places));
    auto user = side.finish(std::move(pooled), on_device(users));
    auto candidates = on_device(targets);
    log_frequency_ = log_frequency_.to(device()); // Nothing to do but once.
    // As often as they occur: what an item's frequency makes too much of, its logarithm takes off again.
    auto correction = config_.logq ? -log_frequency_.index_select(0, candidates)
                                   : torch::zeros({candidates.size(0)}, log_frequency_.options());
    auto scores = torch::addmm(correction, user / config_.temperature, net_->items(candidates).t());
    scores.flatten().index_fill_(0, on_device(no_negatives), -1e9);
    return torch::nn::functional::cross_entropy(
        scores.to(torch::kFloat), on_device(labels),
        torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
  }

  std::uint64_t validation_cases() const override { return validation_.size(); }

  expected<double> validate(std::uint64_t begin, std::uint64_t end, const progress_sink& sink) override {
    TROUPE_TRY(model, finish());
    auto shared = std::make_shared<const trained_model>(std::move(model));
    tower_scorer asked{shared, net_->user()};
    static constexpr std::array<std::uint32_t, 1> cutoffs{10};
    TROUPE_TRY(got, evaluate(asked, validation_.subspan(begin, end - begin), cutoffs, 1, sink));
    return got["ndcg_at_10"] * static_cast<double>(end - begin);
  }

  expected<trained_model> finish() override {
    torch::NoGradGuard off;
    trained_model out;
    out.kind = "two_tower";
    out.config = json_;
    out.seed = seed_;
    out.items = data_.items;
    auto count = static_cast<std::int64_t>(data_.items.size());
    out.weights["item_vectors"] = array_of(net_->items(torch::arange(count, torch::kLong).to(device())));
    for (auto& each : net_->named_parameters()) {
      auto name = each.key();
      if (name == "item_embedding")
        out.weights["history_embedding"] = array_of(each.value());
      else if (name == "user_embedding")
        out.weights["user_embedding"] = array_of(each.value());
      else if (name.starts_with("pooling_"))
        out.weights["pooling." + name.substr(8)] = array_of(each.value());
      else if (name.starts_with("user_tower"))
        out.weights["user_tower." + name.substr(10, 1) + "." + name.substr(12)] = array_of(each.value());
    }
    if (config_.user_embedding)
      out.users = data_.users;
    return out;
  }

private:
  struct window {
    std::uint32_t user, from, length;
  };

  /// Where the loop moved the network to.
  torch::Device device() const { return net_->parameters().front().device(); }

  Tensor on_device(const std::vector<std::int64_t>& numbers) const {
    return torch::tensor(numbers, torch::kLong).to(device());
  }

  /// In their order; where there is none, any of the user's, in any order.
  std::vector<std::uint32_t> items_of(const window& of, std::uint64_t key) const {
    auto row = by_user_[of.user];
    if (config_.context == "before")
      return {row.begin() + of.from, row.begin() + of.from + of.length};
    std::vector<std::uint32_t> items{row.begin(), row.end()};
    random_source random{mix(key, of.user)};
    for (std::size_t i = 0; i < of.from + of.length; ++i)
      std::swap(items[i], items[i + random.below(items.size() - i)]);
    return {items.begin() + of.from, items.begin() + of.from + of.length};
  }

  two_tower_config config_;
  std::string json_;
  std::uint64_t seed_;
  const interactions& data_;
  std::span<const ranking_case> validation_;
  rows by_user_;
  std::shared_ptr<towers> net_;
  std::vector<window> windows_;
  Tensor log_frequency_;
};

} // namespace

std::unique_ptr<task> make_two_tower(const two_tower_input& from) {
  return std::make_unique<two_tower_task>(from);
}

expected<std::unique_ptr<scorer>> two_tower_scorer(std::shared_ptr<const trained_model> model) {
  user_side user;
  try {
    simdjson::dom::parser parser;
    simdjson::dom::element config = parser.parse(simdjson::padded_string{model->config});
    user.layers.normalised = bool{config["normalised"]};
    user.layers.gelu = std::string_view{config["activation"]} == "gelu";
  } catch (const simdjson::simdjson_error& err) {
    return fail(ec::corrupt, "cannot read the configuration of a two-tower model: {}", err.what());
  }
  auto find = [&](const std::string& name) -> expected<Tensor> {
    auto found = model->weights.find(name);
    if (found == model->weights.end() || found->second.type != tensor::dtype::f32)
      return fail(ec::corrupt, "a two-tower model has no weights {}", name);
    return tensor_of(found->second);
  };
  TROUPE_TRY(vectors, find("item_vectors"));
  TROUPE_TRY(item, find("history_embedding"));
  TROUPE_TRY(query, find("pooling.query"));
  TROUPE_TRY(recency, find("pooling.recency"));
  user.item = item;
  user.query = query;
  user.recency = recency;
  if (model->weights.contains("user_embedding")) {
    TROUPE_TRY(own, find("user_embedding"));
    user.user = own;
  }
  for (std::size_t i = 0; i == 0 || model->weights.contains(fmt::format("user_tower.{}.weight", i)); ++i) {
    TROUPE_TRY(weight, find(fmt::format("user_tower.{}.weight", i)));
    TROUPE_TRY(bias, find(fmt::format("user_tower.{}.bias", i)));
    user.layers.weights.push_back(weight);
    user.layers.biases.push_back(bias);
  }
  auto rows = static_cast<std::int64_t>(model->items.size());
  if (vectors.dim() != 2 || vectors.size(0) != rows || item.dim() != 2 || item.size(0) != rows)
    return fail(ec::corrupt, "a two-tower model of {} items has vectors for others", rows);
  return std::make_unique<tower_scorer>(std::move(model), std::move(user));
}

} // namespace troupe::trainer::neural
