#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

/// What every bench program needs: timing of single steps, and one line per figure for the table of
/// scripts/bench.
///
///     int main(int argc, char** argv) {
///       auto quick = bench::quick(argc, argv);
///       bench::samples steps;
///       steps.time([&] { append(1'000); });
///       bench::report({.name = "durable ingest", .unit = "events/s", .value = steps.rate(1'000), .limit_name
///       = "raw RocksDB",
///                      .limit = raw.rate(1'000), .aim = 0.5, .p50_us = steps.p50_us(), .p99_us =
///                      steps.p99_us()});
///     }
namespace bench {

using clock = std::chrono::steady_clock;

/// --quick: a run of seconds that shows that the bench works; its figures say little.
inline bool quick(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view{argv[i]} == "--quick")
      return true;
  return false;
}

/// Largest memory this process has used so far, in MiB.
inline double peak_mib() {
  std::ifstream in{"/proc/self/status"};
  std::string word;
  while (in >> word)
    if (word == "VmHWM:") {
      double kib = 0;
      in >> kib;
      return kib / 1024;
    }
  return 0;
}

/// Durations of steps that were timed one by one.
class samples {
public:
  template <class Step>
  void time(Step&& step) {
    auto start = clock::now();
    step();
    add(clock::now() - start);
  }

  void add(clock::duration took) {
    micros_.push_back(std::chrono::duration<double, std::micro>(took).count());
  }

  void add(const samples& more) { micros_.insert(micros_.end(), more.micros_.begin(), more.micros_.end()); }

  double p50_us() const { return quantile(0.50); }
  double p99_us() const { return quantile(0.99); }
  double total_s() const {
    double sum = 0;
    for (auto each : micros_)
      sum += each;
    return sum / 1e6;
  }
  /// Things per second when every step did `per_step` of them.
  double rate(double per_step = 1) const {
    auto total = total_s();
    return total > 0 ? per_step * static_cast<double>(micros_.size()) / total : 0;
  }

private:
  double quantile(double share) const {
    if (micros_.empty())
      return 0;
    auto sorted = micros_;
    auto at = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5);
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
    return sorted[at];
  }

  std::vector<double> micros_;
};

/// One figure. `limit` is what the raw thing did in the same run; 0 where there is none. A unit that ends in
/// "/s" is better when larger, any other when smaller. `aim` is the share of the limit to be reached: value /
/// limit for rates, limit / value for durations.
struct figure {
  std::string name;
  std::string unit;
  double value = 0;
  std::string limit_name = "-";
  double limit = 0;
  double aim = 0.5;
  double p50_us = 0;
  double p99_us = 0;
  double memory_mib = peak_mib();
};

inline void report(const figure& f) {
  auto rate = f.unit.size() > 2 && f.unit.ends_with("/s");
  auto share = f.limit <= 0 || f.value <= 0 ? 0 : rate ? f.value / f.limit : f.limit / f.value;
  std::printf("BENCH\t%s\t%.6g\t%s\t%s\t%.6g\t%.3f\t%.3f\t%.1f\t%.1f\t%.0f\n", f.name.c_str(), f.value,
              f.unit.c_str(), f.limit_name.c_str(), f.limit, share, f.aim, f.p50_us, f.p99_us, f.memory_mib);
  std::fflush(stdout);
}

} // namespace bench
