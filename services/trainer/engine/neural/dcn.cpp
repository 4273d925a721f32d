#include "services/trainer/engine/neural/dcn.hpp"

#include "services/trainer/engine/neural/arrays.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/nn.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_set>

namespace troupe::trainer::neural {

namespace {

using torch::Tensor;

constexpr float farthest = 8; // As serving cuts it: common/model/dcn.cpp.

/// How a feature becomes input.
struct input {
  const feature_column* from;
  bool logarithm = false;
  float mean = 0, deviation = 1;

  float number(std::uint64_t row) const {
    auto value = static_cast<double>(from->numbers[row]);
    return static_cast<float>(logarithm ? std::copysign(std::log1p(std::abs(value)), value) : value);
  }
};

struct moments {
  double mean = 0, deviation = 0, least = 0;
};

template <class Value>
moments moments_of(const feature_column& column, std::uint64_t rows, Value value) {
  moments out;
  double count = 0, squares = 0;
  for (std::uint64_t r = 0; r < rows; ++r) {
    if (!std::isfinite(column.numbers[r]))
      continue;
    double x = value(r);
    out.least = count == 0 ? x : std::min(out.least, x);
    ++count;
    auto step = x - out.mean; // Welford 1962.
    out.mean += step / count;
    squares += step * (x - out.mean);
  }
  out.deviation = count > 1 ? std::sqrt(squares / count) : 0;
  return out;
}

input input_of(const feature_column& column, std::uint64_t rows) {
  input out{&column};
  if (column.category)
    return out;
  auto plain = moments_of(column, rows, [&](auto r) { return static_cast<double>(column.numbers[r]); });
  out.logarithm = plain.least >= 0 && plain.deviation > plain.mean;
  auto taken = moments_of(column, rows, [&](auto r) { return static_cast<double>(out.number(r)); });
  out.mean = static_cast<float>(taken.mean);
  out.deviation = taken.deviation > 1e-6 ? static_cast<float>(taken.deviation) : 1.0f;
  return out;
}

class dcn_net : public torch::nn::Module {
public:
  dcn_net(const dcn_config& config, const std::vector<input>& inputs, std::uint64_t seed)
      : stacked_{config.structure == "stacked"} {
    auto generator = at::detail::createCPUGenerator(seed);
    auto random = [&](std::vector<std::int64_t> sizes, double deviation) {
      return torch::empty(sizes).normal_(0, deviation, generator);
    };
    std::int64_t width = 0;
    for (auto& each : inputs)
      if (each.from->category) {
        tables_.push_back(register_parameter(fmt::format("embedding_{}", tables_.size()),
                                             random({config.buckets, config.dimensions}, 0.05)));
        width += config.dimensions;
      } else {
        width += 2;
      }
    auto layer = [&](const std::string& name, std::int64_t in, std::int64_t out, double gain) {
      layer_tensors made;
      made.weight =
          register_parameter(name + "_weight", random({out, in}, std::sqrt(gain / static_cast<double>(in))));
      made.bias = register_parameter(name + "_bias", torch::zeros({out}));
      return made;
    };
    for (std::uint32_t i = 0; i < config.cross_layers; ++i)
      cross_.push_back(layer(fmt::format("cross_{}", i), width, width, 0.1));
    auto in = width;
    for (std::uint32_t i = 0; i < config.deep_layers; ++i) {
      deep_.push_back(layer(fmt::format("deep_{}", i), in, config.hidden, 2));
      in = config.hidden;
    }
    head_ = layer("head", stacked_ ? in : width + in, 1, 0.1);
  }

  /// x0 [rows, width] to logits [rows].
  Tensor forward(const Tensor& x0) const {
    auto crossed = x0;
    for (auto& each : cross_)
      crossed = x0 * torch::linear(crossed, each.weight, each.bias) + crossed;
    auto deep = stacked_ ? crossed : x0;
    for (auto& each : deep_)
      deep = torch::relu(torch::linear(deep, each.weight, each.bias));
    return torch::linear(stacked_ ? deep : torch::cat({crossed, deep}, 1), head_.weight, head_.bias)
        .squeeze(1);
  }

  const Tensor& table(std::size_t category) const { return tables_[category]; }
  const std::vector<Tensor>& tables() const noexcept { return tables_; }

private:
  struct layer_tensors {
    Tensor weight, bias;
  };

  bool stacked_;
  std::vector<Tensor> tables_;
  std::vector<layer_tensors> cross_, deep_;
  layer_tensors head_;
};

class rows_task final : public dcn_task {
public:
  rows_task(const dcn_input& from, std::uint64_t trained_on, std::uint64_t tested_on)
      : config_{from.config}, json_{from.config_json}, seed_{from.seed}, data_{from.data},
        trained_on_{trained_on}, tested_on_{tested_on} {
    for (auto& each : data_.columns)
      inputs_.push_back(input_of(each, trained_on_));
    net_ = std::make_shared<dcn_net>(config_, inputs_, seed_);
  }

  torch::nn::Module& module() override { return *net_; }
  std::uint64_t samples() const override { return trained_on_; }
  std::uint64_t trained_on() const override { return trained_on_; }
  std::uint64_t tested_on() const override { return tested_on_; }

  double pass_bytes(std::uint64_t mine, std::uint64_t /*all*/) const override {
    double width = 0;
    for (auto& each : inputs_)
      width += each.from->category ? config_.dimensions : 2;
    return 4 * 2.0 * static_cast<double>(std::max(mine, piece)) *
           (width * (1 + 2.0 * config_.cross_layers) + 2.0 * config_.hidden * config_.deep_layers);
  }

  Tensor loss(const batch& of) override { return loss_of({of.mine.begin(), of.mine.end()}); }

  std::uint64_t validation_cases() const override { return tested_on_ - trained_on_; }

  expected<double> validate(std::uint64_t begin, std::uint64_t end, const progress_sink& sink) override {
    double sum = 0;
    for (auto from = begin; from < end; from += piece) {
      auto to = std::min(end, from + piece);
      sum -= loss_of(numbers(trained_on_ + from, trained_on_ + to)).item<double>();
      if (sink && !sink({"validating", to - begin, end - begin}))
        return fail(ec::canceled, "the validation was canceled");
    }
    return sum;
  }

  std::vector<float> logits(std::uint64_t begin, std::uint64_t end) override {
    torch::NoGradGuard off;
    std::vector<float> out;
    for (auto from = begin; from < end; from += piece) {
      auto part = net_->forward(x0(numbers(from, std::min(end, from + piece)))).to(torch::kCPU).contiguous();
      out.insert(out.end(), part.data_ptr<float>(), part.data_ptr<float>() + part.numel());
    }
    return out;
  }

  expected<trained_model> finish() override {
    trained_model out;
    out.kind = "dcn";
    out.seed = seed_;
    out.config = json_.substr(0, json_.rfind('}'));
    std::string features;
    std::vector<float> mean, deviation;
    std::size_t category = 0;
    for (auto& each : inputs_) {
      features +=
          fmt::format(R"({}{{"name":"{}","entity":"{}","kind":"{}"{}}})", features.empty() ? "" : ",",
                      each.from->name, each.from->of_item ? "item" : "user",
                      each.from->category ? "category" : "number", each.logarithm ? R"(,"log":true)" : "");
      if (each.from->category) {
        out.weights["embedding." + each.from->name] = array_of(net_->table(category++));
      } else {
        mean.push_back(each.mean);
        deviation.push_back(each.deviation);
      }
    }
    std::string views;
    for (auto& [name, version] : data_.views)
      views += fmt::format(R"({}"{}":"{}")", views.empty() ? "" : ",", name, version);
    out.config += fmt::format(R"({}"features":[{}],"views":{{{}}}}})", out.config.size() > 1 ? "," : "",
                              features, views);
    if (!mean.empty()) {
      out.weights["number.mean"] = array::of<float>({mean.size()}, mean);
      out.weights["number.deviation"] = array::of<float>({deviation.size()}, deviation);
    }
    for (auto& each : net_->named_parameters()) {
      auto name = each.key(); // cross_0_weight: cross.0.weight
      if (name.starts_with("embedding_"))
        continue;
      std::replace(name.begin(), name.end(), '_', '.');
      out.weights[name] = array_of(each.value());
    }
    // What it can be asked about is not bound to these: they say what it was trained on.
    out.items = distinct(data_.items);
    return out;
  }

private:
  static constexpr std::uint64_t piece = 4096;

  /// Where the loop moved the network to.
  torch::Device device() const { return net_->parameters().front().device(); }

  static std::vector<std::uint32_t> numbers(std::uint64_t begin, std::uint64_t end) {
    std::vector<std::uint32_t> out;
    for (auto at = begin; at < end; ++at)
      out.push_back(static_cast<std::uint32_t>(at));
    return out;
  }

  static std::vector<std::string> distinct(const std::vector<std::string>& items) {
    std::vector<std::string> out;
    std::unordered_set<std::string_view> seen;
    for (auto& each : items)
      if (!each.empty() && seen.insert(each).second)
        out.push_back(each);
    return out;
  }

  Tensor loss_of(const std::vector<std::uint32_t>& rows) const {
    auto labels = torch::empty({static_cast<std::int64_t>(rows.size())});
    auto* to = labels.data_ptr<float>();
    for (std::size_t i = 0; i < rows.size(); ++i)
      to[i] = data_.labels[rows[i]];
    return torch::binary_cross_entropy_with_logits(net_->forward(x0(rows)).to(torch::kFloat),
                                                   labels.to(device()), {}, {}, at::Reduction::Sum);
  }

  Tensor x0(const std::vector<std::uint32_t>& rows) const {
    std::vector<Tensor> parts;
    std::size_t category = 0;
    for (auto& each : inputs_)
      parts.push_back(each.from->category ? embedded(*each.from, net_->table(category++), rows)
                                          : standardised(each, rows));
    return torch::cat(parts, 1);
  }

  Tensor standardised(const input& by, const std::vector<std::uint32_t>& rows) const {
    auto out = torch::zeros({static_cast<std::int64_t>(rows.size()), 2});
    auto* to = out.data_ptr<float>();
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (std::isfinite(by.from->numbers[rows[i]]))
        to[2 * i] = std::clamp((by.number(rows[i]) - by.mean) / by.deviation, -farthest, farthest);
      else
        to[2 * i + 1] = 1;
    return out.to(device());
  }

  Tensor embedded(const feature_column& column, const Tensor& table,
                  const std::vector<std::uint32_t>& rows) const {
    auto buckets = static_cast<std::uint64_t>(table.size(0));
    std::vector<std::int64_t> at, offsets;
    for (auto row : rows) {
      offsets.push_back(static_cast<std::int64_t>(at.size()));
      if (column.begin[row] == column.begin[row + 1])
        at.push_back(0);
      for (auto w = column.begin[row]; w < column.begin[row + 1]; ++w)
        at.push_back(static_cast<std::int64_t>(1 + column.words[w] % (buckets - 1)));
    }
    constexpr std::int64_t mean = 1;
    return std::get<0>(torch::embedding_bag(table, torch::tensor(at, torch::kLong).to(device()),
                                            torch::tensor(offsets, torch::kLong).to(device()), false, mean));
  }

  dcn_config config_;
  std::string json_;
  std::uint64_t seed_;
  const labelled_rows& data_;
  std::uint64_t trained_on_, tested_on_;
  std::vector<input> inputs_;
  std::shared_ptr<dcn_net> net_;
};

} // namespace

expected<std::unique_ptr<dcn_task>> make_dcn(const dcn_input& from) {
  auto rows = from.data.size();
  auto tested_on = rows - static_cast<std::uint64_t>(static_cast<double>(rows) * from.config.test);
  auto trained_on =
      tested_on - static_cast<std::uint64_t>(static_cast<double>(rows) * from.config.validation);
  if (from.data.columns.empty())
    return fail(ec::invalid_argument, "cannot train a DCN: the rows have no features");
  auto& labels = from.data.labels;
  auto ones = std::count(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(trained_on), 1.0f);
  if (ones == 0 || static_cast<std::uint64_t>(ones) == trained_on)
    return fail(ec::invalid_argument,
                "cannot train a DCN: of {} rows {} are good ones, and it needs both kinds; see dcn.label and "
                "dcn.positive_at_least",
                trained_on, ones);
  try {
    return std::make_unique<rows_task>(from, trained_on, tested_on);
  } catch (const std::exception& err) {
    return fail(ec::internal, "cannot make a DCN: {}", err.what());
  }
}

} // namespace troupe::trainer::neural
