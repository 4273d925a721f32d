#include "services/cli/split_command.hpp"
#include "services/cli/user_simulator.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;

namespace {

record event(const char* user, const char* item, int second) {
  record out;
  out.type = "rating";
  out.user = user;
  out.item = item;
  out.event_time = timestamp{std::chrono::seconds{second}};
  return out;
}

} // namespace

TEST_CASE("the last events of each user by time are held out, and none of a user with few") {
  std::vector<record> events{event("a", "1", 5), event("a", "2", 1), event("b", "1", 9),
                             event("a", "3", 3), event("a", "4", 5), event("b", "2", 8)};

  auto held = cli::choose_held_out(events, 0.5, 3);

  CHECK(held == std::vector<bool>{true, false, false, false, true, false});
}

TEST_CASE("users of held-out events want what they took there, and look less at later positions") {
  testing::temp_dir temp;
  auto file = temp / "events.jsonl";
  std::ofstream{file}
      << R"({"kind":"event","id":"1","type":"rating","user":"a","item":"x","event_time":"2026-01-01T00:00:00Z"})"
      << "\n";

  auto made = cli::simulate_held_out_users(file, {});

  REQUIRE(made);
  synthetic_data::random source{1};
  CHECK((*made)->draw_user(source) == "a");
  CHECK(*(*made)->click_probability("a", "x", 1) == doctest::Approx(0.8));
  CHECK(*(*made)->click_probability("a", "x", 3) == doctest::Approx(0.4));
  CHECK(*(*made)->click_probability("a", "other", 1) == doctest::Approx(0.02));
  CHECK(!cli::simulate_held_out_users(temp / "nothing", {}));
}
