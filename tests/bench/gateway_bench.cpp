// The gateway under load: a bare route beside nginx's `return 200`; then the whole answer (features of the
// user, four sources, 500 candidates, an ensemble of two models, rules) of a fleet with 100,000 users and
// 50,000 items, in closed and open loop: requests per second at which the 99th percentile is below 42 ms,
// processor time per request by process and stage, and the tail while releases are swapped.
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
#include <regex>
#include <thread>

namespace {

using namespace std::chrono_literals;
using troupe::testing::read_file;
using troupe::testing::write_file;
namespace json = boost::json;

constexpr double longest_ms = 42; ///< The p99 that a page still has room for.

struct sizes {
  std::uint64_t users = 100'000, items = 50'000, events = 1'000'000;
  std::size_t factors = 64, neighbours = 100;
  std::chrono::milliseconds span = 5s;
  int swaps = 20;
};

[[noreturn]] void die(const std::string& text) {
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
    for (auto end = bench::clock::now() + 60s; troupe::testing::run(words({"status"}), 10s).code != 0;
         std::this_thread::sleep_for(200ms))
      if (bench::clock::now() > end)
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

/// nginx with one worker per processor and nothing but `return 200`.
class nginx {
public:
  explicit nginx(const std::filesystem::path& folder, std::uint16_t port) : port_{port} {
    std::filesystem::create_directories(folder);
    write_file(folder / "nginx.conf",
               fmt::format("daemon off; worker_processes {}; pid {}/pid; error_log {}/error;\n"
                           "events {{ worker_connections 1024; }}\n"
                           "http {{ access_log off; keepalive_requests 100000000;\n"
                           "  server {{ listen 127.0.0.1:{}; location / {{ return 200 'live\\n'; }} }} }}\n",
                           2, folder.string(), folder.string(), port));
    process_.emplace(std::vector<std::string>{"/usr/sbin/nginx", "-p", folder.string(), "-c",
                                              (folder / "nginx.conf").string()},
                     folder / "out", folder / "out");
    std::this_thread::sleep_for(500ms);
  }
  ~nginx() {
    process_->signal(SIGTERM); // Killed, it would leave its workers behind.
    process_->wait(10s);
  }
  std::uint16_t port() const { return port_; }

private:
  std::uint16_t port_;
  std::optional<troupe::testing::child> process_;
};

std::string get(const std::string& path) {
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

void write_names(const std::filesystem::path& file, char prefix, std::uint64_t count) {
  std::string names;
  for (std::uint64_t i = 0; i < count; ++i)
    names += prefix + std::to_string(i) + "\n";
  write_file(file, names);
}

void write_model(const std::filesystem::path& folder, const char* kind, const sizes& workload,
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
void write_models(const std::filesystem::path& folder, const sizes& workload) {
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

constexpr auto rules = R"(
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

/// Users and items in the log, their features up to date, and the release in production.
void fill(const fleet& services, const sizes& workload) {
  auto world = services.folder() / "world";
  services.troupe({"generate", "--quiet", "--out", world.string(), "--users", std::to_string(workload.users),
                   "--items", std::to_string(workload.items), "--events", std::to_string(workload.events)});
  services.troupe({"ingest", world.string()});
  std::filesystem::remove_all(world);
  write_models(services.folder(), workload);
  write_file(services.folder() / "rules.toml", rules);
  write_file(services.folder() / "warmup.jsonl", "{\"history\":[\"i1\",\"i2\",\"i3\"],\"n\":10}\n");
  for (auto* name : {"ials", "knn"})
    services.troupe({"models", "register", (services.folder() / name).string(), "--name", name});
  services.troupe({"releases", "build", "--name", "bench", "--model", "ials=0.7", "--model", "knn=0.3",
                   "--rules", (services.folder() / "rules.toml").string(), "--warmup",
                   (services.folder() / "warmup.jsonl").string()});
  services.troupe({"rollouts", "start", "--release", "bench", "--follow"});
  // The features have everything when they have what was written last, in every partition.
  troupe::http::client client{{"127.0.0.1", services.port()}};
  std::string body = "[", now = troupe::to_rfc3339(troupe::wall_now());
  for (int i = 0; i < 500; ++i)
    body += fmt::format(R"({}{{"id":"last{}","type":"view","user":"u{}","item":"i1","event_time":"{}"}})",
                        i == 0 ? "" : ",", i, i, now);
  auto wrote = client.call("POST", "/v1/events", body + "]", troupe::deadline::in(30s));
  if (!wrote || wrote->status != 200)
    die("cannot write the last events");
  std::string token{json::parse(wrote->body).at("token").as_string()};
  for (auto end = bench::clock::now() + 300s;;) {
    auto got = client.call("GET", "/v1/users/u1/recommendations?n=10", {}, troupe::deadline::in(30s),
                           {{"X-Consistency-Token", token}});
    if (got && got->status == 200 && json::parse(got->body).at("degraded").as_array().empty())
      return;
    if (bench::clock::now() > end)
      die("answers stay degraded: " + (got ? got->body : got.error().text));
  }
}

/// Processor seconds that the processes of a service have used.
double processor_seconds(const std::string& program) {
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

const std::vector<std::string> parts{"gateway", "ranker", "feature-store", "ingest", "validator"};

std::map<std::string, double> processor_now() {
  std::map<std::string, double> out;
  for (auto& each : parts)
    out[each] = processor_seconds("troupe-" + each);
  return out;
}

/// Mean time of each stage over some requests, as the inspector tells it.
void print_stages(std::uint16_t port, const sizes& workload) {
  troupe::http::client client{{"127.0.0.1", port}};
  std::map<std::string, std::pair<double, double>> stages;
  constexpr int requests = 200;
  std::mt19937_64 source{11};
  for (int i = 0; i < requests; ++i) {
    auto got =
        client.call("GET", fmt::format("/v1/users/u{}/recommendations?n=10", source() % workload.users), {},
                    troupe::deadline::in(10s));
    if (!got || got->status != 200)
      die("no answer to inspect");
    std::string id{json::parse(got->body).at("request_id").as_string()};
    auto inspected = client.call("GET", "/v1/requests/" + id, {}, troupe::deadline::in(10s));
    if (!inspected || inspected->status != 200)
      die("the inspector does not know a request");
    auto told = json::parse(inspected->body);
    for (auto& each : told.at("stages").as_array()) {
      auto& to = stages[std::string{each.at("name").as_string()}];
      to.first += each.at("us").to_number<double>() / requests;
      to.second += each.at("count").to_number<double>() / requests;
    }
  }
  for (auto& [name, mean] : stages)
    std::printf("# stage %-16s %8.0f us  %8.1f things\n", name.c_str(), mean.first, mean.second);
}

/// What a route costs that does nothing but answer, beside a server that does nothing else; gives our rate at
/// 32 connections. The load runs on the same processors, so each side's own time for a request stands beside.
double bare_route(std::uint16_t port, const std::filesystem::path& folder, const sizes& workload) {
  struct side {
    std::string program, path;
    std::uint16_t port = 0;
    bench::load_result seen{};
    double us = 0; ///< Of processor, a request.
  };
  double rate = 0;
  auto run = [&](side& of, std::size_t connections, std::chrono::milliseconds span) {
    bench::http_load load{of.port, connections, [text = get(of.path)] { return text; }};
    load.closed(span / 10);
    auto before = processor_seconds(of.program);
    auto got = load.closed(span);
    of.us += (processor_seconds(of.program) - before) * 1e6;
    of.seen.good += got.good;
    of.seen.seconds += got.seconds;
    of.seen.answers.add(got.answers);
  };
  std::optional<nginx> peer;
  if (std::filesystem::exists("/usr/sbin/nginx"))
    peer.emplace(folder / "nginx", 18'473);
  for (std::size_t connections : {std::size_t{1}, std::size_t{32}}) {
    side mine{"troupe-gateway", "/health/live", port}, theirs{"nginx", "/", peer ? peer->port() : port};
    // By turns: what else the machine does meets both.
    for (int turn = 0; turn < 4; ++turn) {
      if (peer)
        run(theirs, connections, workload.span / 4);
      run(mine, connections, workload.span / 4);
    }
    for (auto* each : {&mine, &theirs})
      if (each->seen.good > 0) {
        each->seen.rate = static_cast<double>(each->seen.good) / each->seen.seconds;
        each->us /= static_cast<double>(each->seen.good);
        std::printf(
            "# %s, %zu connections: %.0f requests/s, %.1f us of processor a request, p50 %.0f us, p99 "
            "%.0f us\n",
            each->program.c_str(), connections, each->seen.rate, each->us, each->seen.answers.p50_us(),
            each->seen.answers.p99_us());
      }
    bench::report({.name = fmt::format("GET /health/live, {} connections", connections),
                   .unit = "requests/s",
                   .value = mine.seen.rate,
                   .limit_name = "nginx, return 200",
                   .limit = theirs.seen.rate,
                   .aim = 0.8,
                   .p50_us = mine.seen.answers.p50_us(),
                   .p99_us = mine.seen.answers.p99_us()});
    rate = mine.seen.rate;
  }
  return rate;
}

void whole_answer(std::uint16_t port, const sizes& workload, double bare_rate) {
  std::mt19937_64 source{5};
  auto next = [&] {
    return get(fmt::format("/v1/users/u{}/recommendations?n=10", source() % workload.users));
  };
  bench::http_load{port, 4, next}.closed(workload.span);
  bench::load_result best, of_four;
  for (std::size_t connections : {1, 2, 4, 8, 16, 32, 64}) {
    auto got = bench::http_load{port, connections, next}.closed(workload.span);
    std::fflush(stdout);
    std::printf("# closed loop, %zu connections: %.0f requests/s, p50 %.2f ms, p99 %.2f ms, %lu not 200\n",
                connections, got.rate, got.answers.p50_us() / 1e3, got.answers.p99_us() / 1e3, got.bad);
    if (got.bad == 0 && got.answers.p99_us() < longest_ms * 1e3 && got.rate > best.rate)
      best = got;
    if (connections == 4)
      of_four = got;
    if (connections >= 4 && got.answers.p99_us() > longest_ms * 1e3)
      break;
  }
  auto report = [&](const std::string& name, const bench::load_result& of) {
    bench::report({.name = name,
                   .unit = "requests/s",
                   .value = of.rate,
                   .limit_name = "bare route",
                   .limit = bare_rate,
                   .aim = 0,
                   .p50_us = of.answers.p50_us(),
                   .p99_us = of.answers.p99_us()});
  };
  report("whole answer, closed loop of 4", of_four);
  report("whole answer, p99 < 42 ms, closed loop", best);
  bench::load_result steady;
  auto holds = [&](double rate) {
    auto before = processor_now();
    auto got = bench::http_load{port, 256, next}.open(workload.span, rate);
    auto after = processor_now();
    std::printf("# open loop at %.0f/s: %.0f requests/s, p50 %.2f ms, p99 %.2f ms, %lu not answered; us of "
                "processor a "
                "request:",
                rate, got.rate, got.answers.p50_us() / 1e3, got.answers.p99_us() / 1e3, got.bad);
    for (auto& each : parts)
      std::printf(" %s %.0f", each.c_str(),
                  (after[each] - before[each]) / static_cast<double>(got.good) * 1e6);
    std::printf("\n");
    bool good = got.bad == 0 && got.answers.p99_us() < longest_ms * 1e3;
    if (good)
      steady = got;
    return good;
  };
  // On a machine that others use too, one bad stretch is not the end: a rate is missed when it is missed
  // three times.
  for (double rate = best.rate / 4; rate > 1 && (holds(rate) || holds(rate) || holds(rate)); rate *= 1.25) {
  }
  report("whole answer, p99 < 42 ms, open loop", steady);
}

/// The tail of answers to a closed loop of four while releases are swapped, beside the same loop without
/// swaps.
void swaps(const fleet& services, const sizes& workload) {
  services.troupe({"releases", "build", "--name", "other", "--model", "ials=0.3", "--model", "knn=0.7",
                   "--rules", (services.folder() / "rules.toml").string()});
  write_file(services.folder() / "swap.toml", "strategy = 'blue-green'\npause = '1h'\n");
  std::mt19937_64 source{6};
  auto next = [&] {
    return get(fmt::format("/v1/users/u{}/recommendations?n=10", source() % workload.users));
  };
  bench::load_result during;
  std::jthread load{[&](const std::stop_token& over) {
    // Short loops, so that the last one ends soon after the last swap.
    while (!over.stop_requested()) {
      auto got = bench::http_load{services.port(), 4, next}.closed(500ms);
      during.answers.add(got.answers);
      during.bad += got.bad;
    }
  }};
  troupe::http::client client{{"127.0.0.1", services.port()}};
  for (int i = 0; i < workload.swaps; ++i) {
    services.troupe({"rollouts", "start", "--spec", (services.folder() / "swap.toml").string(), "--release",
                     i % 2 == 0 ? "other" : "bench"});
    for (const char* state : {"running", "done"}) {
      for (auto end = bench::clock::now() + 60s;; std::this_thread::sleep_for(20ms)) {
        auto got = client.call("GET", "/v1/rollouts/current", {}, troupe::deadline::in(10s));
        if (got && got->status == 200 && json::parse(got->body).at("state").as_string() == state)
          break;
        if (bench::clock::now() > end)
          die(fmt::format("a swap does not become {}", state));
      }
      if (state == std::string_view{"running"})
        client.call("POST", "/v1/rollouts/current/promote", R"({"reason":"swap under load"})",
                    troupe::deadline::in(10s));
    }
  }
  load.request_stop();
  load.join();
  auto without = bench::http_load{services.port(), 4, next}.closed(workload.span).answers;
  std::printf("# %d swaps under load: %lu not 200\n", workload.swaps, during.bad);
  bench::report({.name = "p99 while releases are swapped",
                 .unit = "ms",
                 .value = during.answers.p99_us() / 1e3,
                 .limit_name = "the same without swaps",
                 .limit = without.p99_us() / 1e3,
                 .p50_us = during.answers.p50_us(),
                 .p99_us = during.answers.p99_us()});
}

} // namespace

int main(int argc, char** argv) {
  sizes workload;
  if (bench::quick(argc, argv))
    workload = {2'000, 1'000, 20'000, 16, 20, 1s, 4};
  try {
    fleet services;
    auto bare = bare_route(services.port(), services.folder(), workload);
    if (std::any_of(argv + 1, argv + argc, [](std::string_view each) { return each == "--bare"; }))
      return 0; // While the server itself is worked on.
    fill(services, workload);
    whole_answer(services.port(), workload, bare);
    print_stages(services.port(), workload);
    swaps(services, workload);
  } catch (const std::exception& err) {
    std::fprintf(stderr, "gateway_bench: %s\n", err.what());
    return 1;
  }
  return 0;
}
