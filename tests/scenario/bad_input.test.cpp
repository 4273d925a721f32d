#include "tests/support/input.hpp"
#include "tests/support/metrics.hpp"
#include "tests/support/raw_socket.hpp"

#include <boost/json/value.hpp>
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <regex>

using namespace troupe::testing;

namespace {

std::string event_line(const std::string& id, const std::string& more = {}) {
  return R"({"kind":"event","id":")" + id +
         R"(","type":"rating","user":"u1","item":"i1","event_time":"2026-01-01T00:00:00Z","value":3)" + more +
         "}\n";
}

constexpr auto rating_schema = R"(
[[schema]]
name = "rating"
kind = "event"
type = "rating"

  [[schema.field]]
  name = "value"
  type = "number"
  required = true
  min = 1
  max = 5
)";

/// What an import ended with: worked (exit code 0 and its numbers), or one clear line on stderr.
void clear_error(const outcome& result, const std::string& what) {
  CHECK_MESSAGE(result.code == 1, what, ": ", result.out, result.err);
  CHECK_MESSAGE(result.err.size() > 20, what, ": ", result.err);
}

std::string random_bytes(std::mt19937_64& source, std::size_t count) {
  std::string out(count, '\0');
  for (auto& c : out)
    c = static_cast<char>(source());
  return out;
}

} // namespace

TEST_CASE("bad rows, bad files and bad bytes end in quarantine or a clear error, and nothing else is lost") {
  fleet services{"scenario-bad-input"};
  configure(services, "interactions");
  write_file(services.data() / "schemas" / "rating.toml", rating_schema);
  services.up();
  auto in = [&](const std::string& name) { return services.temp() / name; };
  std::int64_t events = 0;
  auto log_holds = [&](std::int64_t wanted) {
    events = number(services.ask({"log", "info"}), "events");
    CHECK(events == wanted);
    CHECK(services.ready_now());
  };

  SUBCASE("every kind of it, one after the other") {
    // Rows.
    write_file(in("utf8.jsonl"), event_line("a1") + R"({"kind":"event","id":"a2","type":"rating","user":")" +
                                     "\xff\xfe" +
                                     R"(","item":"i1","event_time":"2026-01-01T00:00:00Z","value":3})" +
                                     "\n" + event_line("a3"));
    auto result = ingest(services, in("utf8.jsonl"));
    CHECK(number(result, "events_added") == 2);
    CHECK(number(result, "quarantined") == 1);

    write_file(in("missing.jsonl"), event_line("b1") + R"({"kind":"event","id":"b2","type":"rating"})" +
                                        "\n" + "not json at all\n" + event_line("b3"));
    result = ingest(services, in("missing.jsonl"));
    CHECK(number(result, "events_added") == 2);
    CHECK(number(result, "quarantined") == 2);

    auto far = event_line("c2");
    far.replace(far.find("\"value\":3"), 9, "\"value\":9");
    write_file(in("range.jsonl"), event_line("c1") + far);
    result = ingest(services, in("range.jsonl"));
    CHECK(number(result, "events_added") == 1);
    CHECK(number(result, "quarantined") == 1);

    write_file(in("twice.jsonl"),
               event_line("d1") + event_line("d1") + event_line("d1", R"(,"request_id":"other")"));
    result = ingest(services, in("twice.jsonl"));
    CHECK(number(result, "events_added") == 1);
    CHECK(number(result, "duplicates") == 1);
    CHECK(number(result, "quarantined") == 1);
    log_holds(6);
    json range, twice;
    auto listed = services.ask({"quarantine", "list"});
    for (auto& row : listed.at("rows").as_array()) {
      if (row.at("rule").as_string() == "range")
        range = row;
      if (row.at("rule").as_string() == "duplicate_id")
        twice = row;
    }
    REQUIRE(range.is_object());
    CHECK(range.at("field").as_string() == "value");
    CHECK(range.at("reason").as_string().find("9") != std::string::npos);
    CHECK(range.at("source").as_string().ends_with("range.jsonl"));
    CHECK(number(range, "row") == 2);
    CHECK(number(range, "byte_offset") == static_cast<std::int64_t>(event_line("c1").size()));
    CHECK(range.at("raw").as_string().find("\"c2\"") != std::string::npos);
    REQUIRE(twice.is_object());
    CHECK(twice.at("source").as_string().ends_with("twice.jsonl"));
    CHECK(number(twice, "row") == 3);

    // Under a mended rule the row is taken.
    write_file(services.data() / "schemas" / "rating.toml",
               std::regex_replace(std::string{rating_schema}, std::regex{"max = 5"}, "max = 10"));
    CHECK(wait_until(
        [&] {
          return number(services.ask({"quarantine", "replay", "--rule", "range"}), "accepted") == 1;
        },
        20s));
    log_holds(7);

    // Files.
    generate(services, in("world"), 20'000, {"--format", "jsonl.gz", "--seed", "3"});
    auto whole = read_file(in("world") / "events.jsonl.gz");
    write_file(in("cut.jsonl.gz"), whole.substr(0, whole.size() / 2));
    auto cut = services.troupe({"ingest", in("cut.jsonl.gz").string()});
    clear_error(cut, "a truncated gzip");
    events = number(services.ask({"log", "info"}), "events");
    CHECK(events < 20'000);
    // The whole file afterwards adds the rest: what was read before the cut is known by its ids.
    ingest(services, in("world") / "events.jsonl.gz");
    log_holds(20'007);

    generate(services, in("columns"), 20'000, {"--format", "parquet", "--seed", "4"});
    auto parquet = read_file(in("columns") / "events.parquet");
    write_file(in("cut.parquet"), parquet.substr(0, parquet.size() / 2));
    clear_error(services.troupe({"ingest", in("cut.parquet").string()}), "half a Parquet file");
    std::mt19937_64 noise{42};
    write_file(in("noise.parquet"), random_bytes(noise, 10'000));
    clear_error(services.troupe({"ingest", in("noise.parquet").string()}), "noise as Parquet");
    write_file(in("noise.jsonl.gz"), random_bytes(noise, 10'000));
    clear_error(services.troupe({"ingest", in("noise.jsonl.gz").string()}), "noise as gzip");
    clear_error(services.troupe({"ingest", in("nowhere.jsonl").string()}), "a file that is not there");
    write_file(in("bad.csv"), "user_id\titem_id\n1\t2\n");
    clear_error(services.troupe({"ingest", in("bad.csv").string(), "--mapping", "no-such-mapping"}),
                "an unknown mapping");
    log_holds(20'007);
  }

  SUBCASE("random bytes at every endpoint") {
    std::mt19937_64 noise{std::getenv("TROUPE_SEED") ? std::strtoull(std::getenv("TROUPE_SEED"), nullptr, 10)
                                                     : 7};
    write_file(in("good.jsonl"), event_line("z1"));
    ingest(services, in("good.jsonl"));
    for (std::string service : {"ingest", "validator", "feature-store"}) {
      auto path = services.data() / "run" / (service + "-0.sock");
      auto pid = services.pid_of(service);
      REQUIRE(pid);
      for (int i = 0; i < 20; ++i) { // No ZMTP at all.
        raw_socket peer{path};
        REQUIRE(peer.connected());
        peer.send(random_bytes(noise, 1 + noise() % 5'000));
      }
      for (int i = 0; i < 100; ++i) { // ZMTP with noise in its frames.
        raw_socket peer{path};
        REQUIRE(peer.connected());
        CHECK(peer.greet());
        std::vector<std::string> frames;
        for (auto count = noise() % 5; count-- > 0;)
          frames.push_back(random_bytes(noise, noise() % 300));
        frames.push_back(random_bytes(noise, noise() % 300));
        peer.send_frames(frames);
        peer.receive(5);
      }
      auto counted = metrics_of(services, service);
      CHECK(metric(counted, "troupe_endpoint_dropped_total", "reason=\"malformed\"") > 0);
      CHECK(services.pid_of(service) == pid);
    }
    log_holds(1);
  }
  CHECK(services.down());
}
