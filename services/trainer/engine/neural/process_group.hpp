#pragma once

#include "common/core/error.hpp"

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace troupe::trainer::neural {

struct group_settings {
  std::uint32_t rank = 0;
  std::uint32_t world = 1;
  /// A file that all ranks of one machine see and that is not there before, or "tcp://HOST:PORT" where rank 0
  /// listens.
  std::string rendezvous;
  std::string backend = "gloo"; ///< Or "nccl", which joins ranks on GPUs and no others.
  std::chrono::milliseconds timeout{60'000};
  std::string device = "cpu"; ///< Or "cuda": each rank has a GPU of its own.
};

/// The ranks of a run, joined by c10d. With one rank nothing is joined and every call returns at once. All
/// ranks must make the same calls in the same order, each from one thread.
class process_group {
public:
  /// A sum on its way.
  class sum {
  public:
    virtual ~sum() = default;
    /// Until the tensor holds the sum; ec::unavailable where a peer is lost or late.
    virtual expected<void> wait() = 0;
    /// When the sum was there; after `wait`.
    virtual std::chrono::steady_clock::time_point finished() const = 0;
  };

  virtual ~process_group() = default;
  virtual std::uint32_t rank() const noexcept = 0;
  virtual std::uint32_t world() const noexcept = 0;
  /// Where the tensors of this rank live.
  virtual torch::Device device() const noexcept = 0;

  /// Starts to replace `values` by the sum over all ranks; nothing else may touch it until `wait` returned.
  virtual expected<std::unique_ptr<sum>> begin_sum(torch::Tensor values) = 0;

  /// Replaces `values` by their sum over all ranks.
  expected<void> add_up(torch::Tensor values);
  expected<void> add_up(std::span<double> values);
};

/// Waits for all ranks, `timeout` at most. ec::invalid_argument where this machine or this program has no
/// such device or backend.
expected<std::unique_ptr<process_group>> join_group(const group_settings& settings);

} // namespace troupe::trainer::neural
