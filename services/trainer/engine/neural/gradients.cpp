#include "services/trainer/engine/neural/gradients.hpp"

#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cmath>

namespace troupe::trainer::neural {

namespace autograd = torch::autograd;

gradients::gradients(std::vector<torch::Tensor> parameters, process_group& group, std::uint64_t bucket_bytes)
    : parameters_{std::move(parameters)}, group_{group}, bucket_of_(parameters_.size()) {
  // Gradients come from the last layer to the first: so do the buckets.
  std::vector<std::vector<std::size_t>> members;
  std::uint64_t bytes = bucket_bytes;
  for (auto i = parameters_.size(); i-- > 0;) {
    auto more = parameters_[i].nbytes();
    if (bytes + more > bucket_bytes) {
      members.emplace_back();
      bytes = 0;
    }
    bytes += more;
    members.back().push_back(i);
    bucket_of_[i] = members.size() - 1;
  }
  for (std::size_t b = 0; b < members.size(); ++b) {
    std::int64_t size = b + 1 == members.size() ? extra : 0;
    for (auto i : members[b])
      size += parameters_[i].numel();
    bucket made;
    made.flat = torch::zeros({size}, parameters_[members[b].front()].options().requires_grad(false));
    made.parameters = members[b].size();
    std::int64_t at = 0;
    for (auto i : members[b]) {
      auto& parameter = parameters_[i];
      parameter.mutable_grad() = made.flat.narrow(0, at, parameter.numel()).view(parameter.sizes());
      at += parameter.numel();
    }
    buckets_.push_back(std::move(made));
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto node = autograd::impl::grad_accumulator(parameters_[i]);
    auto hook = [this, i](const autograd::variable_list& outputs, const autograd::variable_list&) {
      on_ready(i);
      return outputs;
    };
    auto key = node->add_post_hook(std::make_unique<autograd::utils::LambdaPostHook>(std::move(hook)));
    hooks_.emplace_back(std::move(node), key);
  }
}

gradients::~gradients() {
  for (auto& [node, key] : hooks_)
    std::static_pointer_cast<autograd::Node>(node)->del_post_hook(key);
}

void gradients::clear() {
  for (auto& each : buckets_) {
    each.flat.zero_();
    each.ready = 0;
    each.sum.reset();
  }
  next_ = 0;
  travelling_ = false;
  problem_ = {};
}

void gradients::on_ready(std::size_t parameter) {
  if (!travelling_)
    return;
  ++buckets_[bucket_of_[parameter]].ready;
  start_full_buckets(false);
}

void gradients::start_full_buckets(bool all) {
  // The last bucket waits for the figures.
  auto end = all ? buckets_.size() : buckets_.size() - 1;
  for (; next_ < end && (all || buckets_[next_].ready == buckets_[next_].parameters); ++next_) {
    auto& each = buckets_[next_];
    each.started = clock::now();
    auto begun = group_.begin_sum(each.flat);
    if (begun)
      each.sum = *std::move(begun);
    else if (problem_)
      problem_ = unexpected<error>{std::move(begun).error()};
  }
}

expected<void> gradients::finish(std::span<double> figures) {
  auto backward_end = clock::now();
  auto& last = buckets_.back().flat;
  auto room = last.narrow(0, last.numel() - extra, extra);
  for (std::size_t i = 0; i < figures.size(); ++i)
    room[static_cast<std::int64_t>(i)] = figures[i];
  start_full_buckets(true);
  clock::time_point free{};
  for (auto& each : buckets_) {
    if (!each.sum)
      continue;
    if (auto done = each.sum->wait(); !done && problem_)
      problem_ = done;
    auto finished = each.sum->finished();
    auto begun = std::max(each.started, free);
    auto seconds_from = [&](clock::time_point at) {
      return std::max(0.0, std::chrono::duration<double>(finished - at).count());
    };
    overlap_.travelled += seconds_from(begun);
    overlap_.waited += seconds_from(std::max(begun, backward_end));
    free = std::max(free, finished);
    each.sum.reset();
  }
  auto summed = room.to(torch::kCPU, torch::kFloat64);
  for (std::size_t i = 0; i < figures.size(); ++i)
    figures[i] = summed.data_ptr<double>()[i];
  room.zero_();
  return problem_;
}

double gradients::norm() const {
  double square = 0;
  for (auto& each : buckets_) {
    auto one = each.flat.norm().item<double>();
    square += one * one;
  }
  return std::sqrt(square);
}

void gradients::scale(double by) {
  for (auto& each : buckets_)
    each.flat.mul_(by);
}

} // namespace troupe::trainer::neural
