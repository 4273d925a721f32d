#pragma once

#include "tests/bench/http_load.hpp"
#include "tests/support/process.hpp"

#include "common/http/client.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>
#include <signal.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <regex>
#include <string>
#include <thread>
#include <vector>

/// A fleet with a generated world in it and a release in production, for benches that ask it over HTTP.
namespace bench {

using namespace std::chrono_literals;
using troupe::testing::read_file;
using troupe::testing::write_file;
namespace json = boost::json;

struct sizes {
  std::uint64_t users = 100'000, items = 50'000, events = 1'000'000;
  std::size_t factors = 64, neighbours = 100;
  std::chrono::milliseconds span = 5s;
  int swaps = 20;
};

[[noreturn]] inline void die(const std::string& text) {
  throw std::runtime_error{text};
}

/// A fleet of our own in a folder, driven by `troupe`.
class fleet {
public:
  fleet() {
    std::filesystem::create_directories(folder_ / "data" / "views");
    auto catalog = read_file(source() / "compose" / "catalog.toml");
    // A swap takes a second of the deployer's patience, not a minute.
    write_file(folder_ / "catalog.toml",
               std::regex_replace(catalog, std::regex{"(admin|http)_port = [0-9]+"}, "$1_port = 0") +
                   "\n[deployer.settings]\nanalysis_interval = \"200ms\"\nsettle = \"500ms\"\n");
    std::filesystem::copy_file(source() / "services" / "feature_store" / "views" / "serving.toml",
                               folder_ / "data" / "views" / "serving.toml");
    up_.emplace(words({"up"}), folder_ / "log", folder_ / "log");
    for (auto end = clock::now() + 60s; troupe::testing::run(words({"status"}), 10s).code != 0;
         std::this_thread::sleep_for(200ms))
      if (clock::now() > end)
        die("the fleet is not ready: " + read_file(folder_ / "log"));
  }
  ~fleet() {
    up_->signal(SIGINT);
    up_->wait(30s);
  }

  std::string troupe(std::vector<std::string> what, std::chrono::milliseconds limit = 600s) const {
    auto done = troupe::testing::run(words(what), limit);
    if (done.code != 0)
      die("troupe " + what[0] + ": " + done.out + done.err);
    return done.out;
  }
  std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(read_file(folder_ / "data" / "run" / "gateway-0.port")));
  }
  const std::filesystem::path& folder() const { return folder_.path(); }
  static std::filesystem::path source() { return TROUPE_SOURCE_DIR; }

private:
  std::vector<std::string> words(std::vector<std::string> what) const {
    std::vector<std::string> out{std::string{TROUPE_BIN_DIR} + "/troupe", "--catalog",
                                 (folder_ / "catalog.toml").string(), "--data", (folder_ / "data").string()};
    out.insert(out.end(), what.begin(), what.end());
    return out;
  }

  ::troupe::testing::temp_dir folder_;
  std::optional<::troupe::testing::child> up_;
};

inline std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

/// Safetensors of little-endian tensors, each named with its type and shape.
class tensors {
public:
  template <class T>
  void add(const std::string& name, const char* type, const std::vector<std::size_t>& shape,
           const std::vector<T>& values) {
    std::string sizes;
    for (auto each : shape)
      sizes += (sizes.empty() ? "" : ",") + std::to_string(each);
    auto begin = bytes_.size();
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, type, sizes, begin, bytes_.size());
  }
  void write(const std::filesystem::path& file) const {
    auto header = "{" + header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::uint64_t length = header.size();
    write_file(file, std::string{reinterpret_cast<const char*>(&length), 8} + header + bytes_);
  }

private:
  std::string header_, bytes_;
};

inline void write_names(const std::filesystem::path& file, char prefix, std::uint64_t count) {
  std::string names;
  for (std::uint64_t i = 0; i < count; ++i)
    names += prefix + std::to_string(i) + "\n";
  write_file(file, names);
}

inline void write_model(const std::filesystem::path& folder, const char* kind, const sizes& workload,
                        bool with_users, const tensors& weights) {
  std::filesystem::create_directories(folder);
  weights.write(folder / "weights.safetensors");
  write_names(folder / "items.txt", 'i', workload.items);
  if (with_users)
    write_names(folder / "users.txt", 'u', workload.users);
  write_file(
      folder / "model.json",
      fmt::format(
          R"({{"format":1,"kind":"{}","items":{},"users":{},"metrics":{{}},"weights":{{"file":"weights.safetensors"}}}})",
          kind, workload.items, with_users ? workload.users : 0));
}

/// Factors and neighbours drawn at random: what an answer costs does not depend on what they say.
inline void write_models(const std::filesystem::path& folder, const sizes& workload) {
  std::mt19937_64 source{3};
  std::normal_distribution<float> normal{0, 0.1f};
  std::vector<float> items(workload.items * workload.factors), users(workload.users * workload.factors),
      gram(workload.factors * workload.factors);
  for (auto& each : items)
    each = normal(source);
  for (auto& each : users)
    each = normal(source);
  for (std::size_t i = 0; i < workload.items; ++i)
    for (std::size_t a = 0; a < workload.factors; ++a)
      for (std::size_t b = 0; b < workload.factors; ++b)
        gram[a * workload.factors + b] += items[i * workload.factors + a] * items[i * workload.factors + b];
  tensors ials;
  ials.add("item_factors", "F32", {workload.items, workload.factors}, items);
  ials.add("user_factors", "F32", {workload.users, workload.factors}, users);
  ials.add("gram", "F32", {workload.factors, workload.factors}, gram);
  write_model(folder / "ials", "ials", workload, true, ials);
  std::vector<std::int32_t> near(workload.items * workload.neighbours);
  std::vector<float> similarity(near.size());
  for (std::size_t i = 0; i < near.size(); ++i) {
    near[i] = static_cast<std::int32_t>(source() % workload.items);
    similarity[i] = 1 / static_cast<float>(i % workload.neighbours + 1);
  }
  tensors knn;
  knn.add("neighbours", "I32", {workload.items, workload.neighbours}, near);
  knn.add("similarity", "F32", {workload.items, workload.neighbours}, similarity);
  write_model(folder / "knn", "item_knn", workload, false, knn);
}

inline constexpr auto rules = R"(
[candidates]
sources = [{name = "nearest", n = 200}, {name = "item-to-item", n = 150}, {name = "trending", n = 100}, {name = "recent", n = 50}]
[seen]
filter = true
[[rule]]
kind = "filter"
attribute = "genres"
op = "contains"
text = "none of these"
[[rule]]
kind = "boost"
attribute = "genres"
op = "contains"
text = "g1"
amount = 0.3
[[rule]]
kind = "cap"
attribute = "genres"
op = "contains"
text = "g2"
most = 5
)";

/// The models, and a release of them in production.
inline void release_models(const fleet& services, const sizes& workload) {
  write_models(services.folder(), workload);
  write_file(services.folder() / "rules.toml", rules);
  write_file(services.folder() / "warmup.jsonl", "{\"history\":[\"i1\",\"i2\",\"i3\"],\"n\":10}\n");
  for (auto* name : {"ials", "knn"})
    services.troupe({"models", "register", (services.folder() / name).string(), "--name", name});
  services.troupe({"releases", "build", "--name", "bench", "--model", "ials=0.7", "--model", "knn=0.3",
                   "--rules", (services.folder() / "rules.toml").string(), "--warmup",
                   (services.folder() / "warmup.jsonl").string()});
  services.troupe({"rollouts", "start", "--release", "bench", "--follow"});
}

/// Waits until the features have what is in the log: they have everything when they have what was written
/// last, in every partition.
inline void wait_for_features(const fleet& services, std::chrono::seconds longest) {
  troupe::http::client client{{"127.0.0.1", services.port()}};
  std::string body = "[", now = troupe::to_rfc3339(troupe::wall_now());
  for (int i = 0; i < 500; ++i)
    body += fmt::format(R"({}{{"id":"last{}","type":"view","user":"u{}","item":"i1","event_time":"{}"}})",
                        i == 0 ? "" : ",", i, i, now);
  auto wrote = client.call("POST", "/v1/events", body + "]", troupe::deadline::in(30s));
  if (!wrote || wrote->status != 200)
    die("cannot write the last events");
  std::string token{json::parse(wrote->body).at("token").as_string()};
  for (auto end = clock::now() + longest;;) {
    auto got = client.call("GET", "/v1/users/u1/recommendations?n=10", {}, troupe::deadline::in(30s),
                           {{"X-Consistency-Token", token}});
    if (got && got->status == 200 && json::parse(got->body).at("degraded").as_array().empty())
      return;
    if (clock::now() > end)
      die("answers stay degraded: " + (got ? got->body : got.error().text));
  }
}

/// Users and items in the log, their features up to date, and the release in production.
inline void fill(const fleet& services, const sizes& workload) {
  auto world = services.folder() / "world";
  services.troupe({"generate", "--quiet", "--out", world.string(), "--users", std::to_string(workload.users),
                   "--items", std::to_string(workload.items), "--events", std::to_string(workload.events)});
  services.troupe({"ingest", world.string()});
  std::filesystem::remove_all(world);
  release_models(services, workload);
  wait_for_features(services, 300s);
}

/// Bytes that the processes of a service hold in memory.
inline double resident_bytes(const std::string& program) {
  double pages = 0;
  for (auto pid : ::troupe::testing::descendants(program)) {
    double size = 0, resident = 0;
    std::istringstream{read_file("/proc/" + std::to_string(pid) + "/statm")} >> size >> resident;
    pages += resident;
  }
  return pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// Processor seconds that the processes of a service have used.
inline double processor_seconds(const std::string& program) {
  double ticks = 0;
  for (auto pid : troupe::testing::descendants(program)) {
    auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
    std::istringstream in{text.substr(text.rfind(')') + 2)};
    std::string skipped;
    for (int i = 0; i < 11; ++i)
      in >> skipped;
    double user = 0, system = 0;
    in >> user >> system;
    ticks += user + system;
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

inline const std::vector<std::string> parts{"gateway",   "ranker",   "feature-store", "ingest",
                                            "validator", "deployer", "registry",      "trainer"};

inline std::map<std::string, double> processor_now() {
  std::map<std::string, double> out;
  for (auto& each : parts)
    out[each] = processor_seconds("troupe-" + each);
  return out;
}

} // namespace bench
