#include "services/gateway/store/impression_outbox.hpp"

#include "common/event/slate.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace troupe;
using namespace troupe::gateway;

namespace {

record shown(const std::string& request) {
  slate page;
  page.request_id = request;
  page.user = "u";
  page.items = {{"i", 1, 1}, {"k", 2, 0.5}};
  page.shown_at = from_micros(1'700'000'000'000'000);
  return std::move(page).to_record();
}

bool keep(impression_outbox& into, const std::vector<record>& answer, std::vector<store_row> beside = {}) {
  std::promise<bool> kept;
  into.append(answer.empty() ? chunk{} : encode_batch(answer), std::move(beside),
              [&](bool good) { kept.set_value(good); });
  return kept.get_future().get();
}

std::vector<std::string> ids_of(const impression_outbox::page& page) {
  std::vector<std::string> out;
  auto all = batch::open(page.records).value();
  for (std::size_t i = 0; i < all.size(); ++i)
    out.push_back(to_record(all[i]).id);
  CHECK(page.count == out.size());
  return out;
}

using ids = std::vector<std::string>;

} // namespace

TEST_CASE("slates outlive a reopening, and come out in order, page by page, until they are removed") {
  testing::temp_dir folder;
  // What an older version has left: an impression of its own for each item of an answer.
  record before;
  before.type = "impression";
  before.user = "u";
  before.item = "i";
  before.id = "imp:r1:1";
  auto second_of_it = before;
  second_of_it.id = "imp:r1:2";
  {
    auto outbox = impression_outbox::open(open_state_database(folder / "state").value(), {}).value();
    CHECK(keep(*outbox, {before, second_of_it}));
    CHECK(keep(*outbox, {shown("r2")}));
    CHECK(outbox->counters().waiting == 2);
  }

  auto outbox = impression_outbox::open(open_state_database(folder / "state").value(), {}).value();
  CHECK(keep(*outbox, {shown("r3")}));
  auto first = outbox->next(2);
  CHECK(ids_of(first) == ids{"imp:r1:1", "imp:r1:2"});
  CHECK(ids_of(outbox->next(2)) == ids_of(first)); // Until it is removed.
  REQUIRE(outbox->remove(first, 1));
  auto second = outbox->next(100);
  CHECK(ids_of(second) == ids{"slate:r2", "slate:r3"});
  CHECK(to_record(batch::open(second.records).value()[1]) == shown("r3"));
  REQUIRE(outbox->remove(second, 0));

  CHECK(outbox->next(100).records.empty());
  CHECK(outbox->counters().waiting == 0);
  CHECK(outbox->counters().sent == 3);
  CHECK(outbox->counters().refused == 1);
}

TEST_CASE("a full outbox says that a slate was not kept, and writes what belongs to the answer all the "
          "same") {
  testing::temp_dir folder;
  auto database = open_state_database(folder / "state").value();
  auto outbox = impression_outbox::open(database, {.bound = 1}).value();

  CHECK(keep(*outbox, {shown("r1")}));
  CHECK(!keep(*outbox, {shown("r2")}, {{requests, "r2", "what happened"}}));
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
  CHECK(keep(*outbox, {shown("r1")}));
  committed.get_future().get();

  outbox->stop();

  CHECK(!keep(*outbox, {shown("r2")}));
  CHECK(outbox->counters().dropped == 1);
}
