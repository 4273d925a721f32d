#include "services/gateway/store/slate_outbox.hpp"

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

bool keep(slate_outbox& into, const std::vector<record>& answer, std::vector<store_row> beside = {}) {
  std::promise<bool> kept;
  into.append(answer.empty() ? chunk{} : encode_batch(answer), std::move(beside),
              [&](bool good) { kept.set_value(good); });
  return kept.get_future().get();
}

std::vector<std::string> ids_of(const slate_outbox::page& page) {
  std::vector<std::string> out;
  auto all = batch::open(page.records).value();
  for (std::size_t i = 0; i < all.size(); ++i)
    out.push_back(to_record(all[i]).id);
  CHECK(page.count == out.size());
  return out;
}

using ids = std::vector<std::string>;
constexpr std::size_t any_size = 1 << 20;

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
    auto outbox = slate_outbox::open(open_state_database(folder / "state").value(), {}).value();
    CHECK(keep(*outbox, {before, second_of_it}));
    CHECK(keep(*outbox, {shown("r2")}));
    CHECK(outbox->counters().waiting == 2);
  }

  auto outbox = slate_outbox::open(open_state_database(folder / "state").value(), {}).value();
  CHECK(keep(*outbox, {shown("r3")}));
  auto first = outbox->next(2, any_size);
  CHECK(ids_of(first) == ids{"imp:r1:1", "imp:r1:2"});
  CHECK(first.more);
  CHECK(ids_of(outbox->next(2, any_size)) == ids_of(first)); // Until it is removed.
  REQUIRE(outbox->remove(first, 1));
  auto second = outbox->next(100, any_size);
  CHECK(ids_of(second) == ids{"slate:r2", "slate:r3"});
  CHECK_FALSE(second.more);
  CHECK(to_record(batch::open(second.records).value()[1]) == shown("r3"));
  REQUIRE(outbox->remove(second, 0));

  CHECK(outbox->next(100, any_size).records.empty());
  CHECK(outbox->counters().waiting == 0);
  CHECK(outbox->counters().sent == 3);
  CHECK(outbox->counters().refused == 1);
}

TEST_CASE("a page of long slates ends where its bytes do, and has one slate however long") {
  testing::temp_dir folder;
  auto outbox = slate_outbox::open(open_state_database(folder / "state").value(), {}).value();
  for (std::string request : {"r1", "r2", "r3", "r4"}) {
    auto page = shown(request);
    page.shown.resize(1'000, {"an item whose name takes some room", 0, 1});
    CHECK(keep(*outbox, {page}));
  }
  auto size_of_one = outbox->next(1, any_size).records.size();

  for (auto [most_bytes, wanted] :
       {std::pair{2 * size_of_one + 1'000, ids{"slate:r1", "slate:r2"}},
        std::pair{std::size_t{1}, ids{"slate:r3"}}, std::pair{any_size, ids{"slate:r4"}}}) {
    auto page = outbox->next(100, most_bytes);
    CHECK(ids_of(page) == wanted);
    CHECK(page.more == (wanted.back() != "slate:r4"));
    REQUIRE(outbox->remove(page, 0));
  }
}

TEST_CASE("a full outbox says that a slate was not kept, and writes what belongs to the answer all the "
          "same") {
  testing::temp_dir folder;
  auto database = open_state_database(folder / "state").value();
  auto outbox = slate_outbox::open(database, {.bound = 1}).value();

  CHECK(keep(*outbox, {shown("r1")}));
  CHECK(!keep(*outbox, {shown("r2")}, {{requests, "r2", "what happened"}}));
  CHECK(keep(*outbox, {}));

  CHECK(outbox->counters().dropped == 1);
  CHECK(outbox->counters().waiting == 1);
  CHECK(database->find(requests, "r2").value() == "what happened");
}

TEST_CASE("a commit is told after its answers have been, and a stopped outbox keeps nothing and says so") {
  testing::temp_dir folder;
  auto outbox = slate_outbox::open(open_state_database(folder / "state").value(), {}).value();
  std::promise<void> committed;
  outbox->on_commit([&] { committed.set_value(); });
  CHECK(keep(*outbox, {shown("r1")}));
  committed.get_future().get();

  outbox->stop();

  CHECK(!keep(*outbox, {shown("r2")}));
  CHECK(outbox->counters().dropped == 1);
}
