#include "services/trainer/engine/neural/loop.hpp"

#include "services/trainer/engine/neural/adam.hpp"
#include "services/trainer/engine/neural/checkpoint.hpp"
#include "services/trainer/engine/neural/sampler.hpp"

#include "common/testing/temp_dir.hpp"

#include <ATen/Parallel.h>
#include <doctest/doctest.h>
#include <torch/cuda.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/optim/adamw.h>
#include <torch/utils.h>

#include <fstream>
#include <iterator>
#include <latch>
#include <numeric>
#include <thread>

using namespace troupe;
using namespace troupe::trainer;
using namespace troupe::trainer::neural;

namespace {

struct network : torch::nn::Module {
  torch::nn::Linear in{register_module("in", torch::nn::Linear(8, 64))};
  torch::nn::Linear out{register_module("out", torch::nn::Linear(64, 1))};
};

/// Learns a smooth function of eight numbers; the samples differ in weight.
class curve final : public task {
public:
  explicit curve(std::uint64_t seed = 3) {
    torch::manual_seed(seed);
    network_ = std::make_shared<network>();
    torch::manual_seed(7);
    x_ = torch::randn({count, 8});
    y_ = torch::sin(x_.sum(1)) + 0.1 * torch::randn({count});
  }

  torch::nn::Module& module() override { return *network_; }
  std::uint64_t samples() const override { return count; }
  double weight(std::span<const std::uint32_t> samples) const override {
    double sum = 0;
    for (auto each : samples)
      sum += weight_of(each);
    return sum;
  }
  torch::Tensor loss(const batch& of) override {
    std::vector<std::int64_t> rows{of.mine.begin(), of.mine.end()};
    std::vector<float> weights;
    for (auto each : of.mine)
      weights.push_back(static_cast<float>(weight_of(each)));
    auto index = torch::tensor(rows);
    auto got = forward(x_.index_select(0, index));
    auto wrong = got - y_.index_select(0, index);
    return (wrong * wrong * torch::tensor(weights)).sum();
  }
  std::uint64_t validation_cases() const override { return validated ? 100 : 0; }
  expected<double> validate(std::uint64_t begin, std::uint64_t end, const progress_sink& sink) override {
    sink({"evaluating", end - begin, end - begin});
    auto part = torch::arange(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end));
    auto wrong = forward(x_.index_select(0, part)) - y_.index_select(0, part);
    return -(wrong * wrong).sum().item<double>();
  }
  expected<trained_model> finish() override {
    trained_model out;
    for (auto& each : network_->named_parameters()) {
      auto value = each.value().detach().contiguous();
      out.weights[each.key()] =
          array::of<float>({static_cast<std::uint64_t>(value.numel())},
                           {value.data_ptr<float>(), static_cast<std::size_t>(value.numel())});
    }
    return out;
  }

  bool validated = false;

private:
  static constexpr std::int64_t count = 1000;
  static double weight_of(std::uint32_t sample) { return 1 + sample % 3; }
  torch::Tensor forward(const torch::Tensor& x) {
    return network_->out->forward(torch::tanh(network_->in->forward(x))).squeeze(1);
  }

  std::shared_ptr<network> network_;
  torch::Tensor x_;
  torch::Tensor y_;
};

loop_setting setting() {
  loop_setting out;
  out.config.batch = 64;
  out.config.epochs = 4;
  out.config.learning_rate = 0.01;
  out.config.bucket_bytes = 1024;
  out.config.patience = 0;
  return out;
}

struct outcome {
  expected<loop_result> loop = fail(ec::internal, "not run");
  std::map<std::string, array, std::less<>> weights;
};

/// Trains with so many ranks, as threads of this process; what each ended with.
std::vector<outcome> train_with(std::uint32_t world, const loop_setting& options,
                                const progress_sink& sink = {}, bool validated = false) {
  troupe::testing::temp_dir dir;
  at::set_num_threads(1);
  std::vector<outcome> out(world);
  {
    std::vector<std::jthread> ranks;
    for (std::uint32_t r = 0; r < world; ++r)
      ranks.emplace_back([&, r] {
        static std::mutex one_at_a_time; // the first weights come from the process's generator
        std::unique_lock lock{one_at_a_time};
        curve what;
        lock.unlock();
        what.validated = validated;
        auto group = join_group({r, world, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
        if (!group) {
          out[r].loop = unexpected<error>{group.error()};
          return;
        }
        out[r].loop = train(what, **group, options, sink);
        out[r].weights = what.finish()->weights;
      });
  }
  return out;
}

bool same_bytes(const outcome& a, const outcome& b) {
  return a.weights.size() == b.weights.size() &&
         std::equal(a.weights.begin(), a.weights.end(), b.weights.begin(),
                    [](auto& x, auto& y) { return x.first == y.first && x.second.bytes == y.second.bytes; });
}

} // namespace

TEST_CASE("an epoch sees every sample once, in an order of its own that the seed decides") {
  sampler one{100, 32, 5};
  sampler other{100, 32, 5};
  std::vector<std::uint32_t> first;
  for (std::uint64_t s = 0; s < 4; ++s)
    first.insert(first.end(), one.step(s).begin(), one.step(s).end());
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint32_t> all(100);
  std::iota(all.begin(), all.end(), 0U);

  CHECK(one.steps_per_epoch() == 4);
  CHECK(sorted == all);
  CHECK(first != all);
  auto later = other.step(6);
  CHECK(std::equal(later.begin(), later.end(), one.step(6).begin()));
  CHECK(!std::equal(later.begin(), later.end(), first.begin() + 64));
}

TEST_CASE("the parts of the ranks make up the batch") {
  std::vector<std::uint32_t> all(10);
  std::iota(all.begin(), all.end(), 0U);
  std::vector<std::uint32_t> joined;
  for (std::uint64_t r = 0; r < 4; ++r) {
    auto part = share(all, r, 4);
    joined.insert(joined.end(), part.begin(), part.end());
  }
  CHECK(joined == all);
}

TEST_CASE("the learning rate rises, then falls as its schedule says") {
  loop_config config;
  config.learning_rate = 1;
  config.warmup = 0.1;
  config.last_learning_rate = 0.1;

  CHECK(config.rate_at(0, 100) == doctest::Approx(1.0 / 11));
  CHECK(config.rate_at(10, 100) == doctest::Approx(1));
  CHECK(config.rate_at(55, 100) == doctest::Approx(0.55));
  CHECK(config.rate_at(100, 100) == doctest::Approx(0.1));
  config.schedule = "linear";
  CHECK(config.rate_at(55, 100) == doctest::Approx(0.55));
  config.schedule = "constant";
  CHECK(config.rate_at(99, 100) == doctest::Approx(1));
}

TEST_CASE("steps are those of libtorch's AdamW, in one pass over memory and where that cannot be") {
  torch::manual_seed(5);
  auto first = torch::randn({70'001, 3}); // more than one thread's part, and no multiple of a vector
  for (auto& begin : {first, first.t().clone().t()}) {
    CAPTURE(begin.is_contiguous());
    auto ours = begin.clone().set_requires_grad(true);
    auto theirs = first.clone().set_requires_grad(true);
    adam one{{ours}, 0.1};
    torch::optim::AdamW other{std::vector<torch::Tensor>{theirs},
                              torch::optim::AdamWOptions{0.01}.betas({0.9, 0.98}).weight_decay(0.1)};
    for (int step = 0; step < 5; ++step) {
      auto gradient = torch::randn({70'001, 3});
      ours.mutable_grad() = theirs.mutable_grad() = gradient;
      one.step(0.01);
      other.step();
    }
    CHECK(ours.is_contiguous() == begin.is_contiguous());
    CHECK(torch::allclose(ours, theirs, 1e-5, 1e-6));
    CHECK(!torch::allclose(ours, first, 1e-2, 1e-2));
  }
}

TEST_CASE("training lowers the loss, and training twice gives the same bytes") {
  auto first = train_with(1, setting());
  auto second = train_with(1, setting());

  REQUIRE(first[0].loop);
  auto& losses = first[0].loop->losses;
  CHECK(losses.size() == 64);
  CHECK(losses.back() < 0.9 * losses.front());
  CHECK(same_bytes(first[0], second[0]));
}

TEST_CASE("two and four ranks, and accumulation, follow the loss curve of one rank") {
  auto one = train_with(1, setting());
  auto accumulated = setting();
  accumulated.config.accumulate = 3;
  REQUIRE(one[0].loop);
  for (auto& [world, options] :
       {std::pair{2U, setting()}, {4U, setting()}, {1U, accumulated}, {2U, accumulated}}) {
    CAPTURE(world);
    CAPTURE(options.config.accumulate);
    auto many = train_with(world, options);
    for (auto& rank : many) {
      REQUIRE_MESSAGE(rank.loop, rank.loop.error().text);
      REQUIRE(rank.loop->losses.size() == one[0].loop->losses.size());
      for (std::size_t i = 0; i < rank.loop->losses.size(); ++i)
        CHECK(rank.loop->losses[i] == doctest::Approx(one[0].loop->losses[i]).epsilon(1e-3));
      CHECK(same_bytes(rank, many[0]));
      CHECK((world == 1 || rank.loop->overlap.travelled > 0));
    }
  }
}

TEST_CASE("a training that is stopped and goes on ends with the bytes of one that never stopped") {
  for (auto [world, validated] : {std::pair{1U, true}, {2U, false}}) {
    CAPTURE(world);
    troupe::testing::temp_dir dir;
    auto options = setting();
    auto undisturbed = train_with(world, options, {}, validated);
    options.checkpoints = dir.path();
    options.resume = true;
    for (std::uint64_t stop : {20, 50}) {
      auto stopped = train_with(
          world, options, [&](const progress& now) { return now.stage == "validating" || now.step < stop; },
          validated);
      for (auto& rank : stopped) {
        REQUIRE(!rank.loop);
        CHECK(rank.loop.error().code == ec::canceled);
      }
    }

    auto last = train_with(world, options, {}, validated);

    REQUIRE(last[0].loop);
    CHECK(last[0].loop->resumed_at == 51);
    CHECK(same_bytes(last[0], undisturbed[0]));
    CHECK(last[0].loop->validated == undisturbed[0].loop->validated);
  }
}

TEST_CASE("validation makes steps, and a training told to stop in it stops after the next step") {
  std::uint64_t validating = 0;
  auto options = setting();

  auto got = train_with(
      1, options, [&](const progress& now) { return now.stage != "validating" || ++validating < 2; }, true);

  REQUIRE(!got[0].loop);
  CHECK(got[0].loop.error().code == ec::canceled);
  CHECK(got[0].loop.error().text.find("after 33 of 64 steps") != std::string::npos);
  CHECK(validating == 2);
}

TEST_CASE("training stops early when validation gains no more, and keeps the best weights") {
  auto options = setting();
  options.config.epochs = 400;
  options.config.patience = 3;
  options.config.schedule = "constant";
  auto got = train_with(1, options, {}, true);

  REQUIRE(got[0].loop);
  auto steps_per_epoch = 16U;
  CHECK(got[0].loop->steps == (got[0].loop->epochs + options.config.patience) * steps_per_epoch);
  CHECK(got[0].loop->validated.has_value());
}

TEST_CASE("a damaged checkpoint is passed over for the one before it, and two are kept") {
  troupe::testing::temp_dir dir;
  checkpoint_folder folder{dir.path()};
  for (std::uint64_t step : {1, 2, 3}) {
    checkpoint one;
    one.step = step;
    one.tensors["x"] = torch::full({2}, static_cast<double>(step), torch::kFloat32);
    REQUIRE(folder.save(one));
  }
  std::vector<std::filesystem::path> files;
  for (auto& each : std::filesystem::directory_iterator{dir.path()})
    files.push_back(each.path());
  REQUIRE(files.size() == 2);
  std::sort(files.begin(), files.end());
  {
    std::fstream newest{files.back(), std::ios::binary | std::ios::in | std::ios::out};
    newest.seekp(-1, std::ios::end);
    newest.put('x');
  }

  auto got = folder.load();

  REQUIRE(got);
  REQUIRE(got->has_value());
  CHECK((*got)->step == 2);
  CHECK((*got)->tensors.at("x")[1].item<float>() == 2);
}

TEST_CASE("a checkpoint of another configuration, more memory than the cap and a diverged loss are refused") {
  troupe::testing::temp_dir dir;
  auto options = setting();
  options.checkpoints = dir.path();
  options.resume = true;
  options.identity = "one";
  train_with(1, options, [](auto& now) { return now.step < 3; });
  options.identity = "another";
  auto other = train_with(1, options);
  auto small = setting();
  small.memory_cap = 1 << 20;
  auto capped = train_with(1, small);
  auto wild = setting();
  wild.config.learning_rate = 1e30;
  wild.config.clip = 0;
  auto diverged = train_with(1, wild);

  REQUIRE((!other[0].loop && !capped[0].loop && !diverged[0].loop));
  CHECK(other[0].loop.error().code == ec::conflict);
  CHECK(capped[0].loop.error().text.find("memory_cap") != std::string::npos);
  CHECK(diverged[0].loop.error().text.find("diverged") != std::string::npos);
}

TEST_CASE("a device or backend that is not there is refused, with one rank too") {
  auto refused = [](std::uint32_t world, const char* backend, const char* device) {
    group_settings join{0, world, "nowhere", backend};
    join.device = device;
    auto got = join_group(join);
    return got ? std::string{} : got.error().code == ec::invalid_argument ? got.error().text : "other";
  };
  CHECK(refused(1, "nccl", "cpu").find("device") != std::string::npos);
  CHECK(refused(1, "gloo", "cpu").empty());
  if (torch::cuda::is_available())
    MESSAGE("skipped: this machine has a GPU");
  else
    for (std::uint32_t world : {1, 2})
      CHECK(refused(world, "nccl", "cuda").find("no GPU") != std::string::npos);
}

TEST_CASE("ranks that begin with other weights are refused") {
  troupe::testing::temp_dir dir;
  auto options = setting();
  std::array<expected<loop_result>, 2> got{fail(ec::internal, "not run"), fail(ec::internal, "not run")};
  curve first{1};
  curve second{2};
  {
    std::vector<std::jthread> ranks;
    for (std::uint32_t r = 0; r < 2; ++r)
      ranks.emplace_back([&, r] {
        auto group = join_group({r, 2, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
        got[r] = train(r == 0 ? first : second, **group, options, {});
      });
  }

  for (auto& rank : got) {
    REQUIRE(!rank);
    CHECK(rank.error().code == ec::conflict);
  }
}

TEST_CASE("a rank whose peer is lost says so") {
  troupe::testing::temp_dir dir;
  auto options = setting();
  expected<loop_result> left = fail(ec::internal, "not run");
  std::latch both_joined{2};
  {
    std::jthread lost{[&] { // goes away without a step, but not before its peer has joined
      auto group = join_group({1, 2, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
      both_joined.arrive_and_wait();
    }};
    auto group = join_group({0, 2, (dir / "rendezvous").string(), "gloo", std::chrono::seconds{20}});
    both_joined.count_down(); // even where it could not join, so that the thread ends
    REQUIRE_MESSAGE(group, (group ? std::string{} : render(group.error())));
    lost.join();
    curve what;
    left = train(what, **group, options, {});
  }

  REQUIRE(!left);
  CHECK(left.error().code == ec::unavailable);
}
