#include "services/trainer/engine/neural/sasrec.hpp"

#include "services/trainer/engine/neural/arrays.hpp"
#include "services/trainer/engine/neural/kernels.hpp"
#include "services/trainer/engine/neural/recompute.hpp"
#include "services/trainer/engine/neural/sampler.hpp"
#include "services/trainer/engine/neural/sequence_batch.hpp"
#include "services/trainer/engine/random.hpp"
#include "services/trainer/engine/ranking_metrics.hpp"

#include <torch/nn/init.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>

namespace troupe::trainer::neural {

namespace nn = torch::nn;

namespace {

using settings = decltype(train_config::sasrec);

torch::Tensor indices(const std::vector<std::int64_t>& from, torch::Device device) {
  return torch::tensor(from, torch::kInt64).to(device);
}

nn::LayerNorm norm_of(const settings& config) {
  return nn::LayerNorm{nn::LayerNormOptions({config.dimensions}).eps(config.norm_epsilon)};
}

struct attention : nn::Module {
  explicit attention(const settings& config)
      : query{register_module("query", nn::Linear(config.dimensions, config.dimensions))},
        key{register_module("key", nn::Linear(config.dimensions, config.dimensions))},
        value{register_module("value", nn::Linear(config.dimensions, config.dimensions))},
        output{register_module("output", nn::Linear(config.dimensions, config.dimensions))},
        heads{config.heads} {}

  torch::Tensor forward(const torch::Tensor& x, const sequence_batch& of) {
    auto q = query(x);
    auto k = key(x);
    auto v = value(x);
    std::vector<torch::Tensor> parts;
    for (auto& group : of.groups) {
      auto padded = [&](const torch::Tensor& rows) {
        return take_rows(rows.narrow(0, group.first_row, group.rows), group.padded)
            .view({group.sequences, group.longest, heads, -1})
            .transpose(1, 2)
            .reshape({group.sequences * heads, group.longest, -1});
      };
      auto keys = padded(k);
      auto scores =
          torch::bmm(padded(q), keys.transpose(1, 2)) / std::sqrt(static_cast<double>(keys.size(2)));
      // Padding stands behind a sequence: what hides the future hides it too.
      auto future = torch::ones({group.longest, group.longest}, x.options().dtype(torch::kBool)).triu(1);
      auto weights = torch::softmax(scores.masked_fill(future, -1e9), -1);
      auto mixed = torch::bmm(weights, padded(v))
                       .view({group.sequences, heads, group.longest, -1})
                       .transpose(1, 2)
                       .reshape({group.sequences * group.longest, -1});
      parts.push_back(take_rows(mixed, group.packed));
    }
    return output(torch::cat(parts));
  }

  nn::Linear query, key, value, output;
  std::int64_t heads;
};

struct feed : nn::Module {
  explicit feed(const settings& config)
      : in{register_module("in", nn::Linear(config.dimensions, config.feed))},
        out{register_module("out", nn::Linear(config.feed, config.dimensions))}, relu{config.activation ==
                                                                                      "relu"} {}

  torch::Tensor forward(const torch::Tensor& x) {
    auto inner = in(x);
    return out(relu ? torch::relu(inner) : torch::gelu(inner));
  }

  nn::Linear in, out;
  bool relu;
};

struct block : nn::Module {
  explicit block(const settings& config)
      : attention_norm{register_module("attention_norm", norm_of(config))},
        attend{register_module("attention", std::make_shared<attention>(config))}, feed_norm{register_module(
                                                                                       "feed_norm",
                                                                                       norm_of(config))},
        feed_forward{register_module("feed", std::make_shared<feed>(config))}, dropout{config.dropout} {}

  torch::Tensor forward(torch::Tensor x, const sequence_batch& of, std::uint64_t key) {
    auto share = is_training() ? dropout : 0;
    x = x + drop(attend->forward(attention_norm(x), of), share, mix(key, 1), of.keys);
    return x + drop(feed_forward->forward(feed_norm(x)), share, mix(key, 2), of.keys);
  }

  nn::LayerNorm attention_norm;
  std::shared_ptr<attention> attend;
  nn::LayerNorm feed_norm;
  std::shared_ptr<feed> feed_forward;
  double dropout;
};

struct network : nn::Module {
  network(const settings& with, std::int64_t items) : config{with} {
    auto normal = [](std::int64_t rows, std::int64_t width) { return torch::randn({rows, width}) * 0.02; };
    item_embedding = register_parameter("item_embedding", normal(items, config.dimensions));
    position_embedding = register_parameter("position_embedding", normal(config.length, config.dimensions));
    for (std::uint32_t b = 0; b < config.blocks; ++b)
      blocks->push_back(std::make_shared<block>(config));
    register_module("block", blocks);
    final_norm = register_module("final_norm", norm_of(config));
    torch::NoGradGuard off;
    for (auto& each : named_parameters())
      if (each.key().ends_with(".bias"))
        each.value().zero_();
      else if (each.value().dim() == 2 && each.key().starts_with("block."))
        nn::init::xavier_normal_(each.value());
  }

  /// The state of every row, before the last norm.
  torch::Tensor states(const std::shared_ptr<const sequence_batch>& of, std::uint64_t key) {
    auto device = item_embedding.device();
    auto x = torch::embedding(item_embedding, indices(of->items, device)) +
             torch::embedding(position_embedding, indices(of->positions, device));
    x = drop(x, is_training() ? config.dropout : 0, mix(key, 0), of->keys);
    for (std::uint32_t b = 0; b < config.blocks; ++b) {
      auto one = blocks->ptr<block>(b);
      auto pass = [one, of, layer = mix(key, 100 + b)](const torch::Tensor& in) {
        return one->forward(in, *of, layer);
      };
      x = config.recompute && is_training() ? recomputed(pass, x) : pass(x);
    }
    return x;
  }

  settings config;
  torch::Tensor item_embedding;
  torch::Tensor position_embedding;
  nn::ModuleList blocks;
  nn::LayerNorm final_norm{nullptr};
};

/// The newest `length` of what was seen.
std::span<const std::uint32_t> newest(std::span<const std::uint32_t> seen, std::uint32_t length) {
  return seen.last(std::min<std::size_t>(seen.size(), length));
}

std::shared_ptr<const sequence_batch> packed(std::span<const sequence> sequences, std::uint32_t length) {
  return std::make_shared<const sequence_batch>(sequence_batch::of(sequences, length));
}

class sasrec_scorer final : public scorer {
public:
  explicit sasrec_scorer(std::shared_ptr<network> from) : network_{std::move(from)} {}

  std::uint64_t items() const noexcept override {
    return static_cast<std::uint64_t>(network_->item_embedding.size(0));
  }
  bool parallel() const noexcept override { return false; }

  void score(std::span<const query> queries, std::span<float> out) const override {
    torch::NoGradGuard off;
    std::vector<sequence> sequences;
    std::vector<std::size_t> asked;
    for (std::size_t q = 0; q < queries.size(); ++q)
      if (!queries[q].seen.empty()) {
        sequences.push_back({newest(queries[q].seen, network_->config.length), 0});
        asked.push_back(q);
      }
    std::fill(out.begin(), out.end(), 0.0f);
    if (asked.empty())
      return;
    auto batch = packed(sequences, network_->config.length);
    auto device = network_->item_embedding.device();
    auto last = network_->states(batch, 0).index_select(0, indices(batch->last, device));
    auto scores =
        torch::mm(network_->final_norm(last), network_->item_embedding.t()).to(torch::kCPU).contiguous();
    for (std::size_t i = 0; i < asked.size(); ++i)
      std::copy_n(scores.data_ptr<float>() + i * items(), items(), out.data() + asked[i] * items());
  }

private:
  std::shared_ptr<network> network_;
};

class sasrec_task final : public task {
public:
  sasrec_task(const train_config& config, const interactions& data, std::span<const ranking_case> validation)
      : config_{config.sasrec}, items_{static_cast<std::int64_t>(data.items.size())}, by_user_{items_by_user(
                                                                                          data, false)},
        validation_{validation}, network_{std::make_shared<network>(config_, items_)} {
    for (std::uint32_t user = 0; user < by_user_.size(); ++user)
      // Every step but the first is a target once: windows from the newest backwards.
      for (auto end = by_user_[user].size(); end >= 2; end -= std::min<std::size_t>(config_.length, end - 1))
        windows_.push_back({user, static_cast<std::uint32_t>(end)});
    if (config_.softmax == "sampled")
      prepare_sampling(data);
  }

  nn::Module& module() override { return *network_; }
  std::uint64_t samples() const override { return windows_.size(); }

  double weight(std::span<const std::uint32_t> samples) const override {
    double sum = 0;
    for (auto each : samples)
      sum += static_cast<double>(inputs_of(windows_[each]).size());
    return sum;
  }

  double pass_bytes(std::uint64_t mine, std::uint64_t /*all*/) const override {
    std::uint64_t longest = 1;
    for (auto& each : windows_)
      longest = std::max<std::uint64_t>(longest, inputs_of(each).size());
    auto length = static_cast<double>(longest);
    auto places = static_cast<double>(mine) * length;
    // Of a block: scores of attention, masked, as weights, and a gradient; what its layers keep for theirs.
    auto block =
        4 * places * length * config_.heads + places * (12.0 * config_.dimensions + 2.0 * config_.feed);
    auto blocks =
        config_.recompute ? block + places * config_.dimensions * config_.blocks : block * config_.blocks;
    auto items = static_cast<double>(items_);
    auto scores = config_.softmax == "full" ? std::min(places, 512.0) * items + 2 * items * config_.dimensions
                                            : 4 * places * config_.negatives;
    return 4 * (blocks + scores);
  }

  torch::Tensor loss(const batch& of) override {
    std::vector<sequence> sequences;
    for (auto each : of.mine)
      sequences.push_back({inputs_of(windows_[each]), each});
    auto rows = packed(sequences, config_.length);
    std::vector<std::int64_t> targets(rows->items.size());
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      auto& window = windows_[of.mine[s]];
      auto taken = by_user_[window.user];
      auto size = sequences[s].items.size();
      for (std::size_t i = 0; i < size; ++i)
        targets[static_cast<std::size_t>(rows->first[s]) + i] = taken[window.end - size + i];
    }
    auto hidden = network_->final_norm(network_->states(rows, of.key));
    return config_.softmax == "full" ? softmax_loss(hidden, network_->item_embedding, targets)
                                     : sampled_loss(hidden, targets, of.key);
  }

  std::uint64_t validation_cases() const override { return validation_.size(); }

  expected<double> validate(std::uint64_t begin, std::uint64_t end, const progress_sink& sink) override {
    constexpr std::array<std::uint32_t, 1> cutoff{10};
    auto part = validation_.subspan(begin, end - begin);
    if (part.empty())
      return 0.0;
    TROUPE_TRY(metrics, evaluate(sasrec_scorer{network_}, part, cutoff, 1, sink));
    return metrics.at("ndcg_at_10") * static_cast<double>(part.size());
  }

  expected<trained_model> finish() override {
    trained_model out;
    for (auto& each : network_->named_parameters()) {
      out.weights.emplace(each.key(), array_of(each.value()));
    }
    return out;
  }

private:
  struct window {
    std::uint32_t user;
    std::uint32_t end; ///< One past the last target.
  };

  std::span<const std::uint32_t> inputs_of(const window& of) const {
    return newest(by_user_[of.user].first(of.end - 1), config_.length);
  }

  void prepare_sampling(const interactions& data) {
    std::vector<double> counts(data.items.size());
    for (auto item : data.item)
      ++counts[item];
    double sum = 0;
    for (auto& each : counts)
      sum += each = std::pow(std::max(each, 1.0), config_.negative_power);
    double below = 0;
    std::vector<float> expected_count;
    for (auto each : counts) {
      below += each / sum;
      cumulative_.push_back(below);
      expected_count.push_back(static_cast<float>(std::log(each / sum * config_.negatives)));
    }
    log_expected_ = torch::tensor(expected_count);
  }

  /// Cross-entropy over the target and the step's negatives, which are the same on all ranks; what an item's
  /// score gains by being drawn often is taken off.
  torch::Tensor sampled_loss(const torch::Tensor& hidden, const std::vector<std::int64_t>& targets,
                             std::uint64_t key) {
    random_source random{mix(key, 7)};
    std::vector<std::int64_t> drawn;
    for (std::uint32_t i = 0; i < config_.negatives; ++i) {
      auto at = std::upper_bound(cumulative_.begin(), cumulative_.end(), random.unit()) - cumulative_.begin();
      drawn.push_back(std::min<std::int64_t>(at, items_ - 1));
    }
    auto device = hidden.device();
    auto log_expected = log_expected_.to(device);
    auto target = indices(targets, device);
    auto negative = indices(drawn, device);
    auto& items = network_->item_embedding;
    auto right = (hidden * torch::embedding(items, target)).sum(1, true) -
                 log_expected.index_select(0, target).unsqueeze(1);
    auto wrong =
        torch::mm(hidden, torch::embedding(items, negative).t()) - log_expected.index_select(0, negative);
    wrong = wrong.masked_fill(target.unsqueeze(1).eq(negative.unsqueeze(0)), -1e9);
    auto scores = torch::cat({right, wrong}, 1).to(torch::kFloat32);
    return (torch::logsumexp(scores, 1) - right.squeeze(1)).sum();
  }

  settings config_;
  std::int64_t items_;
  rows by_user_;
  std::span<const ranking_case> validation_;
  std::shared_ptr<network> network_;
  std::vector<window> windows_;
  std::vector<double> cumulative_;
  torch::Tensor log_expected_;
};

} // namespace

expected<std::unique_ptr<task>> make_sasrec(const train_config& config, const interactions& data,
                                            std::span<const ranking_case> validation) {
  return std::make_unique<sasrec_task>(config, data, validation);
}

expected<std::unique_ptr<scorer>> open_sasrec(std::shared_ptr<const trained_model> model) {
  TROUPE_TRY(section, read_model_config(*model));
  TROUPE_TRY(config, load_config<train_config>(section));
  try {
    auto made = std::make_shared<network>(config.sasrec, static_cast<std::int64_t>(model->items.size()));
    torch::NoGradGuard off;
    made->eval();
    for (auto& each : made->named_parameters()) {
      auto found = model->weights.find(each.key());
      auto bytes = each.value().nbytes();
      if (found == model->weights.end() || found->second.type != tensor::dtype::f32 ||
          found->second.bytes.size() != bytes)
        return fail(ec::corrupt, "a model of kind sasrec lacks its weights {}, or they have another size",
                    each.key());
      std::memcpy(each.value().data_ptr<float>(), found->second.bytes.data(), bytes);
    }
    return std::make_unique<sasrec_scorer>(std::move(made));
  } catch (const std::exception& err) {
    return fail(ec::corrupt, "cannot make the network of a model of kind sasrec: {}", err.what());
  }
}

} // namespace troupe::trainer::neural
