// What a machine gives and what users name may be less, or other, than what a fleet would like.
#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"

#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>
#include <vector>

using namespace troupe::testing;
namespace fs = std::filesystem;

namespace {

const std::string row =
    R"({"kind":"event","id":"1","type":"click","user":"u","item":"i","event_time":"2026-01-01T00:00:00Z"})"
    "\n";

/// `troupe up` as the shell starts it after `before`.
child up_after(const std::string& before, const fleet& services) {
  return child{{"/bin/sh", "-c", before + R"(; exec "$@")", "sh", (bin_dir() / "troupe").string(),
                "--catalog", (services.temp() / "catalog.toml").string(), "--data", services.data().string(),
                "up"},
               services.log(),
               services.log()};
}

/// What lies below a folder and is for others, too; named with its mode.
std::vector<std::string> open_to_others(const fs::path& folder) {
  std::vector<std::string> out;
  auto look = [&](const fs::path& path) {
    struct stat about {};
    REQUIRE(::lstat(path.c_str(), &about) == 0);
    auto wanted = S_ISDIR(about.st_mode) ? 0700u : 0600u;
    if ((about.st_mode & 0777) != wanted && !S_ISLNK(about.st_mode))
      out.push_back(path.string() + " has mode " + std::to_string(about.st_mode & 0777));
  };
  look(folder);
  for (auto& each : fs::recursive_directory_iterator{folder})
    look(each.path());
  return out;
}

} // namespace

TEST_CASE("pipes that nobody writes to are refused at once, and ordinary files are imported after them") {
  fleet services{"scenario_pipes"};
  configure(services, "serving");
  services.up();
  auto file = services.temp() / "rows.jsonl";
  write_file(file, row);
  // As many as ingest has readers, and one more.
  for (auto name : {"one.jsonl", "two.csv", "three.parquet"}) {
    auto pipe = services.temp() / name;
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    auto refused = services.troupe({"ingest", pipe.string()}, 10s);
    CHECK(refused.code == 1);
    CHECK_MESSAGE(refused.err.find("it is a named pipe, not a regular file") != std::string::npos,
                  refused.err);
  }
  CHECK(services.troupe({"ingest", "/dev/zero"}, 10s).err.find("a character device") != std::string::npos);
  auto mapping = services.temp() / "mapping.toml";
  REQUIRE(::mkfifo(mapping.c_str(), 0600) == 0);
  CHECK(services.troupe({"ingest", file.string(), "--mapping", mapping.string()}, 10s).code == 1);

  CHECK(number(ingest(services, file), "events_added") == 1);
}

TEST_CASE("standard input is sent as it comes, whatever its length, and imported when it ends") {
  fleet services{"scenario_standard_input"};
  configure(services, "serving");
  services.up();
  auto troupe = (bin_dir() / "troupe").string() + " --json --catalog " +
                (services.temp() / "catalog.toml").string() + " --data " + services.data().string();
  auto piped = [&](const std::string& from, const std::string& more) {
    auto got = run({"/bin/sh", "-c", "{ " + from + "; } | " + troupe + " ingest - " + more}, 60s);
    CHECK_MESSAGE(got.code == 0, got.err);
    return boost::json::parse(got.out.empty() ? "{}" : got.out);
  };
  // More than two parts of 4 MiB.
  auto rows =
      R"(seq 1 80000 | sed 's/.*/{"kind":"event","id":"e&","type":"click","user":"u&","item":"i","event_time":"2026-01-01T00:00:00Z"}/')";
  auto csv = services.temp() / "csv.toml";
  write_file(csv, R"(
[[file]]
pattern = "*.csv"

  [[file.record]]
  kind = "event"
  id = "n"
  type = { constant = "purchase" }
  user = "who"
  item = "what"
  event_time = { constant = "2026-01-01T00:00:00Z" }
)");

  CHECK(number(piped(rows, ""), "events_added") == 80'000);
  auto again = piped(rows, "");
  CHECK(number(again, "events_added") == 0);
  CHECK(number(again, "duplicates") == 80'000);
  CHECK(number(piped("echo n,who,what; sleep 0.2; echo 1,ann,x; echo 2,bob,y",
                     "--format csv --mapping " + csv.string()),
               "events_added") == 2);
  CHECK(number(piped(":", ""), "events_added") == 0);
  CHECK(services.troupe({"ingest", "-", "--in-place"}, 10s).code == 2);
  CHECK(services.troupe({"ingest", "-", "--format", "xml"}, 10s).code == 2);
  CHECK(services.troupe({"ingest", csv.string(), "--format", "csv"}, 10s).code == 2);
}

TEST_CASE(
    "a fleet of 400 descriptors answers beside 500 idle connections, and has said that it takes fewer") {
  fleet services{"scenario_few_descriptors"};
  configure(services, "serving");
  auto up = up_after("ulimit -n 400", services);
  REQUIRE(services.ready());
  caller http{services};
  std::vector<int> idle;
  for (int i = 0; i < 500; ++i) {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(http.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    idle.push_back(fd);
  }

  for (int i = 0; i < 20; ++i) {
    caller fresh{services};
    CHECK(fresh.ask("GET", "/health/ready").status == 200);
    CHECK(fresh.ask("GET", "/v1/users/u/recommendations").status == 200);
    CHECK(fresh.ask("POST", "/v1/events", R"({"type":"click","user":"u","item":"i"})").status == 200);
  }
  CHECK(services.ready_now());
  auto log = read_file(services.log());
  CHECK(log.find("few-descriptors") != std::string::npos);
  CHECK(log.find("accept-fails") == std::string::npos);

  for (int fd : idle)
    ::close(fd);
  up.signal(SIGINT);
  CHECK(up.wait(30s) == 0);
}

TEST_CASE("what a fleet keeps is for its user alone, whatever the umask") {
  for (const char* mask : {"umask 000", "umask 022"}) {
    CAPTURE(mask);
    fleet services{"scenario_modes"};
    configure(services, "serving");
    auto up = up_after(mask, services);
    REQUIRE(services.ready());
    auto file = services.temp() / "rows.jsonl";
    write_file(file, row);
    CHECK(number(ingest(services, file), "events_added") == 1);
    CHECK(services.troupe({"lake", "seal"}).code == 0);
    caller http{services};
    CHECK(http.ask("POST", "/v1/events", R"({"type":"click","user":"u","item":"i"})").status == 200);
    http.ask("GET", "/v1/users/u/recommendations");

    for (auto& each : fs::directory_iterator{services.data()})
      if (auto name = each.path().filename(); name != "views" && name != "schemas") // These are the test's.
        for (auto& open : open_to_others(each.path()))
          FAIL_CHECK(open);
    up.signal(SIGINT);
    CHECK(up.wait(30s) == 0);
  }
}
