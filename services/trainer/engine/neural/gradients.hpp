#pragma once

#include "services/trainer/engine/neural/process_group.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::trainer::neural {

/// How long sums of gradients were on their way, and how much of it a rank stood waiting after its backward
/// pass.
struct overlap_figures {
  double travelled = 0; ///< Seconds in which at least one sum was on its way.
  double waited = 0;    ///< The part of it after the end of the backward pass.

  /// The share of the travelling that the backward pass hid; nothing where nothing travelled.
  std::optional<double> share() const noexcept {
    return travelled > 0 ? std::optional{1 - waited / travelled} : std::nullopt;
  }
};

/// The gradients of all parameters, in a few flat tensors ("buckets") that are summed over the ranks while
/// the backward pass still runs: a bucket starts as soon as the last gradient in it is there (Li et al.,
/// "PyTorch Distributed", 2020). Buckets start in the same order on all ranks. Ours and not c10d's Reducer,
/// because the ranks' parts have weights, and because clipping and the optimiser then run over the flat
/// tensors.
///
/// Lives as long as its parameters are trained; one backward pass at a time.
class gradients {
public:
  /// Room for figures that travel with the last bucket.
  static constexpr std::int64_t extra = 4;

  gradients(std::vector<torch::Tensor> parameters, process_group& group, std::uint64_t bucket_bytes);
  ~gradients();
  gradients(const gradients&) = delete;
  gradients& operator=(const gradients&) = delete;

  /// Sets all gradients to zero.
  void clear();

  /// Before the last backward pass of a step: from here buckets travel as they fill.
  void expect_last_pass() { travelling_ = true; }

  /// After it: puts `figures` beside the gradients, starts what is left and waits for all sums. `figures` is
  /// then summed as well.
  expected<void> finish(std::span<double> figures);

  /// Euclidean norm over all parameters.
  double norm() const;
  void scale(double by);

  overlap_figures overlap() const noexcept { return overlap_; }

private:
  struct bucket {
    torch::Tensor flat;
    std::uint64_t parameters = 0;
    std::uint64_t ready = 0;
    std::unique_ptr<process_group::sum> sum;
    std::chrono::steady_clock::time_point started{};
  };
  using clock = std::chrono::steady_clock;

  void on_ready(std::size_t parameter);
  void start_full_buckets(bool all);

  std::vector<torch::Tensor> parameters_;
  process_group& group_;
  std::vector<bucket> buckets_;
  std::vector<std::size_t> bucket_of_;
  std::vector<std::pair<std::shared_ptr<void>, std::uintptr_t>> hooks_;
  std::size_t next_ = 0; ///< The bucket that starts next.
  bool travelling_ = false;
  expected<void> problem_;
  overlap_figures overlap_;
};

} // namespace troupe::trainer::neural
