#include "services/gateway/store/impression_outbox.hpp"

#include "common/event/impression.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace troupe;
using namespace troupe::gateway;

namespace {

std::vector<record> shown(const std::string& request, int impressions) {
  std::vector<record> out;
  for (int i = 1; i <= impressions; ++i) {
    impression one;
    one.request_id = request;
    one.user = "u";
    one.item = "i";
    one.position = static_cast<std::uint32_t>(i);
    one.shown_at = from_micros(1'700'000'000'000'000);
    out.push_back(one.to_record());
  }
  return out;
}

bool keep(impression_outbox& into, const std::vector<record>& answer, std::vector<store_row> beside = {}) {
  std::promise<bool> kept;
  into.append(answer, std::move(beside), [&](bool good) { kept.set_value(good); });
  return kept.get_future().get();
}

std::vector<std::string> ids_of(const impression_outbox::page& page) {
  std::vector<std::string> out;
  for (const auto& each : page.records)
    out.push_back(each.id);
  return out;
}

using ids = std::vector<std::string>;

} // namespace

TEST_CASE("impressions outlive a reopening, and come out in order, page by page, until they are removed") {
  testing::temp_dir folder;
  {
    auto outbox = impression_outbox::open(open_state_database(folder / "state").value(), {}).value();
    CHECK(keep(*outbox, shown("r1", 2)));
    CHECK(keep(*outbox, shown("r2", 1)));
    CHECK(outbox->counters().waiting == 2);
  }

  auto outbox = impression_outbox::open(open_state_database(folder / "state").value(), {}).value();
  CHECK(keep(*outbox, shown("r3", 1)));
  auto first = outbox->next(2);
  CHECK(ids_of(first) == ids{"imp:r1:1", "imp:r1:2"});
  CHECK(ids_of(outbox->next(2)) == ids_of(first)); // Until it is removed.
  REQUIRE(outbox->remove(first, 1));
  auto second = outbox->next(100);
  CHECK(ids_of(second) == ids{"imp:r2:1", "imp:r3:1"});
  REQUIRE(outbox->remove(second, 0));

  CHECK(outbox->next(100).records.empty());
  CHECK(outbox->counters().waiting == 0);
  CHECK(outbox->counters().sent == 3);
  CHECK(outbox->counters().refused == 1);
}

TEST_CASE("a full outbox says that impressions were not kept, and writes what belongs to the answer all the "
          "same") {
  testing::temp_dir folder;
  auto database = open_state_database(folder / "state").value();
  auto outbox = impression_outbox::open(database, {.bound = 1}).value();

  CHECK(keep(*outbox, shown("r1", 1)));
  CHECK(!keep(*outbox, shown("r2", 1), {{requests, "r2", "what happened"}}));
  CHECK(keep(*outbox, {}));

  CHECK(outbox->counters().dropped == 1);
  CHECK(outbox->counters().waiting == 1);
  CHECK(database->find(requests, "r2").value() == "what happened");
}

TEST_CASE("a commit is told after its answers have been, and a stopped outbox keeps nothing and says so") {
  testing::temp_dir folder;
  auto outbox = impression_outbox::open(open_state_database(folder / "state").value(), {}).value();
  std::promise<void> committed;
  outbox->on_commit([&] { committed.set_value(); });
  CHECK(keep(*outbox, shown("r1", 1)));
  committed.get_future().get();

  outbox->stop();

  CHECK(!keep(*outbox, shown("r2", 1)));
  CHECK(outbox->counters().dropped == 1);
}
