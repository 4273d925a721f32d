#include "common/actor/resources.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace troupe;

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

} // namespace

TEST_CASE("bounds that do not fit memory or disk are told with what there is, others are not") {
  CHECK(misfits("ingest", {192 * mib, 5 * 1024 * mib}, {}).empty());
  CHECK(misfits("ingest", {192 * mib, 5 * 1024 * mib}, {2048 * mib, 20 * 1024 * mib, 20000}).empty());

  auto memory = misfits("ingest", {192 * mib, 0}, {200 * mib, std::nullopt, std::nullopt});
  REQUIRE(memory.size() == 1);
  CHECK(memory[0] ==
        "ingest may hold 192 MiB in its caches and queues, and its control group leaves it 200 MiB in "
        "all: make them smaller, or the kernel may end it");
  auto disk = misfits("ingest", {0, 5 * 1024 * mib}, {std::nullopt, 1024 * mib, std::nullopt});
  REQUIRE(disk.size() == 1);
  CHECK(disk[0] ==
        "ingest may keep 5120 MiB and more, and the disk of its state has 1024 MiB: writes will be "
        "refused before that");
  CHECK(misfits("ranker", {}, {std::nullopt, 16 * mib, 400}).size() == 1); // No store works on so little.
  CHECK(misfits("ranker", {}, {std::nullopt, std::nullopt, 100}).size() == 1);
}

TEST_CASE("a service without descriptors is not ready until it has some again") {
  auto well = health::make("gateway", 0);
  well->set_phase(health::phase::running);
  descriptor_watch watch{well};
  watch.look();
  CHECK(well->read().ready);
  CHECK(well->read().components.empty());
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  auto few = before;
  few.rlim_cur = descriptors_in_use() + 2;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);

  watch.look();

  auto now = well->read();
  CHECK_FALSE(now.ready);
  CHECK(now.why().find("file descriptors are in use") != std::string::npos);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  watch.look();
  CHECK(well->read().ready);
}
