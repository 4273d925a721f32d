// A worker that trains nothing: it speaks the JSON lines of troupe-trainer-worker, and fails as its
// configuration says. Keys, one a line: steps = 5, crash_at, hang_at, exit_at (with code) a step; at the
// first start only, unless always = true. With `wait = true` it stays at its last step until it is told to
// stop.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>

namespace {

volatile sig_atomic_t stop_wanted = 0;

std::map<std::string, std::string> read_config(const std::string& file) {
  std::map<std::string, std::string> keys;
  std::ifstream in{file};
  for (std::string key, equals, value; in >> key >> equals && std::getline(in, value);)
    keys[key] = value.substr(value.find_first_not_of(' '));
  return keys;
}

} // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    flags[name] = name == "--resume" ? "yes" : argv[++i];
  }
  ::signal(SIGTERM, [](int) { stop_wanted = 1; });
  auto config = read_config(flags["--config"]);
  auto number = [&](const char* key, int standard) {
    return config.contains(key) ? std::stoi(config[key]) : standard;
  };
  std::filesystem::path out = flags["--out"];
  auto rank = flags["--rank"];
  auto checkpoint = out / "checkpoints" / "step";
  auto marker = out / ("failed-" + rank);
  bool may_fail = config["always"] == "true" || !std::filesystem::exists(marker);
  int step = 0;
  if (flags.contains("--resume"))
    std::ifstream{checkpoint} >> step;
  auto steps = number("steps", 5);
  auto say = [&] {
    std::printf("{\"stage\":\"fitting\",\"step\":%d,\"steps_total\":%d,\"samples_per_second\":100,"
                "\"loss\":%g,\"learning_rate\":0.1,\"gradient_norm\":1.5}\n",
                step, steps, 1.0 / (step + 1));
    std::fflush(stdout);
  };
  auto failing_rank = config.contains("failing_rank") ? config["failing_rank"] : "0";
  for (; step <= steps && stop_wanted == 0; ++step) {
    say();
    if (rank == failing_rank && may_fail) {
      auto is = [&](const char* key) { return number(key, -1) == step; };
      if (is("crash_at") || is("hang_at") || is("exit_at"))
        std::ofstream{marker} << step;
      if (is("crash_at"))
        ::raise(SIGSEGV);
      if (is("exit_at")) {
        std::fprintf(stderr, "told to end with %d\n", number("code", 1));
        return number("code", 1);
      }
      while (is("hang_at")) {
        say();
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
      }
    }
    if (rank == "0") {
      std::filesystem::create_directories(checkpoint.parent_path());
      std::ofstream{checkpoint} << step;
    }
  }
  while (config["wait"] == "true" && stop_wanted == 0) {
    ++step;
    say();
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  if (stop_wanted != 0) {
    std::printf("{\"stopped\":true}\n");
    return 0;
  }
  if (rank == "0") {
    auto model = out / "model";
    std::filesystem::create_directories(model);
    std::ofstream{model / "weights.safetensors"} << "weights of seed " << config["seed"];
    std::ofstream{model / "items.txt"} << "a\nb\n";
    std::ofstream{model / "model.json"} << R"({"format":1,"kind":"popularity"})";
    std::printf("{\"done\":true,\"metrics\":{\"hr_at_10\":0.5},\"model\":\"%s\"}\n", model.c_str());
  }
  return 0;
}
