// iALS on a log of the size of MovieLens 1M: 1,000,000 interactions of 6,040 users and 3,706 items, 64
// factors, 12 iterations, with three steps of conjugate gradient and solved exactly, beside the package
// `implicit` on the same pairs (ials_peer.py; its Python is that of build/peers: `python3 -m venv build/peers
// && build/peers/bin/pip install implicit`). Interactions fitted a second, medians of three, one and two
// threads.
#include "tests/bench/report.hpp"

#include "services/trainer/engine/classic.hpp"
#include "services/trainer/engine/random.hpp"

#include "common/testing/temp_dir.hpp"

#include <fmt/format.h>

#include <cmath>
#include <iostream>
#include <set>

namespace {

using namespace troupe;
using namespace troupe::trainer;

/// Users differ in how much they take, items in how often they are taken.
interactions make_log(std::uint32_t users, std::uint32_t items, std::uint64_t pairs) {
  interactions out;
  for (std::uint32_t u = 0; u < users; ++u)
    out.users.push_back(std::to_string(u));
  for (std::uint32_t i = 0; i < items; ++i)
    out.items.push_back(std::to_string(i));
  random_source random{5};
  std::set<std::pair<std::uint32_t, std::uint32_t>> taken;
  while (taken.size() < pairs)
    taken.emplace(static_cast<std::uint32_t>(std::pow(random.unit(), 2) * users),
                  static_cast<std::uint32_t>(std::pow(random.unit(), 2) * items));
  for (auto [user, item] : taken) {
    out.user.push_back(user);
    out.item.push_back(item);
  }
  return out;
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

double seconds_of_peer(const std::filesystem::path& pairs, unsigned threads, std::uint32_t iterations) {
  auto command =
      fmt::format("OPENBLAS_NUM_THREADS=1 '{0}/build/peers/bin/python' '{0}/tests/bench/ials_peer.py' "
                  "'{1}' {2} {3} 2>/dev/null",
                  TROUPE_SOURCE_DIR, pairs.string(), threads, iterations);
  auto* from = ::popen(command.c_str(), "r");
  double seconds = 0;
  if (from == nullptr || std::fscanf(from, "%lf", &seconds) != 1)
    seconds = 0;
  if (from != nullptr)
    ::pclose(from);
  return seconds;
}

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  auto data = quick ? make_log(600, 400, 20'000) : make_log(6'040, 3'706, 1'000'000);
  auto pairs = static_cast<double>(data.user.size());
  troupe::testing::temp_dir folder;
  auto file = folder.path() / "pairs";
  {
    std::ofstream to{file, std::ios::binary};
    for (std::size_t i = 0; i < data.user.size(); ++i) {
      to.write(reinterpret_cast<const char*>(&data.user[i]), 4);
      to.write(reinterpret_cast<const char*>(&data.item[i]), 4);
    }
  }
  train_config config;
  config.model = "ials";
  auto work = pairs * config.ials.iterations;
  auto peer = std::filesystem::exists(std::filesystem::path{TROUPE_SOURCE_DIR} / "build/peers/bin/python");
  if (!peer)
    std::cout << "no peer: python3 -m venv build/peers && build/peers/bin/pip install implicit\n";
  for (unsigned threads : {1U, 2U}) {
    std::vector<double> ours, exact, theirs;
    for (int round = 0; round < (quick ? 1 : 3); ++round) { // In turn: a slow minute hits all alike.
      for (auto [steps, to] : {std::pair{3U, &ours}, {0U, &exact}}) {
        config.ials.cg_steps = steps;
        bench::samples took;
        took.time([&] {
          if (!fit_classic(config, data, threads, {}))
            std::abort();
        });
        to->push_back(took.total_s());
      }
      if (peer)
        theirs.push_back(seconds_of_peer(file, threads, config.ials.iterations));
    }
    auto limit = theirs.empty() ? 0 : median(theirs);
    for (auto& [name, of] : {std::pair{"three steps a row", &ours}, {"exact", &exact}})
      bench::report({.name = fmt::format("iALS, {} thread{}, {}", threads, threads > 1 ? "s" : "", name),
                     .unit = "pairs/s",
                     .value = work / median(*of),
                     .limit_name = "implicit, 3 steps",
                     .limit = limit > 0 ? work / limit : 0,
                     .aim = of == &ours ? 1.0 : 0.0});
  }
}
