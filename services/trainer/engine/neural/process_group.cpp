#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO // libtorch is built with it; its headers ask the includer
#endif

#include "services/trainer/engine/neural/process_group.hpp"

#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef TROUPE_WITH_NCCL
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#include <torch/cuda.h>

#include <atomic>
#include <charconv>
#include <exception>

namespace troupe::trainer::neural {

namespace {

constexpr std::string_view tcp = "tcp://";

class lone_rank final : public process_group {
public:
  explicit lone_rank(torch::Device device) : device_{device} {}

  class done final : public sum {
  public:
    expected<void> wait() override { return {}; }
    std::chrono::steady_clock::time_point finished() const override {
      return std::chrono::steady_clock::now();
    }
  };
  std::uint32_t rank() const noexcept override { return 0; }
  std::uint32_t world() const noexcept override { return 1; }
  torch::Device device() const noexcept override { return device_; }
  expected<std::unique_ptr<sum>> begin_sum(torch::Tensor) override { return std::make_unique<done>(); }

private:
  torch::Device device_;
};

unexpected<error> lost(const std::exception& err) {
  std::string why = err.what();
  return fail(ec::unavailable, "a peer of this rank is lost or late: {}", why.substr(0, why.find('\n')));
}

/// Any c10d process group.
template <class Group>
class c10d_ranks final : public process_group {
public:
  c10d_ranks(c10::intrusive_ptr<Group> group, const group_settings& settings, torch::Device device)
      : group_{std::move(group)}, rank_{settings.rank}, world_{settings.world}, device_{device} {}

  class work final : public sum {
  public:
    explicit work(c10::intrusive_ptr<c10d::Work> from) : work_{std::move(from)} {
      work_->getFuture()->addCallback([at = at_](c10::ivalue::Future&) {
        at->store(std::chrono::steady_clock::now().time_since_epoch().count());
      });
    }
    expected<void> wait() override {
      try {
        work_->wait();
        return {};
      } catch (const std::exception& err) {
        return lost(err);
      }
    }

    std::chrono::steady_clock::time_point finished() const override {
      using clock = std::chrono::steady_clock;
      auto at = at_->load();
      return at == 0 ? clock::now() : clock::time_point{clock::duration{at}};
    }

  private:
    std::shared_ptr<std::atomic<std::int64_t>> at_ = std::make_shared<std::atomic<std::int64_t>>(0);
    c10::intrusive_ptr<c10d::Work> work_;
  };

  std::uint32_t rank() const noexcept override { return rank_; }
  std::uint32_t world() const noexcept override { return world_; }
  torch::Device device() const noexcept override { return device_; }

  expected<std::unique_ptr<sum>> begin_sum(torch::Tensor values) override {
    try {
      std::vector<torch::Tensor> all{std::move(values)};
      return std::make_unique<work>(group_->allreduce(all));
    } catch (const std::exception& err) {
      return lost(err);
    }
  }

private:
  c10::intrusive_ptr<Group> group_;
  std::uint32_t rank_;
  std::uint32_t world_;
  torch::Device device_;
};

c10::intrusive_ptr<c10d::Store> open_store(const group_settings& settings) {
  if (!settings.rendezvous.starts_with(tcp))
    return c10::make_intrusive<c10d::FileStore>(settings.rendezvous, static_cast<int>(settings.world));
  auto colon = settings.rendezvous.rfind(':');
  c10d::TCPStoreOptions options;
  auto* end = settings.rendezvous.data() + settings.rendezvous.size();
  std::from_chars(settings.rendezvous.data() + colon + 1, end, options.port);
  options.isServer = settings.rank == 0;
  options.numWorkers = settings.world;
  options.waitWorkers = true;
  options.timeout = settings.timeout;
  return c10::make_intrusive<c10d::TCPStore>(settings.rendezvous.substr(tcp.size(), colon - tcp.size()),
                                             options);
}

/// Where this rank computes.
expected<torch::Device> device_of(const group_settings& settings) {
  if (settings.device != "cuda") {
    if (settings.backend == "nccl")
      return fail(ec::invalid_argument,
                  "backend = \"nccl\" joins ranks on GPUs, and device is {}: set device = "
                  "\"cuda\", or take gloo",
                  settings.device);
    return torch::Device{torch::kCPU};
  }
  auto count = static_cast<std::uint64_t>(torch::cuda::device_count());
  if (!torch::cuda::is_available() || count == 0)
    return fail(ec::invalid_argument,
                "device = \"cuda\": this machine has no GPU that this program's libtorch "
                "can use; set device = \"cpu\"");
  if (settings.world > count)
    return fail(ec::invalid_argument, "device = \"cuda\": {} ranks need a GPU each, and there are {}",
                settings.world, count);
  if (settings.world > 1 && settings.backend != "nccl")
    return fail(ec::invalid_argument, "device = \"cuda\" with {} ranks needs backend = \"nccl\", not {}",
                settings.world, settings.backend);
  return torch::Device{torch::kCUDA, static_cast<c10::DeviceIndex>(settings.rank)};
}

} // namespace

expected<void> process_group::add_up(torch::Tensor values) {
  TROUPE_TRY(on_its_way, begin_sum(std::move(values)));
  return on_its_way->wait();
}

expected<void> process_group::add_up(std::span<double> values) {
  auto here = torch::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, torch::kFloat64);
  auto there = here.to(device()); // the same memory where the ranks are on processors
  TROUPE_CHECK(add_up(there));
  here.copy_(there);
  return {};
}

expected<std::unique_ptr<process_group>> join_group(const group_settings& settings) {
  TROUPE_TRY(device, device_of(settings));
  if (settings.world == 1)
    return std::make_unique<lone_rank>(device);
  if (settings.rendezvous.empty())
    return fail(ec::invalid_argument, "{} ranks need a rendezvous: a file, or tcp://HOST:PORT",
                settings.world);
  try {
    auto store = open_store(settings);
    store->setTimeout(settings.timeout);
    auto rank = static_cast<int>(settings.rank);
    auto world = static_cast<int>(settings.world);
    if (settings.backend == "nccl") {
#ifdef TROUPE_WITH_NCCL
      using nccl = c10d::ProcessGroupNCCL;
      auto options = nccl::Options::create();
      options->timeout = settings.timeout;
      return std::make_unique<c10d_ranks<nccl>>(c10::make_intrusive<nccl>(store, rank, world, options),
                                                settings, device);
#else
      return fail(ec::invalid_argument,
                  "backend = \"nccl\": this program was built without CUDA and NCCL; use gloo");
#endif
    }
    using gloo = c10d::ProcessGroupGloo;
    auto options = gloo::Options::create(settings.timeout);
    options->threads = 1; // one sum after the other, in the order they were begun
    options->devices.push_back(settings.rendezvous.starts_with(tcp) ? gloo::createDefaultDevice()
                                                                    : gloo::createDeviceForInterface("lo"));
    return std::make_unique<c10d_ranks<gloo>>(c10::make_intrusive<gloo>(store, rank, world, options),
                                              settings, device);
  } catch (const std::exception& err) {
    std::string why = err.what();
    return fail(ec::unavailable, "rank {} of {} cannot join its peers at {}: {}", settings.rank,
                settings.world, settings.rendezvous, why.substr(0, why.find('\n')));
  }
}

} // namespace troupe::trainer::neural
