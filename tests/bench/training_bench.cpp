// Training of the two-tower model on 100,000 users and 50,000 items, samples (users' windows) a second,
// beside the same model written with PyTorch (training_peer.py, Debian's python3-torch): same shapes, batch,
// losses, optimiser, threads and OpenBLAS kernels. Then two ranks of ours, joined by Gloo, beside one. Every
// measurement is a process of its own, because OpenBLAS reads its threads when it is loaded; medians of
// three.
//
//   training_bench [--quick]
//   training_bench one DATA BATCH THREADS WARMUP SECONDS RANK WORLD RENDEZVOUS    (what it starts)
#include "tests/bench/report.hpp"

#include "services/trainer/engine/neural/loop.hpp"
#include "services/trainer/engine/neural/two_tower.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/tensor/blas_kernels.hpp"
#include "common/tensor/torch/linear_algebra.hpp"
#include "common/testing/temp_dir.hpp"

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>

namespace {

using namespace troupe;
using namespace troupe::trainer;

constexpr std::uint32_t users = 100'000;
constexpr std::uint32_t items = 50'000;
constexpr const char* python = "/usr/bin/python3"; // Debian's: another one has other libraries

/// Native uint32: users, items, then for each user a count and so many items. Some items are taken far
/// oftener than others.
void write_data(const std::filesystem::path& file) {
  random_source random{23};
  std::vector<std::uint32_t> out{users, items};
  for (std::uint32_t u = 0; u < users; ++u) {
    auto count = static_cast<std::uint32_t>(4 + random.below(24));
    out.push_back(count);
    for (std::uint32_t i = 0; i < count; ++i)
      out.push_back(static_cast<std::uint32_t>(std::pow(random.unit(), 3) * items));
  }
  std::ofstream to{file, std::ios::binary};
  to.write(reinterpret_cast<const char*>(out.data()),
           static_cast<std::streamsize>(out.size() * sizeof(out[0])));
}

interactions read_data(const std::filesystem::path& file) {
  std::ifstream from{file, std::ios::binary};
  auto next = [&] {
    std::uint32_t out = 0;
    from.read(reinterpret_cast<char*>(&out), sizeof out);
    return out;
  };
  interactions out;
  auto count = next();
  out.items.resize(next());
  out.users.resize(count);
  for (std::uint32_t u = 0; u < count; ++u)
    for (auto left = next(); left > 0; --left) {
      out.user.push_back(u);
      out.item.push_back(next());
    }
  return out;
}

/// One rank of ours; prints what training_peer.py prints.
int train_one(char** argv) {
  auto number = [&](int at) { return std::atof(argv[at]); };
  auto data = read_data(argv[2]);
  auto batch = static_cast<std::uint32_t>(number(3));
  auto warmup = static_cast<std::uint64_t>(number(5));
  auto rank = static_cast<std::uint32_t>(number(7));
  tensor::use_threads(static_cast<unsigned>(number(4)));
  two_tower_config config;
  config.loop.batch = batch;
  config.loop.epochs = 1000;
  config.loop.schedule = "constant";
  config.loop.warmup = 0;
  auto what = neural::make_two_tower({.config = config, .data = data, .validation = {}});
  auto group = neural::join_group(
      {.rank = rank, .world = static_cast<std::uint32_t>(number(8)), .rendezvous = argv[9]});
  if (!group) {
    std::cerr << "cannot join the ranks: " << render(group.error()) << '\n';
    return 1;
  }
  neural::loop_setting setting;
  setting.config = config.loop;
  bench::samples steps;
  double loss = 0;
  bench::clock::time_point begun{};
  auto last = bench::clock::now();
  auto sink = [&](const progress& now) {
    auto at = bench::clock::now();
    auto finished = false;
    if (now.step > warmup) {
      steps.add(at - last);
      finished = rank == 0 && std::chrono::duration<double>(at - begun).count() >= number(6);
    } else {
      begun = at;
      if (now.step > warmup / 2)
        loss += now.loss / static_cast<double>(warmup - warmup / 2);
    }
    last = at;
    return !finished;
  };
  auto done = neural::train(*what, **group, setting, sink);
  if (done || done.error().code != ec::canceled) {
    std::cerr << "the training did not run until it was stopped: "
              << (done ? std::string{"it came to its end"} : render(done.error())) << '\n';
    return 1;
  }
  std::cout << steps.rate(batch) << ' ' << loss << ' ' << steps.p50_us() / 1e3 << ' ' << steps.p99_us() / 1e3
            << ' ' << bench::peak_mib() << '\n';
  return 0;
}

/// What a process printed.
struct outcome {
  double rate = 0, loss = 0, p50_ms = 0, p99_ms = 0, memory_mib = 0;
};

class processes {
public:
  void start(const std::string& command) { all_.push_back(::popen(command.c_str(), "r")); }

  /// What the first one printed, when all have ended well.
  std::optional<outcome> wait() {
    std::optional<outcome> out;
    bool well = true;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      std::string text;
      if (all_[i] != nullptr)
        for (int c = 0; (c = std::fgetc(all_[i])) != EOF;)
          text.push_back(static_cast<char>(c));
      well = all_[i] != nullptr && ::pclose(all_[i]) == 0 && well;
      if (outcome read; i == 0) {
        std::istringstream from{text};
        if (from >> read.rate >> read.loss >> read.p50_ms >> read.p99_ms) {
          from >> read.memory_mib;
          out = read;
        }
      }
    }
    return well ? out : std::nullopt;
  }

private:
  std::vector<std::FILE*> all_;
};

struct job {
  std::uint32_t batch, threads, ranks;
  bool peer;
};

std::optional<outcome> run(const job& what, const std::string& self, const std::filesystem::path& folder,
                           bool quick) {
  static int runs = 0;
  auto common = fmt::format("'{}' {} {} {} {}", (folder / "data").string(), what.batch, what.threads, 20,
                            quick ? 0.5 : 4.0);
  auto threads = fmt::format("OPENBLAS_NUM_THREADS={0} OMP_NUM_THREADS={0} ", what.threads);
  auto meeting = folder / fmt::format("rendezvous-{}", ++runs);
  processes started;
  if (what.peer)
    started.start(
        fmt::format("{}{} '{}/tests/bench/training_peer.py' {}", threads, python, TROUPE_SOURCE_DIR, common));
  else
    for (std::uint32_t r = 0; r < what.ranks; ++r)
      started.start(
          fmt::format("{}'{}' one {} {} {} '{}'", threads, self, common, r, what.ranks, meeting.string()));
  return started.wait();
}

/// The run of the median rate.
outcome median(std::vector<outcome> of) {
  std::sort(of.begin(), of.end(), [](auto& a, auto& b) { return a.rate < b.rate; });
  return of[of.size() / 2];
}

} // namespace

int main(int argc, char** argv) {
  auto blas = tensor::choose_blas_kernels(argv, 0); // our children and the peer inherit it
  if (argc == 10 && std::string_view{argv[1]} == "one")
    return train_one(argv);
  auto quick = bench::quick(argc, argv);
  auto self = std::filesystem::canonical("/proc/self/exe").string();
  auto peer = std::system(fmt::format("{} -c 'import torch' 2>/dev/null", python).c_str()) == 0;
  std::cout << "OpenBLAS kernels: " << (blas.kernels.empty() ? "its own choice" : blas.kernels) << '\n';
  if (!peer)
    std::cout
        << "no peer: apt-get install --no-install-recommends python3-torch (166 MB) to compare with it\n";
  troupe::testing::temp_dir folder;
  write_data(folder / "data");

  for (std::uint32_t batch : {16U, 128U}) {
    std::vector<job> jobs;
    for (std::uint32_t threads : {1U, 2U})
      for (auto other : {false, true})
        if (!other || peer)
          jobs.push_back({batch, threads, 1, other});
    jobs.push_back({batch, 1, 2, false});
    std::vector<std::vector<outcome>> got(jobs.size());
    for (int round = 0; round < (quick ? 1 : 3); ++round) // in turn, so that a slow minute hits all alike
      for (std::size_t j = 0; j < jobs.size(); ++j) {
        auto one = run(jobs[j], self, folder.path(), quick);
        if (!one) {
          std::cerr << "a training of batch " << batch << " failed; what it said stands above\n";
          return 1;
        }
        std::cout << fmt::format("batch {} threads {} ranks {} {}: {:.0f} samples/s, loss {:.4f}\n", batch,
                                 jobs[j].threads, jobs[j].ranks, jobs[j].peer ? "PyTorch" : "ours", one->rate,
                                 one->loss);
        got[j].push_back(*one);
      }
    std::optional<outcome> lone, limit;
    auto figure_of = [&](const std::string& name, const outcome& ours) {
      return bench::figure{.name = fmt::format("two-tower training, batch {}, {}", batch, name),
                           .unit = "samples/s",
                           .value = ours.rate,
                           .p50_us = 1e3 * ours.p50_ms,
                           .p99_us = 1e3 * ours.p99_ms,
                           .memory_mib = ours.memory_mib};
    };
    for (std::size_t j = 0; j < jobs.size(); ++j) {
      auto ours = median(got[j]);
      if (jobs[j].peer)
        continue;
      auto figure = figure_of(
          jobs[j].ranks > 1 ? "2 ranks"
                            : fmt::format("{} thread{}", jobs[j].threads, jobs[j].threads > 1 ? "s" : ""),
          ours);
      if (jobs[j].ranks > 1) {
        figure.limit_name = "twice one rank";
        figure.limit = 2 * lone->rate;
      } else {
        figure.limit_name = peer ? "PyTorch, same model" : "- (no python3-torch)";
        figure.aim = 1;
        if (!lone)
          lone = ours;
        if (peer) {
          auto theirs = median(got[j + 1]);
          figure.limit = theirs.rate;
          // Other first weights and another order, but the same model learns alike.
          if (std::abs(theirs.loss - ours.loss) > 0.1 * ours.loss) {
            std::cerr << fmt::format("the peer trains something else: its loss is {:.4f}, ours {:.4f}\n",
                                     theirs.loss, ours.loss);
            return 1;
          }
        }
      }
      bench::report(figure);
    }
  }
  return 0;
}
