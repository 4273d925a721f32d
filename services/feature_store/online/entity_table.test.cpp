#include "services/feature_store/online/entity_table.hpp"

#include "common/core/hash.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <random>
#include <string>

using namespace troupe;
using namespace troupe::feature_store;

TEST_CASE("an entity table holds what a map holds, while entities come, change and go") {
  for (bool colliding : {false, true}) {
    CAPTURE(colliding);
    entity_table table;
    std::map<std::string, std::map<std::uint32_t, std::string>> known;
    std::mt19937 random{3};
    auto hash_of = [&](const std::string& id) {
      auto hash = hash64(id);
      return colliding ? hash & 0x0000'0003'8000'0000 : hash; // The same few places and tags.
    };
    for (int step = 0; step < (colliding ? 3'000 : 30'000); ++step) {
      auto id = fmt::format("u{}", random() % (colliding ? 60 : 1'500));
      auto view = static_cast<std::uint32_t>(random() % 5);
      std::string state(random() % 4 == 0 ? 0 : random() % 200, static_cast<char>('a' + random() % 26));
      std::vector<state_change> changes{{view, state}};
      std::string second(30, 'z');
      if (random() % 3 == 0)
        changes.push_back({view + 3, second});
      auto* block = table.find(hash_of(id), 1, id);
      REQUIRE((block != nullptr) == known.contains(id));
      block = table.put(block, hash_of(id), 1, id, 1u << 9, changes);
      for (auto& each : changes)
        known[id][each.view] = each.state;
      if (step % 7 == 0)
        block->set_changed(1);
      if (step % 3 == 0 && table.evict()) {
        std::size_t gone = 0;
        for (auto at = known.begin(); at != known.end();) {
          auto* here = table.find(hash_of(at->first), 1, at->first);
          gone += !here;
          at = here ? std::next(at) : known.erase(at);
        }
        REQUIRE(gone == 1);
      }
    }
    std::size_t states = 0;
    for (auto& [id, of] : known) {
      auto* block = table.find(hash_of(id), 1, id);
      REQUIRE(block);
      CHECK(block->id() == id);
      CHECK(!table.find(hash_of(id), 2, id));
      CHECK((block->known() >> 9 & 1) == 1);
      for (std::uint32_t view = 0; view < 10; ++view) {
        auto at = of.find(view);
        std::string_view expected = at == of.end() ? std::string_view{} : at->second;
        CHECK(block->state(view) == expected);
        CHECK((block->held() >> view & 1) == !expected.empty());
        states += !expected.empty();
      }
    }
    CHECK(table.entities() == known.size());
    CHECK(table.states() == states);
  }
}

TEST_CASE("what has changed does not leave an entity table, nor what has just been used") {
  entity_table table;
  std::vector<state_change> changes{{0, "state"}};
  for (int i = 0; i < 3; ++i) {
    auto id = fmt::format("u{}", i);
    table.put(nullptr, hash64(id), 0, id, 0, changes)->used = i == 1;
  }
  table.find(hash64("u2"), 0, "u2")->set_changed(1);

  CHECK(table.evict());
  CHECK(!table.find(hash64("u0"), 0, "u0"));
  table.evict();
  table.evict();
  CHECK(!table.find(hash64("u1"), 0, "u1"));
  CHECK(!table.evict());
  CHECK(table.find(hash64("u2"), 0, "u2"));
}
