#include "tests/fault/fault.hpp"
#include "tests/support/http_caller.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <thread>

using namespace troupe::testing;

namespace {

const auto events = static_cast<std::int64_t>(from_environment("TROUPE_FAULT_EVENTS", 100'000));
/// How often each service is killed during the import, and again during the posts.
const auto kills_of_each = from_environment("TROUPE_FAULT_KILLS", 5);
constexpr int posts = 150, rows_of_a_post = 20;

/// Everything that is to be the same after the kills.
struct end_state {
  std::int64_t events = 0, users = 0, items = 0;
  std::vector<std::string> log; ///< Each record without its place and the time of its arrival, sorted.
  std::string features;         ///< The hash of every feature state, when every record is applied.
};

/// What the log has, without places and times of arrival, sorted.
std::vector<std::string> sorted_records(const fleet& services) {
  auto lines = log_lines(services);
  for (auto& line : lines) {
    auto record = line.find("\"kind\":");
    REQUIRE(record != std::string::npos);
    line.erase(0, record);
  }
  std::ranges::sort(lines);
  return lines;
}

end_state look(const fleet& services) {
  auto counts = services.ask({"log", "verify"}, 300s);
  end_state out{number(counts, "events"),
                number(counts, "users"),
                number(counts, "items"),
                sorted_records(services),
                {}};
  json hash;
  auto applied = wait_until(
      [&] {
        hash = services.ask({"features", "state-hash"}, 300s);
        return number(hash, "records") == out.events + out.users + out.items;
      },
      240s);
  CHECK_MESSAGE(applied, "the feature store has not applied the whole log: ", boost::json::serialize(hash));
  out.features = boost::json::serialize(hash);
  return out;
}

/// Kills one service `kills` times at random moments; counts those that fell into the work (`running`).
class killer {
public:
  killer(const fleet& target, std::string service, std::uint64_t stream, const std::atomic<bool>& running)
      : service_{std::move(service)}, thread_{[&target, stream, &running, this] {
          run(target, stream, running);
        }} {}
  ~killer() { finish(); }

  void finish() {
    if (thread_.joinable())
      thread_.join();
  }
  const std::string& service() const { return service_; }
  std::uint64_t done() const { return done_; }
  std::uint64_t during() const { return during_; }

private:
  void run(const fleet& target, std::uint64_t stream, const std::atomic<bool>& running) {
    std::mt19937_64 source{fault_seed * 31 + stream};
    pid_t last = 0;
    while (done_ < kills_of_each) {
      pid_t pid = 0;
      auto alive = wait_until(
          [&] {
            pid = target.pid_of(service_).value_or(0);
            return pid != 0 && pid != last;
          },
          60s);
      if (!alive)
        return;
      std::this_thread::sleep_for(std::chrono::milliseconds{20 + source() % 700});
      during_ += running ? 1 : 0;
      ::kill(pid, SIGKILL);
      last = pid;
      ++done_;
    }
  }

  std::string service_;
  std::atomic<std::uint64_t> done_ = 0;
  std::atomic<std::uint64_t> during_ = 0;
  std::thread thread_;
};

/// Kills services at random moments while `work` is under way.
void kill_during(const fleet& services, std::span<const char* const> which, const std::string& what,
                 const std::function<void()>& work) {
  std::atomic<bool> running = true;
  std::vector<std::unique_ptr<killer>> killers;
  for (auto* service : which)
    killers.push_back(std::make_unique<killer>(services, service, killers.size() + 1, running));
  work();
  running = false;
  for (auto& each : killers) {
    each->finish();
    say(each->service() + " killed " + std::to_string(each->done()) + " times, " +
        std::to_string(each->during()) + " of them during " + what);
    CHECK(each->done() == kills_of_each);
    CHECK(each->during() > 0);
  }
  REQUIRE(services.ready());
}

/// The client may lose its service for longer than it waits: it is started again, and the import goes on.
void import_until_done(const fleet& services, const std::filesystem::path& world,
                       const std::string& mapping = {}) {
  std::vector<std::string> words{"ingest", world.string()};
  if (!mapping.empty())
    words.insert(words.end(), {"--mapping", mapping});
  int starts = 1;
  while (services.troupe(words, 400s).code != 0)
    ++starts;
  say("import done after " + std::to_string(starts) + " starts of the client");
}

constexpr auto pages_mapping = R"(
[[file]]
pattern = "*.csv"
  [[file.record]]
  kind = "slate"
  slate_by = "session"
  request_id = "session"
  user = "user"
  item = "item"
  position = "place"
  event_time = "at"
  [[file.record]]
  kind = "event"
  when = { column = "clicked", equals = "1" }
  type = { constant = "click" }
  user = "user"
  item = "item"
  request_id = "session"
  event_time = "at"
  value = "price"
)";

/// Pages of one to nine rows, of which a few are refused: by the rule of the slate, and by the one behind it.
void write_pages(const std::filesystem::path& to, int sessions) {
  std::ofstream out{to};
  out << "session,user,item,place,at,clicked,price\n";
  for (int session = 0; session < sessions; ++session)
    for (int place = 1; place <= 1 + session % 9; ++place) {
      auto row = session * 10 + place;
      out << "s" << session << ",u" << session % 1'000 << ",i" << row % 500 << ','
          << (row % 997 == 0 ? "x" : std::to_string(place)) << ',' << 1'700'000'000 + session << ','
          << (row % 5 == 0) << ',' << (row % 995 == 0 ? "dear" : "1") << '\n';
    }
}

/// Clicks, one post after the other with a pause between them, each told until it is acknowledged.
void post_until_acknowledged(const fleet& services, std::chrono::milliseconds pause) {
  int refused = 0;
  for (int i = 0; i < posts; ++i) {
    std::string body;
    for (int row = 0; row < rows_of_a_post; ++row)
      body += (row == 0 ? "[" : ",") + std::string{R"({"id":"post:)"} + std::to_string(i) + ":" +
              std::to_string(row) + R"(","type":"click","user":"u)" + std::to_string(i * 7 + row) +
              R"(","item":"i)" + std::to_string(i + row * 11) + R"(","event_time":"2026-01-01T00:)" +
              std::to_string(10 + i % 50) + R"(:00Z"})";
    body += "]";
    auto acknowledged = wait_until(
        [&] {
          auto port = read_file(services.data() / "run" / "gateway-0.port");
          troupe::http::client client{
              {"127.0.0.1", static_cast<std::uint16_t>(std::strtoul(port.c_str(), nullptr, 10))}};
          auto got = client.call("POST", "/v1/events", body, troupe::deadline::in(20s));
          auto good = got && got->status == 200;
          refused += good ? 0 : 1;
          return good;
        },
        60s);
    REQUIRE(acknowledged);
    std::this_thread::sleep_for(pause);
  }
  say(std::to_string(posts) + " posts acknowledged, after " + std::to_string(refused) + " refusals");
}

} // namespace

TEST_CASE(
    "after kill -9 of each of the eight services at random moments the log and the features are those of an "
    "undisturbed run") {
  say("events " + std::to_string(events) + ", kills of each service " + std::to_string(kills_of_each) +
      " twice, seed " + std::to_string(fault_seed) + " (TROUPE_FAULT_SEED)");
  temp_dir world;
  end_state wanted;
  {
    fleet services{"fault-undisturbed", {}, fault_limit};
    configure(services, "interactions");
    generate(services, world.path(), events, {"--late", "0.02", "--seed", "5"});
    services.up();
    ingest(services, world.path(), {}, 400s);
    post_until_acknowledged(services, 0ms);
    wanted = look(services);
    CHECK(services.down());
  }
  REQUIRE(wanted.events == events + posts * rows_of_a_post);

  fleet services{"fault-killed", {}, fault_limit};
  configure(services, "interactions");
  services.up({"--longest-delay", "500ms"});
  kill_during(services, all_services, "the import", [&] { import_until_done(services, world.path()); });
  kill_during(services, all_services, "the posts", [&] { post_until_acknowledged(services, 20ms); });

  auto got = look(services);
  CHECK(got.events == wanted.events);
  CHECK(got.users == wanted.users);
  CHECK(got.items == wanted.items);
  CHECK((got.log == wanted.log)); // Not printed: these are all records.
  CHECK(got.features == wanted.features);
  services.ask({"lake", "seal"}, 300s);
  services.ask({"lake", "verify"}, 300s);
  say("after the kills " + std::to_string(got.events) + " events in the log, the features are " +
      (got.features == wanted.features ? "equal" : "DIFFERENT"));
  CHECK(services.down());
}

TEST_CASE("after kill -9 of ingest at random moments the slates of a file are those of an undisturbed run") {
  temp_dir world;
  auto pages = world / "pages.csv", mapping = world / "pages.toml";
  write_pages(pages, 100'000);
  std::ofstream{mapping} << pages_mapping;
  std::vector<std::string> wanted;
  {
    fleet services{"fault-slates-undisturbed", {}, fault_limit};
    configure(services, "interactions");
    services.up();
    ingest(services, pages, mapping.string(), 400s);
    wanted = sorted_records(services);
    CHECK(services.down());
  }
  auto is_slate = [](auto& line) { return line.find("\"kind\":\"slate\"") != std::string::npos; };
  REQUIRE(std::ranges::count_if(wanted, is_slate) > 99'000);

  fleet services{"fault-slates-killed", {}, fault_limit};
  configure(services, "interactions");
  services.up({"--longest-delay", "500ms"});
  const char* const killed[] = {"ingest"};
  kill_during(services, killed, "the import of slates",
              [&] { import_until_done(services, pages, mapping.string()); });

  auto got = sorted_records(services);
  CHECK((got == wanted)); // Not printed: these are all records.
  say("after the kills " + std::to_string(got.size()) + " records of a file of slates, " +
      (got == wanted ? "equal" : "DIFFERENT"));
  CHECK(services.down());
}
