// Files reach an ingest service that cannot read them where they are.
#include "tests/support/free_ports.hpp"
#include "tests/support/input.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <regex>
#include <thread>

using namespace troupe::testing;

namespace {

/// Ingest listens on TCP: for the command line it might be anywhere.
void put_ingest_elsewhere(fleet& services) {
  free_ports ports;
  auto text = read_file(services.temp() / "catalog.toml");
  auto at = text.find("endpoint = \"ipc\"", text.find("[ingest]"));
  REQUIRE(at != std::string::npos);
  text.replace(at, 16, "endpoint = \"tcp://127.0.0.1:" + std::to_string(ports.next()) + "\"");
  services.replace_catalog(text, {});
}

constexpr auto mapping = R"(
[[file]]
pattern = "berlin/*.csv"

  [[file.record]]
  kind = "event"
  id = { column = "order" }
  type = { constant = "purchase" }
  user = "customer"
  item = { template = "{path:1}-{sku}" }
  event_time = { column = "at", format = "unix_s" }
  value = "price"
)";

/// `rows` orders of 1 KB each; the price of every `bad`-th is no number.
std::string orders(int rows, int bad) {
  std::string out = "order,customer,sku,at,price,note\n";
  const std::string note(1'000, 'x');
  for (int i = 1; i <= rows; ++i)
    out += "o" + std::to_string(i) + ",c" + std::to_string(i % 97) + ",s" + std::to_string(i % 31) + "," +
           std::to_string(1'700'000'000 + i) + "," + (i % bad == 0 ? "free" : "1.5") + "," + note + "\n";
  return out;
}

std::uint64_t bytes_arriving(const fleet& services) {
  std::uint64_t sum = 0;
  std::error_code gone;
  for (auto& each :
       std::filesystem::recursive_directory_iterator{services.data() / "ingest-0" / "uploads", gone})
    if (each.path().string().find("/arriving/") != std::string::npos && each.is_regular_file(gone))
      if (auto size = each.file_size(gone); !gone)
        sum += size;
  return sum;
}

int uploads_kept(const fleet& services) {
  int count = 0;
  for ([[maybe_unused]] auto& each :
       std::filesystem::directory_iterator{services.data() / "ingest-0" / "uploads"})
    ++count;
  return count;
}

} // namespace

TEST_CASE("a file is sent to an ingest service elsewhere, also when that is killed half-way") {
  fleet services{"scenario_upload"};
  configure(services, "interactions");
  put_ingest_elsewhere(services);
  services.up();
  constexpr int rows = 60'000, bad = 20'000;
  auto file = services.temp() / "orders" / "berlin" / "orders.csv";
  std::filesystem::create_directories(file.parent_path());
  write_file(file, orders(rows, bad));
  write_file(file.parent_path() / "notes.txt", "not described by the mapping");
  auto rules = services.temp() / "orders.toml";
  write_file(rules, mapping);

  auto printed = services.temp() / "printed";
  auto sending =
      services.start({"ingest", (services.temp() / "orders").string(), "--mapping", rules.string()}, printed);
  while (bytes_arriving(services) == 0 && !sending.wait(0ms))
    std::this_thread::yield();
  auto victim = services.pid_of("ingest");
  REQUIRE(victim);
  ::kill(*victim, SIGKILL);
  auto arrived = bytes_arriving(services); // Half-way: some of it, and not all.
  CHECK(arrived > 0);
  CHECK(arrived < std::filesystem::file_size(file));
  auto code = sending.wait(120s);
  REQUIRE_MESSAGE(code == 0, read_file(printed));

  CHECK(number(services.ask({"log", "info"}), "events") == rows - rows / bad);
  auto refused = services.ask({"quarantine", "list"});
  CHECK(number(refused, "total") == rows / bad);
  auto by_file = services.ask({"quarantine", "list", "--source", "berlin/orders.csv"});
  CHECK(by_file.at("rows").as_array().size() == rows / bad);
  CHECK(read_file(printed).find("quarantined  " + std::to_string(rows / bad)) != std::string::npos);
  CHECK(uploads_kept(services) == 1); // its header is needed for a replay

  auto mended = services.temp() / "mended.toml";
  write_file(mended, std::regex_replace(std::string{mapping}, std::regex{"  value = \"price\"\n"}, ""));
  auto replayed = services.ask({"quarantine", "replay", "--mapping", mended.string()});
  CHECK(number(replayed, "accepted") == rows / bad);

  CHECK(wait_until([&] { return uploads_kept(services) == 0; }, 10s)); // nothing is left to replay

  // Read in place they are the same records.
  auto here = services.ask({"ingest", file.string(), "--mapping", rules.string(), "--in-place"});
  CHECK(number(here, "events_added") == 0);
  CHECK(number(here, "duplicates") == rows - rows / bad);

  // Sent again it adds nothing.
  auto good = file.parent_path() / "good.csv";
  write_file(good, std::regex_replace(orders(500, 501), std::regex{"\no"}, "\ng"));
  CHECK(number(ingest(services, good, rules.string()), "events_added") == 500);
  CHECK(wait_until([&] { return uploads_kept(services) == 0; }, 10s));
  auto again = ingest(services, good, rules.string());
  CHECK(number(again, "events_added") == 0);
  CHECK(number(again, "duplicates") == 500);
  CHECK(number(services.ask({"log", "info"}), "events") == rows + 500);
  auto there = services.ask({"ingest", good.string(), "--mapping", rules.string(), "--in-place"});
  CHECK(number(there, "duplicates") == 500);

  auto stopped = services.troupe({"ingest", good.string(), "--mapping", mended.string(), "--cancel"});
  CHECK(stopped.code == 1); // nothing was begun for that
  CHECK(stopped.err.find("there is no import") != std::string::npos);
  CHECK(uploads_kept(services) == 0);

  auto nothing = services.troupe({"ingest", (services.temp() / "none.csv").string()});
  CHECK(nothing.code == 1);
  CHECK(nothing.err.find("none.csv") != std::string::npos);
  CHECK(services.down());
}
